"""Processes for code that nobody has read: each in a jail of its own, with limits that it cannot lift.

A jail has walls of the kernel's (`server.WALLS`): namespaces, in which there is no network, no other process, and no
file but an empty folder in memory; Landlock, which gives it no file outside of that folder; and a list of system calls.
It is *sound* where the last one stands and one of the others; where it is not, it is refused unless you ask for it.

How busy the machine is must not decide what becomes of them: time is the processor's. By the clock only those are
given up that hardly use any, and do not wait for any either.
"""

import dataclasses
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from mass_jax.tasks.sandbox import headway, server

_ANSWERS = 120.0
"""Seconds by the clock after which a server is given up that does nothing, and has not answered."""
_PATIENCE = 5.0
"""Seconds by the clock, for each of processor time, in which processes have to use a `_SHARE` of their time."""
_SHARE = 0.02
_LATE = 0.1
"""Of that patience: who watches and comes so late does not judge by it."""
LONGEST = _PATIENCE / _SHARE
"""Seconds that processes can take which sleep as much as they may, for each of processor time, and wait for none."""
_ROOT = Path(__file__).resolve().parents[3]
_PROGRAM = (
    "import sys; sys.path.append(sys.argv[3]); from mass_jax.tasks.sandbox.server import main; "
    "main(sys.argv[1], int(sys.argv[2]))"
)


