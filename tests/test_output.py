"""A command whose output cannot be written ends as it would have, and its status tells."""

import errno
import io
import os
import shlex
import subprocess
import sys

import pytest

from tests.servers.gateway import inherited_environment
from trio_ws_gateway.output import Output, output_of

COMMAND = shlex.join([sys.executable, "-m", "trio_ws_gateway"])
FULL = "Error: cannot write to standard output: No space left on device\n"


def shell(words: str) -> tuple[int, str]:
    """Status and standard error of the command with these words, as a shell runs it."""
    done = subprocess.run(
        ["sh", "-c", f"{COMMAND} {words}"],
        env=inherited_environment(),
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("words", "ending"),
    [
        ("--version >/dev/full", (1, FULL)),
        ("--version >&-", (0, "")),
        ("nonsense >/dev/full 2>/dev/full", (2, "")),
        ("healthcheck --env-file /dev/null/none >&- 2>&-", (1, "")),
    ],
)
def test_output_that_cannot_be_written(words: str, ending: tuple[int, str]) -> None:
    """On a full disk a command fails and says why; what is closed is not asked for."""
    assert shell(words) == ending


def test_lost_once() -> None:
    """Who asks is told once that nobody reads any more, also where that is so already; writing goes on."""
    told: list[str] = []
    reader, writer = os.pipe()
    os.close(reader)
    output = Output(writer)
    output.when_lost(lambda: told.append("lost"))
    with io.TextIOWrapper(io.BufferedWriter(output)) as stream:
        assert output_of(stream) is output
        for _ in range(2):
            print("hello", file=stream, flush=True)
        assert told == ["lost"]
        assert output.failure is not None
        assert output.failure.errno == errno.EPIPE
        output.when_lost(lambda: told.append("again"))
    assert told == ["lost", "again"]
    os.close(writer)


def test_other_streams() -> None:
    """A stream that is not the process's own has no `Output` beneath."""
    assert output_of(io.StringIO()) is None
    assert output_of(None) is None
