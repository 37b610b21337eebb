"""Keeps off the screen what orbax says beside what it raises: a run's own sentence would drown in it."""

import functools
import inspect
import os
import sys
from collections.abc import Callable
from logging import WARNING, LogRecord, getLogger
from typing import Any

from absl import logging

_ORBAX = f"{os.sep}orbax{os.sep}"


@functools.cache
def hush() -> None:
    """From here on this process shows none of it."""
    logging.get_absl_logger().addFilter(_warns_or_is_not_orbax)
    getLogger("asyncio").addFilter(_is_not_left_over)
    sys.unraisablehook = without_leftovers(sys.unraisablehook)


def without_leftovers(hook: Callable[[Any], object]) -> Callable[[Any], None]:
    """Returns ``hook`` without the reads and writes of orbax that were under way when another one failed.

    Orbax then closes the event loop that all of them answer to. TensorStore's threads have an exception for each
    answer, and nobody to raise it to; the coroutines that waited for it raise another when they are thrown away.
    """

    def heard(unraisable: "sys.UnraisableHookArgs") -> None:
        by = unraisable.object
        unheard = by is None and str(unraisable.exc_value) == "Event loop is closed"
        if not (unheard or (inspect.iscoroutine(by) and _ORBAX in by.cr_code.co_filename)):
            hook(unraisable)

    return heard


def _is_not_left_over(record: LogRecord) -> bool:
    # Those that failed as well before the loop was closed, each with a traceback.
    return "exception was never retrieved" not in record.getMessage()


def _warns_or_is_not_orbax(record: LogRecord) -> bool:
    # Some fifty lines a save, and tracebacks of what is raised as well.
    return record.levelno == WARNING or _ORBAX not in record.pathname
