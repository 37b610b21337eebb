"""One thread owns the devices: it takes requests off a bounded queue, in order, as many at once as go together."""

import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Protocol

from absl import logging

from mass_jax.inference.adapter import Event, Watch
from mass_jax.serving.refusal import Refusal


class Asked(Protocol):
    """Something to do."""

    @property
    def together(self) -> Hashable:
        """What is done in one batch has equal ones."""


Answer = Callable[[Sequence[Any], Watch], Sequence[Any]]
"""Does a batch of what was asked, and tells of its phases; a result for each."""


class Abandoned(Exception):  # noqa: N818 (nothing has failed)
    """Nobody waits for a batch any more."""


class Job:
    """Something to do for somebody, who may leave.

    Attributes:
      asked: what.
      tell: is called by the worker's thread: with an `Event` of this job alone when a phase begins or ends, and at
        last with the result, or with the exception in its place.
      gone: nobody waits for it.
    """

    def __init__(self, asked: Asked, tell: Callable[[Any], None]):
        self.asked, self.tell, self.gone = asked, tell, False


def _draining() -> Refusal:
    return Refusal(503, "the server is shutting down: ask again when it is back, or another one.", code="draining")


class Worker:
    """A queue and the thread that empties it.

    Attributes:
      running: jobs that are at work.
    """

    def __init__(self, answer: Answer, batch: int, most: int):
        """Nothing runs yet.

        Args:
          answer: does a batch.
          batch: the most jobs of one.
          most: jobs that may wait.
        """
        self.running = 0
        self._answer, self._batch, self._most = answer, batch, most
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()
        self._open, self._finished = True, False
        self._ended: Callable[[], None] = lambda: None
        self._thread = threading.Thread(target=self._run, name="devices", daemon=True)

    @property
    def waiting(self) -> int:
        """Jobs in the queue."""
        return len(self._waiting)

    @property
    def open(self) -> bool:
        """Whether it takes jobs."""
        return self._open

    def start(self) -> None:
        """The thread begins."""
        self._thread.start()

    def join(self) -> None:
        """Waits until the thread has ended."""
        self._thread.join()

    def submit(self, jobs: Sequence[Job]) -> None:
        """Puts all of them into the queue, or none.

        Raises:
          Refusal: there is no room, or no more is taken.
        """
        with self._changed:
            if not self._open:
                raise _draining()
            if len(self._waiting) + len(jobs) > self._most:
                raise Refusal(
                    429,
                    f"{len(self._waiting)} requests are waiting, and {len(jobs)} more would exceed the {self._most} "
                    "that may: ask again later.",
                    code="queue_full",
                )
            self._waiting.extend(jobs)
            self._changed.notify()

    def drop(self, jobs: Sequence[Job]) -> None:
        """Nobody waits for these any more: they leave the queue, and a batch without others stops at its next phase."""
        with self._changed:
            for job in jobs:
                job.gone = True
                if job in self._waiting:
                    self._waiting.remove(job)

    def close(self, ended: Callable[[], None] = lambda: None) -> None:
        """Takes no more, refuses what waits, and ends after the batch that runs; ``ended`` is then called."""
        with self._changed:
            self._open, self._ended = False, ended
            refused, self._waiting = self._waiting, deque()
            finished = self._finished
            self._changed.notify()
        for job in refused:
            job.tell(_draining())
        if finished:
            ended()

    def _run(self) -> None:
        try:
            while jobs := self._next():
                self._do(jobs)
                self.running = 0
        finally:
            with self._changed:
                self._finished = True
                ended = self._ended
            self.close(ended)

    def _next(self) -> list[Job]:
        """The first job, and those after it that go together with it; none when there will be no more."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or not self._open)
            if not self._waiting:
                return []
            key = self._waiting[0].asked.together
            jobs = [job for job in self._waiting if job.asked.together == key][: self._batch]
            self._waiting = deque(job for job in self._waiting if job not in jobs)
            self.running = len(jobs)
            return jobs

    def _do(self, jobs: Sequence[Job]) -> None:
        def watch(event: Event) -> None:
            if all(job.gone for job in jobs):
                raise Abandoned
            for i, job in enumerate(jobs):
                if not event.own or event.own[i]:
                    job.tell(_own(event, i))

        results: Sequence[Any]
        try:
            results = self._answer([job.asked for job in jobs], watch)
        except Abandoned:
            return
        except Exception:  # noqa: BLE001 (the next batch may go well; what is asked was looked at before it was queued)
            logging.exception("A batch of %d requests has failed.", len(jobs))
            results = [Refusal(500, "the server has failed at this request; its log says why.")] * len(jobs)
        for job, result in zip(jobs, results, strict=True):
            job.tell(result)


def _own(event: Event, i: int) -> Event:
    """Of an event what concerns one of its problems."""
    if event.shown is None:
        return event._replace(written=event.written[i : i + 1])
    return event._replace(shown=[event.shown[i]], tokens=event.tokens[i : i + 1])
