"""Grading in a pool of processes: every comparison has its own time limit, and no answer can stop or slow a run.

What `exact.compare` decides never leaves this process. The rest goes to workers (`worker.py`), one comparison at a time
each. How busy the machine is must not decide whether an answer is right. So the time is the processor's, not the
clock's, which has only a far larger limit; and a comparison that does not end (over its time, or its worker died:
killed from outside, or out of memory) is made once more, in a worker that has done nothing else. What does not end
there either is *not judged*: neither right nor wrong, counted, and logged.

The workers are programs of their own rather than forks of this process: a fork of a process that runs JAX can deadlock,
and `multiprocessing` would import the main module, JAX and all, into each of them.
"""

import atexit
import collections
import contextlib
import dataclasses
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from absl import logging

from mass_jax.tasks.base import Verdict
from mass_jax.tasks.mathematics import exact, worker
from mass_jax.tasks.mathematics.normal_form import normal_form

LONGEST_ANSWER = 1000
"""Characters of an answer; a longer one is wrong."""

_START_LIMIT = 120.0
"""Seconds in which a worker must be ready: it imports SymPy, perhaps from a slow disk."""
_STARTS = 3
"""How often in a row a worker may fail to start."""
_PATIENCE = 10.0
"""Seconds by the clock, for each of processor time, after which a worker is given up that makes no headway."""


@dataclasses.dataclass
class Counts:
    """What became of the comparisons so far.

    Attributes:
      quick: decided without a worker.
      checked: decided by a worker.
      timeouts: workers that went over their time; a comparison may cost two.
      deaths: workers that ended by themselves while they compared; likewise.
      unjudged: ended in neither of two workers, or met an error of ours.
    """

    quick: int = 0
    checked: int = 0
    timeouts: int = 0
    deaths: int = 0
    unjudged: int = 0


