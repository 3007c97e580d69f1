"""The tests' OpenID provider in a thread of its own, for tests that block while they wait."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Queue

import trio

from tests.oidc_provider import OidcProvider

DEADLINE_SECONDS = 20.0


@contextmanager
def issuer() -> Iterator[OidcProvider]:
    """Serve for the length of the block. Only what needs no loop (``mint``, ``sign``, names) may be called."""
    started: Queue[tuple[OidcProvider, trio.lowlevel.TrioToken, trio.CancelScope]] = Queue()

    async def serve() -> None:
        with trio.CancelScope() as scope:
            async with OidcProvider().serving() as provider:
                started.put((provider, trio.lowlevel.current_trio_token(), scope))
                await trio.sleep_forever()

    thread = threading.Thread(target=trio.run, args=(serve,), name="issuer")
    thread.start()
    provider, token, scope = started.get(timeout=DEADLINE_SECONDS)
    try:
        yield provider
    finally:
        token.run_sync_soon(scope.cancel)
        thread.join(DEADLINE_SECONDS)
        assert not thread.is_alive()
