"""Programs are made of very many objects that live on.

With Python's own settings every seventh second of the tests goes into looking through them for garbage.
"""

import gc


def seldom() -> None:
    """What was imported by now is never looked through again, and the rest after more new objects."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000)
