"""A run that is told to stop saves itself first: by Ctrl-C, a terminal that closes, or a machine that is taken away."""

import contextlib
import os
import signal
import sys
import threading
from types import FrameType

from mass_jax.parallel import hosts, joining
from mass_jax.parallel.joining import RETRY

STATUSES = {signal.SIGTERM: RETRY, signal.SIGINT: 128 + signal.SIGINT, signal.SIGHUP: 128 + signal.SIGHUP}
"""What is listened to, and the exit status that it leads to."""
PATIENCE = {signal.SIGTERM: 20.0, signal.SIGINT: 5.0, signal.SIGHUP: 20.0}
"""Seconds that the run still has after a second notice; SLURM and shells may give several, and SLURM kills after 30."""


class Preempted(SystemExit):
    """The run has to end now; its code is the exit status."""


def leave_on_notice() -> None:
    """From here on a notice ends the process with its status: whatever is finished is on disk.

    A second one does so even where the main thread waits for a device or another process and hears nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for number in _listened():
        signal.signal(number, _leave)
    heard, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    threading.Thread(target=_insist, args=(heard,), daemon=True).start()


def end_on_second() -> None:
    """From here on, where the process ends by itself, it takes a second notice to end it before.

    Of one that came in the midst of it Python could only show where it was.
    """
    if threading.current_thread() is threading.main_thread():
        for number in _listened():
            signal.signal(number, lambda *_: None)


def say(text: str) -> None:
    """Prints a line on standard error, which a closed terminal has taken along."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def _listened() -> list[signal.Signals]:
    """Without the closing terminal where nohup has it ignored: the run is to outlive it."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [number for number in STATUSES if not (number == signal.SIGHUP and ignored)]


def _leave(number: int, frame: FrameType | None) -> None:
    end_on_second()
    say("Stopped: what is finished is on disk, and the same command goes on from there.")
    joining.leave(STATUSES[signal.Signals(number)])


def _insist(heard: int) -> None:
    os.read(heard, 1)
    number = signal.Signals(os.read(heard, 1)[0])
    threading.Event().wait(PATIENCE[number])
    say("Stopped at once: what is on disk is kept, and the same command goes on from there.")
    joining.leave(STATUSES[number], at_once=True)


class Notice:
    """Listens for a notice while its ``with`` statement lasts, where there is something to save first."""

    def __init__(self) -> None:
        """Hears nothing yet."""
        self._heard = 0
        self._before: dict[int, object] = {}

    def __enter__(self) -> "Notice":
        """Starts to listen. Only a process's main thread can."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._hear) for number in _listened()}
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """Stops; a notice that nobody has asked about goes to the earlier listener."""
        for number, before in self._before.items():
            signal.signal(number, before)  # type: ignore[arg-type]
        if self._heard and kind is None:
            signal.raise_signal(next(number for number, status in STATUSES.items() if status == self._heard))

    def check(self) -> None:
        """Ends the run if this process or any other has got a notice; all of them then agree on where.

        Raises:
          Preempted: it has.
        """
        if status := hosts.largest(self._heard):
            raise Preempted(status)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self._heard and number == signal.SIGINT:  # who presses it twice does not wait for the state to be saved
            signal.signal(number, self._before[number])  # type: ignore[arg-type]
            signal.raise_signal(number)
        self._heard = STATUSES[signal.Signals(number)]
