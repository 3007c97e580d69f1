"""What a JWT looks like from outside, for whoever must tell a credential from other text.

Says nothing of whether it is one: that is the verifier's.
"""

import re
from typing import Final

# The signature may be missing: a token that lost it is to be refused, not overlooked.
_COMPACT: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")


def looks_like_jwt(text: str) -> bool:
    """Three parts of base64url without padding, with dots between and nothing around them (RFC 7515 7.1)."""
    return _COMPACT.fullmatch(text) is not None
