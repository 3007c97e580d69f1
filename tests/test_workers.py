"""The parent of a group by itself; `tests/serve/test_workers.py` sees a whole one from outside."""

import sys

import pytest
import structlog

from trio_ws_gateway import workers
from trio_ws_gateway.config.loading import load

SETTINGS = {
    "LISTEN": "127.0.0.1:0",
    "JWKS_URL": "http://127.0.0.1:9/certs",
    "RAW_WS_BACKEND_URL": "ws://127.0.0.1:9/",
    "WORKERS": "2",
}


async def test_no_worker_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system starts no process at all it is said why, and nothing is left open."""
    monkeypatch.setattr(sys, "executable", "/nonexistent")
    with pytest.raises(workers.DidNotStart, match="No such file or directory: '/nonexistent'"):
        await workers.serve(load(SETTINGS).settings, structlog.get_logger())
