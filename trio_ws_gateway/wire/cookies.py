"""The request's ``Cookie`` field (RFC 6265 5.4): read one cookie, or leave one out.

Everything that is not the cookie in question stays byte for byte.
"""

from collections.abc import Iterable


def cookie_values(fields: Iterable[str], name: str) -> tuple[str, ...]:
    """Every value that a cookie has in the ``Cookie`` lines of a request, without the quotes around it."""
    return tuple(
        value.strip(" \t").removeprefix('"').removesuffix('"')
        for line in fields
        for key, equals, value in (pair.partition("=") for pair in line.split(";"))
        if equals and key.strip(" \t") == name
    )


def without_cookie(line: str, name: str) -> str:
    """One ``Cookie`` line without that cookie; empty if nothing is left."""
    kept = [pair for pair in line.split(";") if pair.partition("=")[0].strip(" \t") != name]
    return ";".join(kept).strip(" \t")