class Grader:
    """Judges final answers, many at a time. A context manager; it is closed at exit at the latest.

    Workers are started when the first comparison needs them, and kept.
    """

    def __init__(self, workers: int | None = None, time_limit: float = 5.0):
        """A grader without processes yet.

        Args:
          workers: processes at most; by default as many as the machine has cores, up to 8.
          time_limit: seconds of processor time for one comparison.

        Raises:
          ValueError: if either is not positive.
        """
        workers = min(os.cpu_count() or 1, 8) if workers is None else workers
        if workers < 1:
            raise ValueError(f"workers = {workers}: grading needs at least 1 process.")
        if not time_limit > 0:
            raise ValueError(f"time_limit = {time_limit}: a comparison needs some time; 5 seconds are plenty.")
        self.counts = Counts()
        self._size = workers
        self._time_limit = time_limit
        self._workers: list[_Worker] = []
        self._failed_starts = 0
        self._lock = threading.Lock()

    def grade(self, reference: str, answer: str) -> Verdict:
        """Judge one final answer; see `grade_many`."""
        return self.grade_many([(reference, answer)])[0]

    def grade_many(self, pairs: Sequence[tuple[str, str]]) -> list[Verdict]:
        r"""Judge pairs of final answers (reference, candidate), in order. A pair that repeats is judged once.

        Args:
          pairs: answers as `answers.final_answer` returns them, such as ``(r"\frac{1}{2}", "0.5")``.

        Raises:
          RuntimeError: if workers are needed but do not start.
        """
        verdicts: dict[tuple[str, str], Verdict] = {}
        hard: list[tuple[str, str]] = []
        quick = {pair: _quick(*pair) for pair in dict.fromkeys(pairs)}
        normal = [quick[pair][0] for pair in pairs]
        for pair, verdict in dict(quick.values()).items():
            if verdict is None:
                hard.append(pair)
                continue
            verdicts[pair] = verdict
            if verdict.judged:
                self.counts.quick += 1
            else:
                self.counts.unjudged += 1
        if hard:
            with self._lock:
                verdicts.update(self._judge(hard))
        return [verdicts[pair] for pair in normal]

    def close(self) -> None:
        """End the workers. The grader can be used again; it then starts new ones."""
        for each in self._workers:
            each.kill()
        self._workers = []
        atexit.unregister(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _judge(self, pairs: list[tuple[str, str]]) -> dict[tuple[str, str], Verdict]:
        """Judge by workers; what did not end is tried once more, each in a fresh one."""
        verdicts = self._compute(pairs, fresh=False)
        if open_pairs := [pair for pair in pairs if not verdicts[pair].judged]:
            verdicts |= self._compute(open_pairs, fresh=True)
        lost = [(pair, verdicts[pair].reason) for pair in open_pairs if not verdicts[pair].judged]
        self.counts.unjudged += len(lost)
        for (reference, answer), reason in lost:
            logging.warning("An answer is not judged (%s, twice): %.80r against %.80r.", reason, answer, reference)
        return verdicts

    def _compute(self, pairs: list[tuple[str, str]], fresh: bool) -> dict[tuple[str, str], Verdict]:
        """One try at every pair, all workers busy as long as there is something to do."""
        waiting = collections.deque(pairs)
        verdicts: dict[tuple[str, str], Verdict] = {}
        try:
            while len(verdicts) < len(pairs):
                for each in self._staff(len(pairs) - len(verdicts), fresh):
                    if each.idle and waiting:
                        each.send(waiting.popleft(), self._time_limit)
                for each, outcome in self._wait():
                    pair = each.pair
                    if outcome is None:
                        self._discard(each)
                    if pair is None:  # it was starting
                        self._failed_starts = 0 if outcome is not None else self._failed_starts + 1
                    elif outcome is not None:
                        self.counts.checked += 1
                        reason = "equal to the reference" if outcome else f"{pair[1][:80]} differs from {pair[0][:80]}"
                        verdicts[pair] = Verdict(outcome, reason)
                    elif each.late:
                        self.counts.timeouts += 1
                        verdicts[pair] = Verdict(False, f"over the time limit of {self._time_limit:g} s", judged=False)
                    else:
                        self.counts.deaths += 1
                        verdicts[pair] = Verdict(False, "worker died", judged=False)
        except BaseException:  # interrupted: what the workers now say would belong to no question
            self.close()
            raise
        return verdicts

    def _discard(self, each: "_Worker") -> None:
        self._workers.remove(each)
        each.kill()

    def _staff(self, wanted: int, fresh: bool) -> list["_Worker"]:
        """The workers; missing ones are started, but not more than there is work for.

        Where they must be ``fresh``, those that have already compared something are replaced.
        """
        if fresh:
            for each in [each for each in self._workers if each.idle and each.pair is not None]:
                self._discard(each)
        if self._failed_starts >= _STARTS:
            self._failed_starts = 0
            raise RuntimeError(
                f"a grading worker ended or hung {_STARTS} times before it was ready: run `{sys.executable} -P "
                f"{worker.__file__}` to see why; it should print 'true'."
            )
        if not self._workers:
            atexit.unregister(self.close)
            atexit.register(self.close)
        while len(self._workers) < min(self._size, wanted):
            self._workers.append(_Worker())
        return self._workers

    def _wait(self) -> list[tuple["_Worker", bool | None]]:
        """The workers that have answered, died or run over their time, with their answers."""
        busy = [each for each in self._workers if not each.idle]
        with selectors.DefaultSelector() as selector:
            for each in busy:
                selector.register(each.output, selectors.EVENT_READ, each)
            selector.select(max(0.0, min(each.deadline for each in busy) - time.monotonic()))
            ready = {key.data for key, _ in selector.select(0)}
        outcomes: list[tuple[_Worker, bool | None]] = []
        for each in busy:
            if each in ready:
                outcomes.append((each, each.receive()))
            elif each.late:
                outcomes.append((each, None))
        return outcomes


def _quick(reference: str, answer: str) -> tuple[tuple[str, str], Verdict | None]:
    """The pair in normal form and its verdict, or None where only a worker can tell.

    An error is ours, whatever the answer says: it leaves this one pair not judged, and the run goes on.
    """
    try:
        pair = normal_form(reference), normal_form(answer[: LONGEST_ANSWER + 1])
        if len(answer) > LONGEST_ANSWER:
            return pair, Verdict(False, f"the answer has {len(answer)} characters, more than {LONGEST_ANSWER}")
        return pair, exact.compare(*pair)
    except Exception as error:
        logging.exception("An answer is not judged, by an error of the grader: %.80r against %.80r.", answer, reference)
        return (reference, answer), Verdict(False, f"error of the grader: {error!r}", judged=False)


class _Worker:
    """One process and what it is doing."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", worker.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdin and self._process.stdout
        self._input, self.output = self._process.stdin.fileno(), self._process.stdout.fileno()
        self.pair: tuple[str, str] | None = None
        self.idle = False
        self.deadline = time.monotonic() + _START_LIMIT

    @property
    def late(self) -> bool:
        """Whether it is over its time: by its own timer (known once it is reaped), or by the clock."""
        return self._process.returncode == -signal.SIGPROF or time.monotonic() >= self.deadline

    def send(self, pair: tuple[str, str], time_limit: float) -> None:
        """Hand over a comparison; the clock starts. A worker that has died shows when its answer is read."""
        self.pair, self.idle = pair, False
        self.deadline = time.monotonic() + _PATIENCE * time_limit
        line = json.dumps([*pair, time_limit]).encode() + b"\n"
        with contextlib.suppress(BrokenPipeError):
            os.write(self._input, line)  # far below the size of a pipe: it is written at once and whole

    def receive(self) -> bool | None:
        """Its answer, or None if it has died."""
        line = os.read(self.output, 64)
        answers = {b"true\n": True, b"false\n": False}
        outcome = answers.get(line)
        if outcome is not None:
            self.idle = True
        return outcome

    def kill(self) -> None:
        """End the process at once, and wait for its end."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                stream.close()
