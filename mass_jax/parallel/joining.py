"""Several processes, one run: they find each other, or nothing starts; and all end together."""

import atexit
import contextlib
import os
import socket
import sys
import threading
import time
from typing import NoReturn

import jax

from mass_jax.parallel import rendezvous
from mass_jax.parallel.rendezvous import JoinError

RETRY = os.EX_TEMPFAIL
"""Exit status (75) of a run that can go on from what is saved: launchers start it again on it."""
GRACE = 5.0
"""Seconds that a process has to end by itself after another one, mostly for the same reason."""


class _Others:
    """The other processes, as far as this one hears of them."""

    def __init__(self) -> None:
        self.process, self.count = 0, 1
        self._lines: dict[int, socket.socket] = {}
        self._listeners: list[threading.Thread] = []
        self._ended: set[int] = set()
        self.followed = threading.Event()  # another one has ended, and this one is about to

    def listen(self, process: int, count: int, lines: dict[int, socket.socket]) -> None:
        self.process, self.count, self._lines = process, count, lines
        self._listeners = [threading.Thread(target=self._hear, args=pair, daemon=True) for pair in lines.items()]
        for listener in self._listeners:
            listener.start()

    def tell(self, status: int | None, process: int | None = None) -> None:
        """How a process ends, this one if no other is given; None if it is lost."""
        for line in self._lines.values():
            rendezvous.send(line, {"process": self.process if process is None else process, "status": status})

    def wait(self) -> None:
        """Until all have ended, for the runtime aborts them where the first one is gone before; or not in time."""
        deadline = time.monotonic() + 2 * GRACE
        for listener in self._listeners:
            if listener is not threading.current_thread():
                listener.join(max(deadline - time.monotonic(), 0.0))

    def _hear(self, number: int, line: socket.socket) -> None:
        while isinstance(told := rendezvous.hear(line), dict):
            self._follow(told["process"], told["status"])
        self._follow(number, None)

    def _follow(self, process: int, status: int | None) -> None:
        if process in self._ended:
            return
        self._ended.add(process)
        if status == 0:
            return
        self.followed.set()
        how = "is lost" if status is None else f"ended with status {status}"
        sentence = (
            f"Process {process} of {self.count} {how}, so process {self.process} ends too: see the log of that one. "
            "What is finished is on disk, and the same command on every host goes on from there."
        )
        if status is None:
            self.tell(None, process)  # the others have no line to it
            _end(RETRY, sentence)
        timer = threading.Timer(GRACE, _end, (status, sentence))
        timer.daemon = True
        timer.start()


_others = _Others()


def _end(status: int, sentence: str) -> NoReturn:
    print(sentence, file=sys.stderr)
    leave(status)


def leave(status: int, at_once: bool = False) -> NoReturn:
    """End the process; of several at once, for the runtime's own farewell waits until all of them take leave.

    The others then end with the same status, if not by themselves.

    Args:
      status: of the exit.
      at_once: without tidying up even where this process is the only one.
    """
    if not at_once and _others.count == 1 and not jax.distributed.is_initialized():
        sys.exit(status)
    with contextlib.suppress(OSError):  # of a terminal that is closed
        sys.stdout.flush()
        sys.stderr.flush()
    _others.tell(status)
    if _others.process == 0:
        _others.wait()
    os._exit(status)


def follow() -> None:
    """After an error: where it is that another process has ended, end as that one did, without a word of one's own."""
    if _others.followed.wait(1.0):
        threading.Event().wait(4 * GRACE)


def join(coordinator: str | None, processes: int | None, process: int | None, patience: int) -> None:
    """Make this process one of a run's; its devices are then all processes' together.

    Cloud TPU, GKE and SLURM say how many processes there are and which one this is; elsewhere all three are given, the
    first process listens at the address given and at no other, and a process that is lost later ends the others.

    Args:
      coordinator: ``host:port`` of the first process.
      processes: how many there are.
      process: which one this is, from 0.
      patience: seconds to wait for the others.

    Raises:
      JoinError: some of the three are missing or contradict each other or those of another process, the port is taken,
        or not all come in time. Where only the runtime waits, this process says so and ends with status 2.
    """
    given = {"--coordinator": coordinator, "--processes": processes, "--process": process}
    if missing := [flag for flag, value in given.items() if value is None]:
        if len(missing) < len(given):
            raise JoinError(f"{', '.join(missing)} must be given too: all three of {', '.join(given)}, or none.")
    elif not 0 <= process < processes:  # type: ignore[operator]
        raise JoinError(f"--process={process} is not below --processes={processes}: processes are counted from 0.")
    who = f"process {process} of {processes} at {coordinator}" if coordinator else "this process"

    def sentence(reason: str) -> str:
        return (
            f"{who} could not join its run ({reason}). Start the same command on every host, see that they reach the "
            "coordinator's port, and give --coordinator, --processes and --process where neither Cloud TPU, GKE nor "
            "SLURM does; without --distributed this process runs alone."
        )

    def give_up() -> None:
        print(sentence(f"not all have come within --patience={patience} seconds"), file=sys.stderr, flush=True)
        os._exit(2)

    # SIGTERM is ours (`preemption`): the runtime would catch it for a service of its own that is not used here.
    jax.config.update("jax_enable_preemption_service", False)
    listen = None
    # The runtime's own deadline aborts the process, with a stack trace in place of a reason.
    timer = threading.Timer(patience + 5.0, give_up)
    timer.start()
    try:
        if coordinator and processes is not None and process is not None:
            _others.listen(process, processes, rendezvous.meet(coordinator, processes, process, patience))
            listen = str(rendezvous.listen_address(coordinator))
        jax.distributed.initialize(
            coordinator, processes, process, initialization_timeout=patience + 60, coordinator_bind_address=listen
        )
    except Exception as error:  # whatever the discovery of a cluster or a connection raises
        raise JoinError(sentence(str(error).strip().split("\n")[0])) from None
    finally:
        timer.cancel()
    atexit.register(_others.tell, 0)  # called before the runtime's own farewell, which was registered before
