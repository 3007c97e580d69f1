"""When the garbage collector looks, in a process that is a gateway and nothing else: by the clock, lest anybody wait.

Left to itself it looks through all sessions whenever there are a quarter more, and everybody waits meanwhile: that took
0.1 s of a storm of 5,000, several times. But a session that ends leaves no circles behind (``tests/serve/test_leaks``),
so there is hardly anything to be found. New objects are looked at often, what has survived that hardly ever.
"""

import gc

NEW_INTERVAL_SECONDS = 0.025  # a storm makes so many objects in that time that they take 2 ms
ALL_INTERVAL_SECONDS = 600.0  # 20 us for each session that lives


def take_over() -> None:
    """Switch it off, but for those who call what is below. To be called when everything is loaded."""
    gc.disable()
    look_at_all()


def look_at_the_new(_late: float = 0.0) -> None:
    """Look at what was made since the last time. Does nothing where the collector is not ours."""
    if not gc.isenabled():
        gc.collect(0)
        gc.freeze()


def look_at_all(_late: float = 0.0) -> None:
    """What was left in circles after all does not pile up for ever. Does nothing where the collector is not ours."""
    if not gc.isenabled():
        gc.unfreeze()
        gc.collect()
        gc.freeze()
