"""The end of a relay, once its pumps have stopped: the last words to each side, and hearing it out.

Words of ours need a boundary in the stream that the target has heard so far, so a little more may
have to be forwarded; never a byte more than that. Every wait here is bounded, by the caller or here.
"""

from collections.abc import Callable, Mapping

import trio

from trio_ws_gateway.leg import LINGER_MAX_BYTES, WOULD_BLOCK, linger
from trio_ws_gateway.relay.intake import READ_BYTES
from trio_ws_gateway.relay.pump import SMALL_READ_BYTES, Pump
from trio_ws_gateway.relay.side import Side
from trio_ws_gateway.relay.steps import Ended
from trio_ws_gateway.wire.frames import close_frame

OUT_OF_STEP = {Ended.ILLEGAL, Ended.TOO_BIG, Ended.TOO_MANY}  # nobody knows where the source's next frame begins
HEARD_OUT = {Ended.CLOSE, Ended.SOURCE_LOST}


async def take_leave(
    last_words: Mapping[Side, tuple[bytes, bytes]], *, control_timeout_seconds: float, close_timeout_seconds: float
) -> None:
    """Tell each side its words and its Close, each at a boundary of its stream, and hear out those who were told."""
    told: list[Side] = []

    async def tell(side: Side, words: bytes, close: bytes) -> None:
        if await conclude(side.says, close, words, side.at_packet_boundary, control_timeout_seconds):
            told.append(side)

    async with trio.open_nursery() as nursery:
        for side, (words, close) in last_words.items():
            nursery.start_soon(tell, side, words, close)
    with trio.move_on_after(close_timeout_seconds):
        async with trio.open_nursery() as nursery:
            for side in told:
                nursery.start_soon(hear_out, side.hears)


async def answer_close(client: Side, patience_seconds: float) -> None:
    """The client has said Close to an upstream that is gone: answer in its place."""
    await conclude(client.says, close_frame(1000, masked=False), b"", lambda: True, patience_seconds)


async def conclude(
    pump: Pump, close: bytes, words: bytes, at_packet_boundary: Callable[[], bool], patience_seconds: float
) -> bool:
    """Say the last words to the pump's target; whether ``close`` was said.

    ``words`` is a data frame, so it needs the end of a message and of the protocol's packet; ``close`` needs
    the end of a frame. What has not found its boundary after ``patience_seconds`` is not said.
    """
    pump.wind_up()
    if pump.ended is Ended.CLOSE:
        return False  # the source has had its own last word
    with trio.move_on_after(patience_seconds):
        if words and await _reach(pump, lambda: pump.at_message_boundary and at_packet_boundary()):
            pump.outlet.send(memoryview(words))
        await _reach(pump, lambda: True)
    if not (close and pump.at_frame_boundary and pump.outlet.has_room):
        return False
    pump.outlet.send(memoryview(close))
    with trio.move_on_after(patience_seconds):
        await pump.outlet.flush()
    return pump.outlet.has_room


async def hear_out(pump: Pump) -> None:
    """Read the pump's source on, forwarding nothing: to its Close, its end of stream, a bound of bytes, or the caller's
    deadline."""
    pump.count_no_more()
    pump.scanner.own_ping = None
    pump.scanner.walker = None
    pump.scanner.lift_ceilings()
    # To the end of its frame, and a bound more: a source that floods all the time does not answer our Close.
    most = pump.intake.bytes + pump.scanner.inside + LINGER_MAX_BYTES
    while pump.ended not in HEARD_OUT and pump.intake.bytes < most:
        if pump.ended in OUT_OF_STEP:
            await linger(pump.source)
            return
        size = await _read(pump, SMALL_READ_BYTES)
        pump.pass_on(size, None, forward=False)


async def _reach(pump: Pump, at_boundary: Callable[[], bool]) -> bool:
    """Forward up to the end of a frame where ``at_boundary`` holds; whether there is one."""
    while True:
        await pump.outlet.flush()
        if not pump.outlet.has_room:
            return False
        if pump.at_frame_boundary and at_boundary():
            return True
        if pump.ended:
            return False
        # Not a byte further than this frame, or than the next two bytes of a header: their number is even.
        size = await _read(pump, min(pump.scanner.inside or 2, READ_BYTES))
        pump.pass_on(size, None)


async def _read(pump: Pump, limit: int) -> int:
    await trio.lowlevel.checkpoint()  # a source that is always readable must not hold the loop, nor outlive a deadline
    while True:
        try:
            return pump.intake.receive(limit)
        except WOULD_BLOCK:
            await trio.lowlevel.wait_readable(pump.source)
