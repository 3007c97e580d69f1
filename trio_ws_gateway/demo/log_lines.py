"""What the gateway logs of a session, as a line for people. Pure."""

from collections.abc import Mapping
from typing import Any

from trio_ws_gateway.demo.screen import OVER, REFUSED, ScreenRow

EVENTS = {"refused": REFUSED, "session ended": OVER}


def visit(line: Mapping[str, Any]) -> ScreenRow | None:
    """``None`` where the line is about something else than the end of a session."""
    verdict = EVENTS.get(line["event"])
    if verdict is None:
        return None
    cause = str(line["cause"]).replace("_", " ")
    client_id = line.get("client_id")
    counts = f"sent {line.get('messages_from_client')} messages, got {line.get('messages_from_upstream')}"
    return ScreenRow(
        verdict=verdict,
        who=str(line.get("sub") or client_id or "somebody"),
        protocol=str(line.get("protocol", "")),
        tried=counts if verdict == OVER else f"as client {client_id}" if client_id else "",
        answer=f"{cause}: {line['detail']}" if line["detail"] else cause,
        seconds=line["duration"],
    )
