"""How a row of the table of settings is written: a default, a kind, one sentence.

``setting`` and ``derived`` make a field of ``Settings`` that carries its ``Row``; whoever needs the table
(the loader, the warnings, the reference page) reads it from the class. No setting is named here.
"""

from collections.abc import Callable
from typing import Any, TypeVar, overload

from attrs import Factory, field, frozen

from trio_ws_gateway.config.kinds import Kind

T = TypeVar("T")


@frozen(kw_only=True)
class Row:
    """What the table says of a setting.

    ``default``: as it would be written, or in words where it ``is_derived`` from other settings.
    ``secret``: the value is never shown.
    """

    kind: Kind[Any]
    default: str | None
    sentence: str
    is_derived: bool = False
    secret: bool = False


@overload
def setting(default: str, kind: Kind[T], sentence: str, *, secret: bool = ...) -> T: ...
@overload
def setting(default: None, kind: Kind[T], sentence: str, *, secret: bool = ...) -> T | None: ...
def setting(
    default: str | None,
    kind: Kind[T],
    sentence: str,
    *,
    secret: bool = False,
) -> Any:
    """A field whose default is written as in the environment; ``None`` and ``""``: unset."""
    row = Row(kind=kind, default=default, sentence=sentence, secret=secret)
    return field(default=kind.parse(default) if default else kind.nothing, repr=not secret, metadata={"row": row})


def derived(
    words: str,
    value: Callable[[Any], T],
    kind: Kind[Any],
    sentence: str,
) -> T:
    """A field whose default follows from fields above it; ``words`` say how."""
    row = Row(kind=kind, default=words, is_derived=True, sentence=sentence)
    return field(default=Factory(value, takes_self=True), metadata={"row": row})
