"""When the garbage collector looks, and at what."""

import gc
import weakref

from trio_ws_gateway import collector


class Circle:
    """Something that only the garbage collector finds when it is forgotten."""

    def __init__(self) -> None:
        self.itself = self


def test_the_collector_is_called_by_the_clock() -> None:
    """New objects are looked through often, what has survived that, as what has been loaded, hardly ever."""
    try:
        collector.take_over()
        assert not gc.isenabled()
        new, old = Circle(), Circle()
        new_one, old_one = weakref.ref(new), weakref.ref(old)
        del new
        collector.look_at_the_new()
        del old
        collector.look_at_the_new()
        assert (new_one() is None, old_one() is None) == (True, False)
        collector.look_at_all()
        assert old_one() is None
        assert gc.get_freeze_count() > 10_000
    finally:
        gc.unfreeze()
        gc.enable()


def test_the_collector_is_left_alone() -> None:
    """Who runs a gateway beside other things keeps his garbage collector as it is."""
    collector.look_at_the_new()
    collector.look_at_all()
    assert gc.get_freeze_count() == 0
