"""The queue: what goes together, in which order, how much may wait, and what becomes of those who leave."""

import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from mass_jax.errors import InputError
from mass_jax.inference.adapter import Event, Watch
from mass_jax.serving import replies
from mass_jax.serving.refusal import Refusal
from mass_jax.serving.worker import Job, Worker, _own
from tests.serving.conftest import until


class Asked(NamedTuple):
    together: str
    number: int


class Bench:
    """A worker that does nothing until it may, and what it told."""

    def __init__(self, batch: int = 2, most: int = 6):
        self.batches: list[list[int]] = []
        self.told: dict[int, list[Any]] = {}
        self.may, self.entered = threading.Semaphore(0), threading.Semaphore(0)
        self.abandoned = threading.Event()
        self.worker = Worker(self.answer, batch, most)
        self.worker.start()

    def answer(self, rows: list[Asked], watch: Watch) -> list[int]:
        self.batches.append([row.number for row in rows])
        self.entered.release()
        assert self.may.acquire(timeout=60)
        if rows[0].together == "unaudited":
            raise InputError("the audit cannot be written")
        if rows[0].together == "broken":
            raise KeyError("not of a person's making")
        try:
            watch(Event("write", [{"row": row.number} for row in rows], 1.0, [row.number for row in rows]))
        except BaseException:
            self.abandoned.set()
            raise
        return [10 * row.number for row in rows]

    def job(self, kind: str, number: int) -> Job:
        self.told[number] = []
        return Job(Asked(kind, number), self.told[number].append)

    def submit(self, *asked: tuple[str, int]) -> list[Job]:
        jobs = [self.job(*each) for each in asked]
        self.worker.submit(jobs)
        return jobs

    def end(self) -> None:
        self.may.release(100)
        self.worker.close()
        self.worker.join()


@pytest.fixture
def bench() -> Iterator[Bench]:
    found = Bench()
    yield found
    found.end()


def test_equal_ones_go_together_and_the_first_goes_first(bench: Bench):
    bench.submit(("a", 0))
    assert bench.entered.acquire(timeout=60)
    bench.submit(("b", 1), ("a", 2), ("b", 3), ("b", 4), ("a", 5))
    for _ in range(5):
        bench.may.release()
    for _ in range(3):
        assert bench.entered.acquire(timeout=60)
    bench.end()
    assert bench.batches == [[0], [1, 3], [2, 5], [4]]
    assert [bench.told[i][-1] for i in range(6)] == [0, 10, 20, 30, 40, 50]
    assert bench.told[3][0] == Event("write", [{"row": 3}], 1.0, [3]), "each hears of itself alone"


def test_no_more_wait_than_may(bench: Bench):
    bench.submit(("a", 0))
    assert bench.entered.acquire(timeout=60)
    bench.submit(*(("a", i) for i in range(1, 6)))
    with pytest.raises(Refusal, match="5 requests are waiting, and 2 more would exceed the 6 that may") as refused:
        bench.submit(("a", 6), ("a", 7))
    assert refused.value.status == 429 and bench.worker.waiting == 5, "all or none"


def test_who_leaves_the_queue_is_not_done(bench: Bench):
    bench.submit(("a", 0))
    assert bench.entered.acquire(timeout=60)
    jobs = bench.submit(("a", 1), ("a", 2))
    bench.worker.drop(jobs[:1])
    bench.may.release(2)
    assert bench.entered.acquire(timeout=60)
    bench.end()
    assert bench.batches == [[0], [2]] and bench.told[1] == []


@pytest.mark.parametrize("leaving", [1, 2])
def test_a_batch_stops_at_its_next_phase_when_all_are_gone(leaving: int):
    bench = Bench()
    bench.submit(("x", 9))
    assert bench.entered.acquire(timeout=60)
    jobs = bench.submit(("a", 0), ("a", 1))
    bench.may.release()
    assert bench.entered.acquire(timeout=60)
    bench.worker.drop(jobs[:leaving])
    bench.may.release()
    bench.end()
    assert bench.abandoned.is_set() == (leaving == 2)
    assert (bench.told[1][-1:] == [10]) == (leaving == 1)


def test_one_that_fails_does_not_end_the_others(bench: Bench):
    bench.submit(("unaudited", 0), ("broken", 1), ("a", 2))
    bench.may.release(3)
    for _ in range(3):
        assert bench.entered.acquire(timeout=60)
    bench.end()
    assert [bench.told[i][-1].status for i in range(2)] == [500, 500] and bench.told[2][-1] == 20
    assert all("its log says why" in str(bench.told[i][-1]) for i in range(2)), "and nobody else hears of its files"


def test_when_it_closes_what_runs_is_finished_and_the_rest_refused(bench: Bench):
    ended = threading.Event()
    bench.submit(("a", 0))
    assert bench.entered.acquire(timeout=60)
    bench.submit(("a", 1))
    bench.worker.close(ended.set)
    assert not ended.is_set() and bench.told[1][-1].status == 503 and not bench.worker.open
    with pytest.raises(Refusal, match="shutting down") as refused:
        bench.submit(("a", 2))
    assert refused.value.status == 503
    bench.may.release()
    bench.worker.join()
    assert ended.is_set() and bench.told[0][-1] == 0 and bench.batches == [[0]]
    again = threading.Event()
    bench.worker.close(again.set)
    assert again.is_set(), "also of one that has ended"


def test_a_listener_is_told_in_the_order_of_things(bench: Bench):
    (job,) = bench.submit(("a", 4))
    bench.may.release()
    until(lambda: len(bench.told[4]) == 2)
    assert isinstance(bench.told[4][0], Event) and bench.told[4][1] == 40 and not job.gone


def test_each_hears_of_its_own_texts_and_only_if_it_asked_for_them():
    event = _own(Event("write", written=[["1 + 1"], ["2 + 2"]]), 1)
    form = replies.form(True, "tiny")
    assert form.phase(event, True)["mass"] == {"phase": "write", "state": "at work", "written": ["2 + 2"]}
    assert form.phase(event, False)["mass"] == {"phase": "write", "state": "at work"}
    assert form.phase(Event("write"), True)["mass"] == {"phase": "write", "state": "begun"}
