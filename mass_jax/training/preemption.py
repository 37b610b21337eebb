"""A machine that is about to be taken away sends SIGTERM: the run then saves itself and asks to be started again."""

import os
import signal
import threading
from types import FrameType

from mass_jax.models import processes
from mass_jax.training import distributed

RETRY = os.EX_TEMPFAIL
"""Exit status (75) of a run that saved itself and wants to be started again; launchers restart on it."""


class Preempted(SystemExit):
    """The run has to end now."""

    def __init__(self) -> None:
        super().__init__(RETRY)


def leave_on_notice() -> None:
    """From here on SIGTERM ends the process with `RETRY`: whatever is finished is on disk."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _leave)


def _leave(number: int, frame: FrameType | None) -> None:
    distributed.leave(RETRY)


class Notice:
    """Listens for SIGTERM while its ``with`` statement lasts, where there is something to save first."""

    def __init__(self) -> None:
        """Hears nothing yet."""
        self._heard = False
        self._before: object = None

    def __enter__(self) -> "Notice":
        """Starts to listen. Only a process's main thread can."""
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        """Stops."""
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)  # type: ignore[arg-type]

    def check(self) -> None:
        """Ends the run if this process or any other has got the notice; all of them then agree on where.

        Raises:
          Preempted: it has.
        """
        if processes.largest(self._heard):
            raise Preempted

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self._heard = True
