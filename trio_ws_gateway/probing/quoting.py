"""What a server said, fit to be shown: on one line, cut short, and without the secrets that it may give back. Pure."""

from typing import Final

from trio_ws_gateway.logs import without_tokens
from trio_ws_gateway.probing.attempt import Attempt

LONGEST_QUOTE: Final = 160  # characters


def said(text: str, attempt: Attempt) -> str:
    """``text`` without what the attempt keeps secret."""
    for secret in attempt.secrets:
        text = text.replace(secret, "[secret]")
    text = str(without_tokens(text))
    text = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    return text if len(text) <= LONGEST_QUOTE else f"{text[:LONGEST_QUOTE]}..."
