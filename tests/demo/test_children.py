"""`child` runs a process for the length of a block, and says how it ended where it should not have."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import trio

from trio_ws_gateway.demo import children
from trio_ws_gateway.demo.children import ChildFailed, child
from trio_ws_gateway.groups import leaves

DEADLINE_SECONDS = 30
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('here', flush=True); time.sleep(60)"
)


def python(source: str) -> list[str]:
    return [sys.executable, "-c", source]


async def failure(source: str, directory: Path) -> str:
    """What is said of a child that does not outlive its block."""
    with pytest.RaisesGroup(ChildFailed) as caught, trio.fail_after(DEADLINE_SECONDS):
        async with child("the child", python(source), directory=directory, environment={}):
            await trio.sleep_forever()
    [error] = leaves(caught.value)
    return str(error)


async def test_lines(tmp_path: Path) -> None:
    """Every line is heard, of standard error too, also the last before it ends."""
    heard: list[str] = []
    source = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(print('last')));"
    source += "print('first', file=sys.stderr, flush=True); time.sleep(60)"
    with trio.fail_after(DEADLINE_SECONDS):
        async with child("it", python(source), directory=tmp_path, environment={}, heard=heard.append) as process:
            await process.until(lambda: heard == ["first"], "first")
            assert process.status is None
    assert heard == ["first", "last"]
    assert process.status == 0


async def test_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the environment around it, a child gets no setting."""
    monkeypatch.setenv("JWKS_URL", "http://elsewhere.example/")
    heard: list[str] = []
    command = python("import os, time; print(sorted(os.environ), flush=True); time.sleep(60)")
    with trio.fail_after(DEADLINE_SECONDS):
        async with child("it", command, directory=tmp_path, environment={"OWN": "1"}, heard=heard.append) as process:
            await process.until(lambda: len(heard) == 1, "there")
    assert "'OWN'" in heard[0]
    assert "'PATH'" in heard[0]
    assert "JWKS_URL" not in heard[0]


async def test_stubborn(tmp_path: Path) -> None:
    """A child that does not end when it is asked to is killed."""
    heard: list[str] = []
    with trio.fail_after(DEADLINE_SECONDS):
        async with child(
            "it",
            python(STUBBORN),
            directory=tmp_path,
            environment={},
            heard=heard.append,
            patience_seconds=0.1,
        ) as process:
            await process.until(lambda: heard == ["here"], "there")
    assert process.status == -9


async def test_ends_by_itself(tmp_path: Path) -> None:
    """A child that ends too soon ends the block, with its status and the last lines that it said."""
    said = await failure("import sys; print('a'); print('b'); sys.exit(3)", tmp_path)
    assert said == "the child ended with status 3. It said last:\n  a\n  b"


async def test_ends_silently(tmp_path: Path) -> None:
    """Where it said nothing, that is said."""
    assert await failure("", tmp_path) == "the child ended with status 0. It said last:\n  nothing"


async def test_never_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for what a child does not do has an end."""
    monkeypatch.setattr(children, "START_SECONDS", 0.1)
    with pytest.RaisesGroup(ChildFailed) as caught:
        async with child("it", python(STUBBORN), directory=tmp_path, environment={}, patience_seconds=0.1) as process:
            await process.until(lambda: False, "listening")
    [error] = leaves(caught.value)
    assert str(error).startswith("it is not listening after 0.1 s.")


async def test_cancelled(tmp_path: Path) -> None:
    """A block that is cancelled ends its child too."""
    with trio.move_on_after(0.1):
        async with child("it", python("import time; time.sleep(60)"), directory=tmp_path, environment={}) as process:
            await trio.sleep_forever()
    assert process.status == -15


KILLED = """
import os, sys, trio
from trio_ws_gateway.demo.children import child, kept_directory

async def main():
    with kept_directory("killed-") as directory:
        command = [sys.executable, "-c", "import time; time.sleep(60)"]
        async with child("it", command, directory=directory, environment={}) as process:
            print(process._process.pid, directory, flush=True)
            os.kill(os.getpid(), 9)

trio.run(main)
"""


def test_killed(tmp_path: Path) -> None:
    """Where a demo is killed, its children and their directory go as well."""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        python(KILLED), env=environment, stdout=subprocess.PIPE, check=False, timeout=DEADLINE_SECONDS
    )
    pid, directory = done.stdout.decode().split()
    assert done.returncode == -9
    give_up_at = time.monotonic() + DEADLINE_SECONDS
    while Path(directory).exists() or _runs(int(pid)):
        assert time.monotonic() < give_up_at
        time.sleep(0.01)


def _runs(pid: int) -> bool:
    """A zombie does not: who ought to bury it may be slow."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory goes with its block."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with children.kept_directory("kept-") as directory:
        assert directory.parent == tmp_path
    assert list(tmp_path.iterdir()) == []


async def test_group(tmp_path: Path) -> None:
    """A child has a process group of its own, which a Ctrl-C in the terminal does not reach."""
    heard: list[str] = []
    command = python("import os, time; print(os.getpgrp() == os.getpid(), flush=True); time.sleep(60)")
    with trio.fail_after(DEADLINE_SECONDS):
        async with child("it", command, directory=tmp_path, environment={}, heard=heard.append) as process:
            await process.until(lambda: len(heard) == 1, "there")
    assert heard == ["True"]
