"""What a process has cost so far, from Linux: processor time and resident memory."""

import os
import time
from collections.abc import Iterable
from pathlib import Path

from attrs import frozen

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
QUIET_SECONDS = 0.03
QUIET_SHARE = 0.02  # of a processor


@frozen
class Spent:
    """Processor time in seconds. ``user`` and ``system`` come in steps of 10 ms, ``total`` is exact."""

    total: float
    user: float
    system: float

    def __sub__(self, other: "Spent") -> "Spent":
        return Spent(self.total - other.total, self.user - other.user, self.system - other.system)

    @property
    def user_share(self) -> float:
        """By the kernel's ticks; 0 where not even one has passed."""
        ticked = self.user + self.system
        return self.user / ticked if ticked else 0.0


def spent(pids: Iterable[int]) -> Spent:
    """By all these processes and their threads together."""
    total, user, system = 0.0, 0, 0
    for pid in pids:
        total += time.clock_gettime(_clock_of(pid))
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        user, system = user + int(fields[11]), system + int(fields[12])
    return Spent(total, user / TICKS_PER_SECOND, system / TICKS_PER_SECOND)


def _clock_of(pid: int) -> int:
    """What ``clock_getcpuclockid`` returns (Linux, ``MAKE_PROCESS_CPUCLOCK``): /proc shows no more than ticks."""
    return (~pid << 3) | 2


def resident_kib(pids: Iterable[int]) -> int:
    """Resident memory, KiB."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                total += int(line.split()[1])
    return total


def settle(pids: Iterable[int], deadline_seconds: float = 10.0) -> None:
    """Wait until they rest: the end of one measurement must not be the beginning of another."""
    pids = list(pids)
    deadline = time.monotonic() + deadline_seconds
    before = spent(pids).total
    while time.monotonic() < deadline:
        time.sleep(QUIET_SECONDS)
        now = spent(pids).total
        if now - before < QUIET_SECONDS * QUIET_SHARE:
            return
        before = now


def children(pid: int) -> list[int]:
    """Process ids of those that it has started."""
    return [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]
