"""`visit` tells people what the gateway logs of a session."""

from trio_ws_gateway.demo.log_lines import visit
from trio_ws_gateway.demo.screen import OVER, REFUSED, ScreenRow

ENDED = {
    "event": "session ended",
    "cause": "closed_by_client",
    "detail": "",
    "client": "127.0.0.1",
    "protocol": "mqtt",
    "client_id": "alice-1",
    "sub": "alice",
    "messages_from_client": 3,
    "messages_from_upstream": 2,
    "duration": 1.5,
}
REFUSAL = {"event": "refused", "cause": "invalid_token", "detail": "expired", "client": "127.0.0.1", "duration": 0.002}


def test_ended() -> None:
    """A session that was one: whose, how much was said, why it ended, how long it was."""
    assert visit(ENDED) == ScreenRow(
        verdict=OVER,
        who="alice",
        protocol="mqtt",
        tried="sent 3 messages, got 2",
        answer="closed by client",
        seconds=1.5,
    )


def test_refused() -> None:
    """Of whoever was refused little may be known."""
    assert visit(REFUSAL) == ScreenRow(
        verdict=REFUSED, who="somebody", protocol="", tried="", answer="invalid token: expired", seconds=0.002
    )


def test_refused_with_a_client_id() -> None:
    """The client id of whom is refused is shown, and names who has no other name."""
    line = visit({**REFUSAL, "protocol": "mqtt", "client_id": "robot-7-1"})
    assert line is not None
    assert (line.who, line.tried) == ("robot-7-1", "as client robot-7-1")


def test_other_lines() -> None:
    """Everything else that is logged is not about a visit."""
    assert visit({"event": "listening", "port": 8080}) is None
