"""Where names are: the system's answers, kept for seconds, and one question at a time for each name.

A service: ``run`` asks in tasks of its own, so that a client that leaves takes no answer from the others. Failures are
not kept. While the system's resolver is away, or slow, the last good answer serves on, for a bounded time. Names come
from the settings, so there are few. All times are Trio's.
"""

import math
import socket
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
import trio
from attrs import define, field, frozen

log: Final[structlog.typing.FilteringBoundLogger] = structlog.get_logger(__name__)

FRESH_SECONDS = 5.0  # as long a name's answer is not asked for again
STALE_SECONDS = 600.0  # as long it is better than none: an address may have got another owner since
PATIENCE_SECONDS = 1.0  # for a new answer where there is an old one; glibc gives a dead server ten


@frozen
class Address:
    """An IP address without a port. ``scope``: the interface of a link-local IPv6 address, else 0."""

    family: socket.AddressFamily
    host: str
    scope: int = 0

    def at(self, port: int) -> tuple[str | int, ...]:
        """As ``socket.connect`` takes it."""
        return (self.host, port, 0, self.scope) if self.family is socket.AF_INET6 else (self.host, port)


Resolve = Callable[[str], Awaitable[tuple[Address, ...]]]
"""All addresses of a name, best first, at least one. Raises ``OSError``."""


@frozen
class _Answer:
    addresses: tuple[Address, ...]
    at: float


@define(eq=False)
class _Question:
    """A question that is being asked. ``error`` says why it ended without an answer."""

    asked_at: float
    ended: trio.Event = field(factory=trio.Event)
    error: Exception | None = None


class Resolver:
    """Resolves nothing until ``run`` runs; that belongs in the caller's nursery and ends by cancellation."""

    def __init__(self) -> None:
        self._answers: dict[str, _Answer] = {}
        self._questions: dict[str, _Question] = {}
        self._failing: set[str] = set()
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    async def addresses(self, host: str) -> tuple[Address, ...]:
        """All addresses of the name. Raises ``OSError`` where there is no answer, and none that is not too old."""
        answer, now = self._answers.get(host), trio.current_time()
        if answer is not None and now - answer.at < FRESH_SECONDS:
            return answer.addresses
        usable = answer is not None and now - answer.at < STALE_SECONDS
        question = self._questions.get(host) or await self._ask(host)
        with trio.move_on_at(question.asked_at + PATIENCE_SECONDS if usable else math.inf):
            await question.ended.wait()
        if answer is not None and usable and (question.error is not None or not question.ended.is_set()):
            return answer.addresses
        if (error := question.error) is not None:  # one error, many who raise it
            raise OSError(error.errno if isinstance(error, OSError) else None, _reason(error)) from error
        return self._answers[host].addresses

    async def _ask(self, host: str) -> _Question:
        if self._nursery is None:
            raise RuntimeError("the resolver does not run")
        await trio.lowlevel.checkpoint_if_cancelled()  # when all ends, the nursery takes no more tasks
        question = self._questions[host] = _Question(trio.current_time())
        self._nursery.start_soon(self._look_up, host, question)
        return question

    async def _look_up(self, host: str, question: _Question) -> None:
        try:
            found = await trio.socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            addresses = tuple(dict.fromkeys(_address(family, where) for family, *_, where in found))
            self._answers[host] = _Answer(addresses, trio.current_time())
        except Exception as error:  # whatever it is: no gateway ends for a name; ``_tell`` logs it
            question.error = error
        finally:
            del self._questions[host]
            question.ended.set()
        self._tell(host, question.error)

    def _tell(self, host: str, error: Exception | None) -> None:
        """Once for each change: sessions that fail for it have lines of their own, those that do not would hide it."""
        if error is not None and host not in self._failing:
            self._failing.add(host)
            serving = "the last answer, for a while" if host in self._answers else "nobody"
            log.warning("name not resolved", host=host, reason=_reason(error), serving=serving)
        elif error is None and host in self._failing:
            self._failing.remove(host)
            log.info("name resolved", host=host)


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def _address(family: int, where: tuple[object, ...]) -> Address:
    scope = where[3] if len(where) == 4 else 0
    return Address(socket.AddressFamily(family), str(where[0]), scope if isinstance(scope, int) else 0)
