"""The pool runs a program that is not mathematics; `mathematics/test_grading.py` has what happens to its workers."""

import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mass_jax.tasks.sandbox import pool as pools
from mass_jax.tasks.sandbox import worker
from mass_jax.tasks.sandbox.pool import Outcome, Pool
from tests.tasks.sandbox import program

BUSY = "import time\nwhile time.process_time() < {}: pass\n"


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    """Workers with little time, which these calls use up or do not need."""
    with Pool(program, workers=2, time_limit=0.3) as shared:
        yield shared


def test_calls_return_values_in_their_order(pool: Pool):
    calls = [(f"found = sum(range({n}))", n * (n - 1) // 2 + n % 2) for n in range(9)]
    calls.append(("found = ''.join(reversed('abc'))", "cba"))
    calls.append(("found = len(ready)", 1))  # however many calls, `prepare` ran once
    outcomes = pool.run(calls)
    assert all(outcome.done for outcome in outcomes)
    assert [outcome.value["passed"] for outcome in outcomes] == [n % 2 == 0 for n in range(9)] + [True] * 2
    assert outcomes[9] == Outcome(done=True, value={"passed": True, "found": "cba"})


ENDS = {
    "time": ("while True: pass", Outcome(timeouts=2, reason="over the time limit of 0.3 s")),
    "an error": ("found = 1 / 0", Outcome(deaths=2, reason="worker died")),
    "memory": (f"found = bytearray({worker.MEMORY})", Outcome(deaths=2, reason="worker died")),
    "an exit": ("import os; os._exit(0)", Outcome(deaths=2, reason="worker died")),
    "a long result": (f"found = '1' * {select.PIPE_BUF}", Outcome(deaths=2, reason="worker died")),
}


def test_what_does_not_end_is_tried_twice_and_costs_the_others_nothing(pool: Pool):
    hostile = [(code, 0) for code, _ in ENDS.values()]
    outcomes = pool.run([call for each in hostile for call in (each, ("found = 5", 5))])
    assert dict(zip(ENDS, outcomes[::2], strict=True)) == {name: outcome for name, (_, outcome) in ENDS.items()}
    assert outcomes[1::2] == [Outcome(done=True, value={"passed": True, "found": 5})] * len(ENDS)


def test_the_second_try_has_a_worker_that_has_run_nothing_else():
    with Pool(program, workers=1) as own:
        leaves_something = ("ready.append(0); found = 0", 0)
        assert own.run([leaves_something])[0].done
        outcome, other = own.run(
            [("import os; len(ready) > 1 and os._exit(1); found = len(ready)", 1), leaves_something]
        )
        assert other.done and outcome == Outcome(done=True, value={"passed": True, "found": 1}, deaths=1)


def test_arguments_longer_than_a_pipe_arrive(pool: Pool):
    (outcome,) = pool.run([(f"found = len('{'x' * 300_000}')", 300_000)])
    assert outcome.value == {"passed": True, "found": 300_000}


def test_no_calls_need_no_workers():
    with Pool(program) as own:
        assert own.run([]) == []
        assert own._workers == []


def test_an_argument_that_is_not_json_is_refused_and_the_pool_goes_on(pool: Pool):
    with pytest.raises(TypeError, match="not JSON serializable"):
        pool.run([("found = 1", object())])
    assert pool.run([("found = 1", 1)])[0].done


@pytest.fixture
def own(tmp_path: Path, monkeypatch) -> Path:
    """A program of this test alone."""
    path = tmp_path / "own.py"
    monkeypatch.setattr(program, "__file__", str(path))
    return path


def test_the_clock_ends_neither_a_start_nor_a_call_that_gets_on(own: Path, monkeypatch):
    monkeypatch.setattr(pools, "_START_PATIENCE", 0.2)
    monkeypatch.setattr(pools, "_PATIENCE", 0.001)
    own.write_text(f"def prepare():\n exec({BUSY.format(0.8)!r})\ndef judge():\n exec({BUSY.format(1.0)!r})\n return 5")
    with Pool(program, workers=1, time_limit=5) as pool:
        assert pool.run([()]) == [Outcome(done=True, value=5)]


def test_a_start_that_does_nothing_is_given_up(own: Path, monkeypatch):
    monkeypatch.setattr(pools, "_START_PATIENCE", 0.2)
    own.write_text("import time\ndef prepare(): time.sleep(9999)\ndef judge(): pass")
    with Pool(program, workers=1) as pool, pytest.raises(RuntimeError, match="ended or hung 3 times"):
        pool.run([()])


def test_a_start_without_an_end_is_ended_by_its_processor_time(own: Path):
    own.write_text("def prepare():\n while True: pass")
    code = f"from mass_jax.tasks.sandbox import worker; worker.START = 0.2; worker.main({str(own)!r})"
    done = subprocess.run([sys.executable, "-c", code], input=b"", capture_output=True, timeout=600)
    assert done.returncode == -signal.SIGPROF and not done.stdout
