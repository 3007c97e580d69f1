"""What is in an exception group, however many nurseries have wrapped it."""

from collections.abc import Iterator
from typing import TypeVar

Error = TypeVar("Error", bound=BaseException)


def leaves(group: BaseExceptionGroup[Error]) -> Iterator[Error]:
    """The exceptions themselves."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from leaves(error)
        else:
            yield error
