"""How a request waits for its jobs: until they are done, its time is over, or its sender has left."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any, TypeVar

from starlette.requests import Request

from mass_jax.inference.adapter import Event
from mass_jax.runtime.compilation import seconds_compiling
from mass_jax.serving.refusal import Refusal
from mass_jax.serving.worker import Asked, Job, Worker

T = TypeVar("T")


LEAST = 0.01
"""Seconds between two looks at the clock."""


class Left(Exception):  # noqa: N818 (nothing has failed)
    """Whoever asked has left."""


class Ticket:
    """A job, and what the worker tells of it.

    Attributes:
      job: as the worker has it.
    """

    def __init__(self, asked: Asked):
        """Within the event loop that waits for it."""
        self._loop = asyncio.get_running_loop()
        self._told: asyncio.Queue[Any] = asyncio.Queue()
        self.job = Job(asked, self._tell)

    async def next(self) -> Any:
        """An `Event`, or at last the result.

        Raises:
          Refusal: there is none.
        """
        told = await self._told.get()
        if isinstance(told, Exception):
            raise told
        return told

    async def result(self) -> Any:
        """What came of the job; what is told before is let go.

        Raises:
          Refusal: nothing came of it.
        """
        while isinstance(told := await self.next(), Event):
            pass
        return told

    def _tell(self, told: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody waits
            self._loop.call_soon_threadsafe(self._told.put_nowait, told)


@contextlib.asynccontextmanager
async def tickets(worker: Worker, asked: Sequence[Asked]) -> AsyncIterator[list[Ticket]]:
    """Jobs in the queue; whoever leaves the ``async with`` statement before they are done, drops them."""
    found = [Ticket(each) for each in asked]
    jobs = [ticket.job for ticket in found]
    worker.submit(jobs)
    try:
        yield found
    finally:
        worker.drop(jobs)


def late(seconds: float) -> Refusal:
    """The time of a request is over."""
    return Refusal(
        504,
        f"there was no answer within {seconds:g} seconds, the most that a request may take: ask for less "
        "(mass.seconds, mass.m, mass.k), or later.",
        code="timeout",
    )


class Clock:
    """The time of one request. Making programs takes none of it: the first of its kind would have no time left."""

    def __init__(self, seconds: float):
        """It begins."""
        self._end = _counted() + seconds

    @property
    def left(self) -> float:
        """Seconds; none or fewer when it is over. As long as a program is made it stays what it is."""
        return self._end - _counted()


def _counted() -> float:
    return time.monotonic() - seconds_compiling()


async def unless_left(request: Request, work: Coroutine[Any, Any, T], clock: Clock) -> T:
    """What ``work`` returns.

    Raises:
      Left: whoever asked has left.
      TimeoutError: the time is over.
    """
    tasks = asyncio.ensure_future(work), asyncio.ensure_future(_left(request))
    try:
        while True:
            done, _ = await asyncio.wait(tasks, timeout=max(clock.left, LEAST), return_when=asyncio.FIRST_COMPLETED)
            if tasks[0] in done:
                return tasks[0].result()
            if done or clock.left <= 0:
                raise Left if done else TimeoutError
    finally:
        for task in tasks:
            task.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
