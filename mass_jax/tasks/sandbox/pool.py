"""A pool of processes for calls that may hang, crash or eat all memory: each call has limits, and none can stop a run.

How busy the machine is must not decide what a call returns. So the time is the processor's, of a start as of a call; by
the clock only those workers are given up that do nothing at all (`headway.py`). And a call that does not end (over its
time, or its worker died: killed from outside, or out of memory) is made once more, in a worker that has done nothing
else. What does not end there either is not done, and says why.

The workers (`worker.py`) are programs of their own rather than forks of this process: a fork of a process that runs JAX
can deadlock, and `multiprocessing` would import the main module, JAX and all, into each of them. They bound time and
memory and no more: they run as you, with your files and your network. A program that has to run what others wrote does
that in jails (`jail.py`), and is itself a judge that only watches.
"""

import atexit
import collections
import contextlib
import dataclasses
import json
import os
import select
import selectors
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol, Self

from mass_jax.tasks.sandbox import headway, worker

_START_PATIENCE = 120.0
"""Seconds by the clock after which a worker is given up that starts and does nothing, not even for a slow disk."""
_STARTS = 3
"""How often in a row a worker may fail to start."""
_PATIENCE = 10.0
"""The same of a worker that has a call, for each second of processor time that the call may take."""


class Program(Protocol):
    """A module that workers run. They load its file by itself: it imports what it needs, and little of this package."""

    __file__: str | None
    prepare: Callable[[], None]
    """Runs once in each worker, before its first call: what that would import and build, no call's time pays."""
    judge: Callable[..., Any]
    """Runs each call. Its arguments are JSON, and its result is JSON of `select.PIPE_BUF` bytes at most."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one call, in at most two tries.

    Attributes:
      done: it has returned.
      value: what it returned, or None.
      timeouts: workers that went over their time.
      deaths: workers that ended by themselves while they ran it.
      reason: why the last try did not end; empty where it is done.
    """

    done: bool = False
    value: Any = None
    timeouts: int = 0
    deaths: int = 0
    reason: str = ""


