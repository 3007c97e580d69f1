"""The load generator, step by step: between two steps its starter reads the proxy's clocks."""

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import frozen


class LoadFailed(Exception):
    """The generator gave up. Says why."""


@frozen
class Load:
    """A running generator, which says a line and waits for one in turn."""

    popen: subprocess.Popen[str]

    @classmethod
    @contextmanager
    def running(cls, program: Path, options: Mapping[str, object]) -> "Iterator[Load]":
        """A generator for the length of a block; at its end it takes leave of its sessions."""
        command = [str(program), *(f"-{name}={value}" for name, value in options.items())]
        popen = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={"GOMAXPROCS": "1"},
        )
        with popen:
            try:
                yield cls(popen)
                popen.communicate("\n", timeout=30)
            finally:
                popen.kill()

    def heard(self) -> Any:  # noqa: ANN401 - whatever is in the line
        """What it says next. It ends by itself when nothing moves; then this raises ``LoadFailed``."""
        assert self.popen.stdout is not None
        assert self.popen.stderr is not None
        if line := self.popen.stdout.readline():
            return json.loads(line)
        raise LoadFailed(self.popen.stderr.read().strip() or "it said nothing")

    def tell(self, word: str = "") -> None:
        assert self.popen.stdin is not None
        self.popen.stdin.write(f"{word}\n")
        self.popen.stdin.flush()
