"""A process that is killed, as far as a test can see one from within."""

from typing import Any

import grain
import numpy as np


class Killed(BaseException):
    """Not an `Exception`: nothing may catch it and tidy up."""


class Stream:
    """A stream of documents; with ``kill_at``, asking for that many batches is the last thing the process does."""

    def __init__(self, stream: grain.DatasetIterator, kill_at: int | None = None):
        self._stream, self._left = stream, kill_at

    def __next__(self) -> np.ndarray:
        if self._left is not None:
            self._left -= 1
            if self._left == 0:
                raise Killed
        return next(self._stream)

    def get_state(self) -> Any:
        return self._stream.get_state()

    def set_state(self, state: Any) -> None:
        self._stream.set_state(state)
