"""What a storm needs, each in a process of its own, so that neither holds up the other or whoever measures.

``python -m tests.serve.storming upstream`` says on which port it listens; it answers handshakes, and each message with
``ANSWER``. ``... clients PORT COUNT ADDRESS...`` says when it is ready, and has so many clients come at once, from
these addresses in turn, when it is told to in a line that holds a token. Its answer is a line of JSON: by address, when
each client had its 101 (seconds from the start, in their order), and what the others heard in its place.
"""

import json
import selectors
import socket
import sys
import time
from collections.abc import Callable, Sequence

from tests.house import HANDSHAKE, agreeing
from trio_ws_gateway.wire.frames import BINARY, build_frame
from trio_ws_gateway.wire.http import build_head, parse_request

QUESTION = bytes([0x82, 0x80 | 100]) + bytes(4) + b"?" * 100  # masked with zeros
ANSWER = build_frame(BINARY, b"!" * 100, masked=False)
END_OF_HEAD = b"\r\n\r\n"
CONNECTS_AT_A_TIME = 50
SILENT_SECONDS = 15.0  # then it gives up


def upstream() -> None:
    selector, agree, shaken = selectors.DefaultSelector(), agreeing(), set[socket.socket]()
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    listener.setblocking(False)

    def accept() -> None:
        client, _ = listener.accept()
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(client, selectors.EVENT_READ, lambda: hear(client))

    def hear(client: socket.socket) -> None:
        try:
            data = client.recv(4096)
            if client in shaken:
                client.sendall(ANSWER * (len(data) // len(QUESTION)))
            elif data:
                client.sendall(agree(parse_request(data)))
                shaken.add(client)
        except OSError:
            data = b""
        if not data:
            selector.unregister(client)
            shaken.discard(client)
            client.close()

    selector.register(listener, selectors.EVENT_READ, accept)
    print(listener.getsockname()[1], flush=True)
    turn_for_ever(selector)


def turn_for_ever(selector: selectors.BaseSelector) -> None:
    while True:
        for key, _ in selector.select():
            act: Callable[[], None] = key.data
            act()


def clients(port: int, count: int, addresses: Sequence[str]) -> None:
    print("ready", flush=True)
    token = sys.stdin.readline().strip()
    head = build_head("GET /ws HTTP/1.1", [*HANDSHAKE, ("Authorization", f"Bearer {token}")])
    selector = selectors.DefaultSelector()
    came_in: dict[str, list[float]] = {address: [] for address in addresses}
    heard_instead: list[str] = []
    kept: list[socket.socket] = []
    began_at = time.perf_counter()

    def come(address: str) -> None:
        client = socket.create_connection(("127.0.0.1", port), source_address=(address, 0))
        client.sendall(head)
        client.setblocking(False)
        kept.append(client)
        selector.register(client, selectors.EVENT_READ, (client, address, bytearray()))

    while len(kept) < count or selector.get_map():
        for number in range(len(kept), min(count, len(kept) + CONNECTS_AT_A_TIME)):
            come(addresses[number % len(addresses)])
        ready = selector.select(SILENT_SECONDS if len(kept) == count else 0)
        if not ready and len(kept) == count:
            heard_instead += ["nothing"] * len(selector.get_map())
            break
        for key, _ in ready:
            client, address, answer = key.data
            try:
                answer += (data := client.recv(4096))
            except OSError:
                data = b""
            if data and END_OF_HEAD not in answer:
                continue
            selector.unregister(client)
            if answer.startswith(b"HTTP/1.1 101 "):
                came_in[address].append(time.perf_counter() - began_at)
            else:
                heard_instead.append(answer.decode())
    print(json.dumps([came_in, heard_instead]), flush=True)
    sys.stdin.readline()  # stay until told to go


if __name__ == "__main__":
    if sys.argv[1] == "upstream":
        upstream()
    else:
        clients(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
