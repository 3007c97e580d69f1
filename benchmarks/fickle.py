"""An upstream that misbehaves as the query of a handshake asks: ``?do=garbage``. Run as a program with its port."""

import sys
from urllib.parse import parse_qs

import trio

from tests.faults.double import (
    GARBAGE,
    HALF_A_FRAME,
    Behaviour,
    Double,
    broken,
    flooding,
    no_http,
    saying_last,
    silent,
    vanishing,
    well,
)
from tests.tcp import Peer
from trio_ws_gateway.wire.http import Request

BEHAVIOURS: dict[str, Behaviour] = {
    "silent": silent,
    "broken": broken,
    "no_http": no_http,
    "flooding": flooding,
    "vanishing": vanishing,
    "end": saying_last(b""),
    "reset": saying_last(b"", reset=True),
    "half_a_frame": saying_last(HALF_A_FRAME),
    "garbage": saying_last(GARBAGE),
}


async def as_asked(peer: Peer, request: Request) -> None:
    [do] = parse_qs(request.query).get("do", ["well"])
    await BEHAVIOURS.get(do, well)(peer, request)


async def main(port: int) -> None:
    async with trio.open_nursery() as nursery:
        await Double(nursery, as_asked, port).come_up()


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]))