@dataclasses.dataclass(frozen=True)
class Limits:
    """What one process may use up.

    Attributes:
      seconds: of processor time, of all its threads.
      memory: bytes of address space; what needs more meets a MemoryError.
      files: bytes in its folder.
      output: bytes that it prints, and as many that it reports.
    """

    seconds: int = 2
    memory: int = 512 << 20
    files: int = 16 << 20
    output: int = 64 << 10

    def __post_init__(self) -> None:
        for name, least in (("seconds", 1), ("memory", 128 << 20), ("files", 4096), ("output", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} = {getattr(self, name)}: a process in a jail needs {least} or more.")


USUAL = Limits()


class Report(NamedTuple):
    """What became of a process.

    Attributes:
      said: what it wrote to its judge, and
      printed: to standard output and error, both up to the limit.
      reason: why it was ended, or how it died; empty where it ended by itself or was no longer needed.
      seconds: of processor time.
    """

    said: bytes
    printed: bytes
    reason: str
    seconds: float


class Jail:
    """A server, and what it starts. A context manager: when it is closed, nothing is left of either."""

    def __init__(self, program: str, anyhow: bool = False):
        """Starts the server.

        Args:
          program: a file; see `server.main`.
          anyhow: go on where the walls that stand here do not make a sound jail.

        Raises:
          RuntimeError: the server does not start.
          PermissionError: the jail would not be sound; says which walls do not stand, and why.
        """
        if sys.platform != "linux":
            raise PermissionError(f"jails are made of Linux's own calls, and this is {sys.platform}.")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(_ANSWERS)
        self._link = ours
        # Of its own interpreter, hashes are the same in every run: so is the order of a set, and with it a verdict.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-s", "-c", _PROGRAM, program, str(theirs.fileno()), str(_ROOT)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            cwd="/",
            env={"PYTHONHASHSEED": "0"},
        )
        theirs.close()
        try:
            self.missing = {name: why for name, why in self._receive().items() if why}
            if not anyhow and ("seccomp" in self.missing or {"namespaces", "landlock"} <= self.missing.keys()):
                raise PermissionError(f"this system cannot keep foreign code in: {described(self.missing)}.")
        except BaseException:
            self.close()
            raise

    def run(self, roles: Sequence[tuple[str, bytes]], limits: Limits = USUAL) -> list[Report]:
        """Run processes that speak with each other over their link, until the last of them ends.

        Args:
          roles: for each of one or two the name of what it runs, and what it reads from its judge.
          limits: of each.

        Raises:
          RuntimeError: the server has died.
        """
        links = socket.socketpair()
        cells: list[_Cell] = []
        try:
            for (role, given), link in zip(roles, links, strict=False):
                cells.append(self._start(role, given, link, limits))
            for link in links:
                link.close()
            self._watch(cells, limits)
        finally:
            for link in links:
                link.close()
            ends = [self._end(cell) for cell in cells]
        return [_report(cell, end, limits) for cell, end in zip(cells, ends, strict=True)]

    def close(self) -> None:
        """End the server, and with it all that it has started."""
        self._link.close()
        try:
            self._process.wait(_ANSWERS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _watch(self, cells: Sequence["_Cell"], limits: Limits) -> None:
        """Feed and read the processes until the last one ends, or one of them is over a limit."""
        used, patience = 0.0, _PATIENCE * limits.seconds
        with selectors.DefaultSelector() as selector:
            for cell in cells:
                selector.register(cell.control, selectors.EVENT_READ | selectors.EVENT_WRITE, cell)
                selector.register(cell.output, selectors.EVENT_READ, cell)
            deadline = time.monotonic() + patience
            while not (cells[-1].over or any(cell.reason for cell in cells)):
                _serve(selector, selector.select(max(0.0, deadline - time.monotonic())), limits)
                if (late := time.monotonic() - deadline) >= 0.0:
                    # Who looks late was kept waiting itself, and with it the processes that wait for its answers.
                    ready = late > _LATE * patience
                    ready = ready or headway.ready(self._process.pid)  # before the server is given something to do
                    before, used = used, sum(self._used(cell) for cell in cells)
                    deadline = time.monotonic() + patience
                    if used - before < _SHARE * limits.seconds and not ready:
                        cells[-1].reason = f"it did nothing for {patience:g} s"
            _serve(selector, selector.select(0), limits)  # who else has ended

    def _used(self, cell: "_Cell") -> float:
        self._link.send(json.dumps({"used": cell.pid}).encode())
        return float(self._receive()["seconds"])

    def _start(self, role: str, given: bytes, link: socket.socket, limits: Limits) -> "_Cell":
        control, theirs = socket.socketpair()
        output, printed = os.pipe()
        try:
            request = {"start": role, "limits": dataclasses.asdict(limits)}
            socket.send_fds(self._link, [json.dumps(request).encode()], [printed, theirs.fileno(), link.fileno()])
            pid = self._receive()["pid"]
        except BaseException:
            control.close()
            os.close(output)
            raise
        finally:
            theirs.close()
            os.close(printed)
        control.setblocking(False)
        return _Cell(int(pid), control, output, given)

    def _end(self, cell: "_Cell") -> dict[str, Any]:
        cell.close()
        self._link.send(json.dumps({"end": cell.pid, "over": cell.over}).encode())
        return self._receive()

    def _receive(self) -> dict[str, Any]:
        watch = headway.Watch(self._process.pid)
        while True:
            try:
                message = self._link.recv(server.MESSAGE)
            except TimeoutError:
                if watch.moved():
                    continue
                message = b"it hangs"
            except OSError as error:
                message = str(error).encode()
            break
        if not message.startswith(b"{"):
            raise RuntimeError("the server of jails has died: what it printed on standard error says why.")
        return json.loads(message)


def described(missing: dict[str, str]) -> str:
    """Which walls do not stand, and why."""
    return "; ".join(f"{name}: {why}" for name, why in missing.items())


@dataclasses.dataclass
class _Cell:
    """One process, as its judge sees it."""

    pid: int
    control: socket.socket
    output: int
    given: bytes
    said: bytearray = dataclasses.field(default_factory=bytearray)
    printed: bytearray = dataclasses.field(default_factory=bytearray)
    over: bool = False
    reason: str = ""

    def close(self) -> None:
        self.control.close()
        os.close(self.output)


def _serve(
    selector: selectors.BaseSelector, ready: Sequence[tuple[selectors.SelectorKey, int]], limits: Limits
) -> None:
    for key, events in ready:
        cell = key.data
        if key.fileobj is cell.control and events & selectors.EVENT_WRITE:
            _feed(cell, selector)
        if events & selectors.EVENT_READ and not _read(cell, key.fileobj, limits.output):
            selector.unregister(key.fileobj)


def _feed(cell: _Cell, selector: selectors.BaseSelector) -> None:
    """Write what the process is still to be given; then it reads the end."""
    try:
        cell.given = cell.given[cell.control.send(cell.given) :] if cell.given else b""
    except BrokenPipeError:
        cell.given = b""
    if not cell.given:
        if not cell.over:
            cell.control.shutdown(socket.SHUT_WR)
        selector.modify(cell.control, selectors.EVENT_READ, cell)


def _read(cell: _Cell, source: Any, most: int) -> bool:
    """Whether there is more to come."""
    try:
        piece = source.recv(1 << 16) if source is cell.control else os.read(source, 1 << 16)
    except ConnectionResetError:
        piece = b""
    into, what = (cell.said, "reported") if source is cell.control else (cell.printed, "printed")
    into += piece[: most - len(into)]
    if len(into) == most and piece:
        cell.reason = f"it {what} more than {most} bytes"
    if not piece and source is cell.control:
        cell.over = True
    return bool(piece)


def _report(cell: _Cell, end: dict[str, Any], limits: Limits) -> Report:
    reason, status, seconds = cell.reason, int(end["status"]), float(end["seconds"])
    # A crash shows in the status even where the server, asked while the process was still dying, has killed it too.
    if not reason and status < 0 and not (end["killed"] and status == -signal.SIGKILL):
        reason = f"it was ended by {signal.Signals(-status).name}"
        if status == -signal.SIGKILL:  # by the kernel; whose clock of limits is a coarser one
            late = seconds > limits.seconds / 2
            reason = f"over the time limit of {limits.seconds} s" if late else "it was killed, as where memory is short"
    return Report(bytes(cell.said), bytes(cell.printed), reason, seconds)