class Pool:
    """Runs a program's calls, many at a time. A context manager; it is closed at exit at the latest.

    Workers are started when the first call needs them, and kept.
    """

    def __init__(self, program: Program, workers: int | None = None, time_limit: float = 5.0):
        """A pool without processes yet.

        Args:
          program: the module whose `judge` is called.
          workers: processes at most; by default as many as the machine has cores, up to 8.
          time_limit: seconds of processor time for one call.

        Raises:
          ValueError: if either is not positive.
        """
        workers = min(os.cpu_count() or 1, 8) if workers is None else workers
        if workers < 1:
            raise ValueError(f"workers = {workers}: a pool needs at least 1 process.")
        if not time_limit > 0:
            raise ValueError(f"time_limit = {time_limit}: a call needs some time; 5 seconds are plenty.")
        self._program = program
        self._size = workers
        self._time_limit = time_limit
        self._workers: list[_Worker] = []
        self._failed_starts = 0
        self._lock = threading.Lock()

    def run(self, calls: Sequence[Sequence[Any]]) -> list[Outcome]:
        """Call the program's `judge` with each of the given arguments; outcomes are in the order of the calls.

        What did not end is tried once more, each in a fresh worker.

        Raises:
          RuntimeError: workers do not start.
          TypeError: an argument is not JSON.
        """
        lines = {i: json.dumps([*call, self._time_limit]).encode() + b"\n" for i, call in enumerate(calls)}
        with self._lock:
            found = self._try(lines, fresh=False)
            again = {i: line for i, line in lines.items() if not found[i].done}
            for i, outcome in self._try(again, fresh=True).items():
                timeouts, deaths = found[i].timeouts + outcome.timeouts, found[i].deaths + outcome.deaths
                found[i] = dataclasses.replace(outcome, timeouts=timeouts, deaths=deaths)
        return [found[i] for i in lines]

    def close(self) -> None:
        """End the workers. The pool can be used again; it then starts new ones."""
        for each in self._workers:
            each.kill()
        self._workers = []
        atexit.unregister(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _try(self, lines: dict[int, bytes], fresh: bool) -> dict[int, Outcome]:
        """One try at every call, all workers busy as long as there is something to do."""
        waiting = collections.deque(lines)
        outcomes: dict[int, Outcome] = {}
        try:
            while len(outcomes) < len(lines):
                for each in self._staff(len(lines) - len(outcomes), fresh):
                    if each.idle and waiting:
                        call = waiting.popleft()
                        each.send(call, lines[call], _PATIENCE * self._time_limit)
                for each, line in self._wait():
                    if line is None:
                        self._discard(each)
                    if each.call is None:  # it was starting
                        self._failed_starts = 0 if line is not None else self._failed_starts + 1
                    elif line is not None:
                        outcomes[each.call] = Outcome(done=True, value=json.loads(line))
                    elif each.late:
                        reason = f"over the time limit of {self._time_limit:g} s"
                        outcomes[each.call] = Outcome(timeouts=1, reason=reason)
                    else:
                        outcomes[each.call] = Outcome(deaths=1, reason="worker died")
        except BaseException:  # interrupted: what the workers now say would belong to no call
            self.close()
            raise
        return outcomes

    def _discard(self, each: "_Worker") -> None:
        self._workers.remove(each)
        each.kill()

    def _staff(self, wanted: int, fresh: bool) -> list["_Worker"]:
        """The workers; missing ones are started, but not more than there is work for.

        Where they must be ``fresh``, those that have already run a call are replaced.
        """
        if fresh:
            for each in [each for each in self._workers if each.idle and each.call is not None]:
                self._discard(each)
        command = [sys.executable, "-P", worker.__file__, str(self._program.__file__)]
        if self._failed_starts >= _STARTS:
            self._failed_starts = 0
            raise RuntimeError(
                f"a worker process ended or hung {_STARTS} times before it was ready: run `{shlex.join(command)}` to "
                "see why; it should print 'true'."
            )
        if not self._workers:
            atexit.unregister(self.close)
            atexit.register(self.close)
        while len(self._workers) < min(self._size, wanted):
            self._workers.append(_Worker(command))
        return self._workers

    def _wait(self) -> list[tuple["_Worker", bytes | None]]:
        """The workers that have answered, died or hang, with the lines that they wrote; none as long as all get on."""
        busy = [each for each in self._workers if not each.idle]
        with selectors.DefaultSelector() as selector:
            for each in busy:
                selector.register(each.output, selectors.EVENT_READ, each)
            selector.select(max(0.0, min(each.deadline for each in busy) - time.monotonic()))
            ready = {key.data for key, _ in selector.select(0)}
        lines: list[tuple[_Worker, bytes | None]] = []
        for each in busy:
            if each in ready:
                lines.append((each, each.receive()))
            elif each.stuck():
                lines.append((each, None))
        return lines


class Pooled:
    """A base for what calls a pool: a context manager, started and closed as the pool is."""

    _pool: Pool

    def close(self) -> None:
        """End the workers. It can be used again; it then starts new ones."""
        self._pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class _Worker:
    """One process and what it is doing."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert self._process.stdin and self._process.stdout
        self._input, self.output = self._process.stdin.fileno(), self._process.stdout.fileno()
        self.call: int | None = None
        self.idle = False
        self._stuck = False
        self._wait(_START_PATIENCE)

    @property
    def late(self) -> bool:
        """Whether it is over its time: by its own timer (known once it is reaped), or because it hangs."""
        return self._process.returncode == -signal.SIGPROF or self._stuck

    def stuck(self) -> bool:
        """Whether its clock has run out while it did nothing; where it did something, the clock starts again."""
        if time.monotonic() >= self.deadline:
            if self._watch.moved():
                self._wait(self._patience)
            else:
                self._stuck = True
        return self._stuck

    def _wait(self, patience: float) -> None:
        """The clock starts."""
        self._watch, self._patience = headway.Watch(self._process.pid), patience
        self.deadline = time.monotonic() + patience

    def send(self, call: int, line: bytes, patience: float) -> None:
        """Hand over a call; the clock starts. A worker that has died shows when its answer is read."""
        self.call, self.idle = call, False
        self._wait(patience)
        with contextlib.suppress(BrokenPipeError):
            while line:  # up to the size of a pipe, 64 KiB, it is written at once; the rest as the worker reads
                line = line[os.write(self._input, line) :]

    def receive(self) -> bytes | None:
        """The line that it wrote, or None if it has died; a line too long to be written whole counts as that."""
        line = os.read(self.output, select.PIPE_BUF)
        self.idle = line.endswith(b"\n")
        return line if self.idle else None

    def kill(self) -> None:
        """End the process at once, and wait for its end."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                stream.close()
