"""What a JWT looks like from outside, for whoever must tell a credential from other text, or reads without believing.

Says nothing of whether it is one: that is the verifier's.
"""

import binascii
import json
import re
from base64 import urlsafe_b64decode
from typing import Any, Final

# The signature may be missing: a token that lost it is to be refused, not overlooked.
_COMPACT: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")


def looks_like_jwt(text: str) -> bool:
    """Three parts of base64url without padding, with dots between and nothing around them (RFC 7515 7.1)."""
    return _COMPACT.fullmatch(text) is not None


def unverified_part(token: str, number: int) -> dict[str, Any] | None:
    """The header (0) or the claims (1), as the token has them; ``None`` where they cannot be read."""
    parts = token.split(".")
    try:
        decoded = json.loads(urlsafe_b64decode(parts[number] + "=" * (-len(parts[number]) % 4)))
    except (IndexError, ValueError, binascii.Error, RecursionError):
        return None
    return decoded if isinstance(decoded, dict) else None
