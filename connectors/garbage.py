"""Python's garbage collector, tuned for a worker whose state lives long and holds no cycles."""

import gc


def calm() -> None:
    """Leave alone what has been loaded, and look at the rest less often.

    By default the youngest objects are gone through after every 700 allocations, and the oldest, the whole state, again and
    again as it grows: a sixteenth of a worker's time, a tenth of a request to the collector. Reference counts free nearly all
    of it at once anyway.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
