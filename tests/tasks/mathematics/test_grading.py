"""The pool: hostile answers, killed workers and interruptions cost what they may, and never the run."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mass_jax.tasks.base import Verdict
from mass_jax.tasks.mathematics import equivalence, grading
from mass_jax.tasks.mathematics.grading import LONGEST_ANSWER, Grader
from mass_jax.tasks.sandbox import worker
from mass_jax.tasks.sandbox.pool import Pool, _Worker

COMMAND = [sys.executable, "-P", worker.__file__, equivalence.__file__]
"""One worker by itself."""

HANGS = "(" * 60 + "x" + ")" * 60
"""An expression over which math-verify's parser runs for ages."""

HOSTILE = [
    "9**9**9**9",
    "9^{9^{9^{9}}}",
    "9^{9^{9^{9}}} - 9^{9^{9^{9}}} + x",
    r"\left(" * 60 + "1" + r"\right)" * 60,
    "{" * 400,
    r"\frac{" * 100 + "1",
    r"\sum_{n=1}^{10^9} n^n",
    r"\int_0^1 \sin(x^x) \cos(e^x) dx",
    "100000000!!",
    r"10^{10^{10}} \bmod 7",
    "__import__('os').system('false')",
    "\\" * 300,
    "\x00\x01\udc80",
    "1" * 900,
]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] != "Z"


def pids(grader: Grader) -> list[int]:
    return [each._process.pid for each in grader._pool._workers]


@pytest.fixture
def sums(monkeypatch) -> None:
    """Workers that start at once: they compare sums, and import nothing."""
    monkeypatch.setattr(equivalence, "__file__", str(Path(__file__).with_name("sums.py")))


@pytest.fixture
def at_send(monkeypatch, sums) -> Callable:
    """Calls ``act(worker)`` just before, and ``then(worker)`` just after, each of the first ``times`` comparisons.

    What happens to a worker while it computes must not depend on whether a test finds the time to look.
    """
    real, sent = _Worker.send, []

    def install(act: Callable[[_Worker], object], then: Callable = lambda worker: None, times: int = 1) -> list[int]:
        def send(self: _Worker, call: int, line: bytes, patience: float) -> None:
            sent.append(self._process.pid)
            chosen = len(sent) <= times
            if chosen:
                act(self)
            real(self, call, line, patience)
            if chosen:
                then(self)

        monkeypatch.setattr(_Worker, "send", send)
        return sent

    return install


def stop(worker: _Worker) -> None:
    worker._process.send_signal(signal.SIGSTOP)


def kill(worker: _Worker) -> None:
    worker._process.kill()


def give_up(worker: _Worker) -> None:
    """As when its limit by the clock is over."""
    worker.deadline = 0.0


def test_hostile_answers_cost_at_most_two_time_outs_each_and_the_others_are_judged(caplog):
    pairs = [("x+1", "1+x")]
    for hostile in HOSTILE:
        pairs += [("y+1", hostile), ("x+1", f"1 + x + {len(pairs)} - {len(pairs)}")]
    with Grader(workers=2, time_limit=0.5) as grader:
        verdicts = grader.grade_many(pairs)
        assert [verdict.correct for verdict in verdicts[::2]] == [True] * (len(HOSTILE) + 1)
        assert not any(verdict.correct for verdict in verdicts[1::2])
        over = [verdict for verdict in verdicts if not verdict.judged]
        assert {verdict.reason for verdict in over} == {"over the time limit of 0.5 s"}
        counts = grader.counts
        assert 1 <= counts.unjudged == len(over) <= len(HOSTILE) and counts.timeouts >= 2 * counts.unjudged
        assert counts.quick + counts.checked + counts.unjudged == len(set(pairs))
        assert caplog.text.count("not judged (over the time limit of 0.5 s, twice)") == counts.unjudged


def test_waiting_for_the_processor_costs_no_time(at_send):
    start = time.monotonic()

    def go_on_later(worker: _Worker) -> None:
        assert worker.deadline - start > 9, "the limit by the clock is far above the processor's"
        threading.Timer(1.5, worker._process.send_signal, [signal.SIGCONT]).start()

    with Grader(workers=1, time_limit=1) as grader:
        at_send(stop, go_on_later)
        assert grader.grade("x+1", "1+x").correct
        assert time.monotonic() - start > 1.5
        assert grader.counts == grading.Counts(checked=1)


def test_an_answer_whose_worker_the_machine_holds_up_is_judged_by_another(at_send):
    """The same verdicts, whether or not the machine lets the first worker run."""
    pairs = [("x+1", "1+x"), ("x+2", "1+x")]
    with Grader(workers=1) as grader:
        expected = grader.grade_many(pairs)
        assert [verdict.correct for verdict in expected] == [True, False]
        (before,) = pids(grader)
        sent = at_send(stop, give_up)
        assert grader.grade_many(pairs) == expected
        assert sent[0] == before and len(sent) == len(set(sent)) == 3, "a second try has a worker of its own"
        assert grader.counts == grading.Counts(checked=4, timeouts=1)


def test_a_pair_that_repeats_is_judged_once(grader):
    before = grader.counts.checked
    verdicts = grader.grade_many([("x+1", "1+x")] * 20)
    assert len(verdicts) == 20 and grader.counts.checked == before + 1


def test_an_error_of_ours_costs_one_verdict_and_not_the_run(grader, monkeypatch, caplog):
    def compare(reference: str, answer: str) -> Verdict:
        return Verdict(True, "") if answer == "1" else Verdict(bool(answer[7]), "")

    monkeypatch.setattr(grading.exact, "compare", compare)
    monkeypatch.setattr(grader, "counts", grading.Counts())
    verdicts = grader.grade_many([("1", "1"), ("1", "2"), ("1", "2"), ("2", "1")])
    assert [verdict.judged for verdict in verdicts] == [True, False, False, True]
    assert "IndexError" in verdicts[1].reason and not verdicts[1].correct
    assert grader.counts == grading.Counts(quick=2, unjudged=1) and "error of the grader" in caplog.text


def test_all_workers_are_busy(at_send):
    held = []

    def go_on_together(worker: _Worker) -> None:
        held.append(worker)
        for each in held if len(held) == 2 else []:
            each._process.send_signal(signal.SIGCONT)

    with Grader(workers=2) as grader:
        at_send(stop, go_on_together, times=2)
        assert all(verdict.correct for verdict in grader.grade_many([("x+1", "1+x"), ("x+2", "2+x")]))
        assert len(set(held)) == 2 and grader.counts == grading.Counts(checked=2)


def test_the_order_is_that_of_the_pairs(grader):
    numbers = random.Random(0).sample(range(100), 60)
    pairs = [("x+1", f"x+{number}") if number % 2 else (str(number), str(number + number % 3)) for number in numbers]
    expected = [number == 1 if number % 2 else number % 3 == 0 for number in numbers]
    assert [verdict.correct for verdict in grader.grade_many(pairs)] == expected
    assert grader.grade_many(pairs) == grader.grade_many(pairs)


def test_a_worker_killed_once_loses_nothing_and_there_are_no_more_workers_than_work(at_send):
    with Grader(workers=8) as grader:
        sent = at_send(kill)
        assert grader.grade("x+1", "1+x").correct
        assert pids(grader) == sent[1:]
        assert grader.counts == grading.Counts(checked=1, deaths=1)


def test_an_answer_that_kills_its_worker_twice_is_not_judged(at_send):
    with Grader(workers=1) as grader:
        at_send(kill, times=2)
        assert grader.grade("x+1", "1+x") == Verdict(False, "worker died", judged=False)
        assert grader.counts == grading.Counts(deaths=2, unjudged=1)


def test_workers_killed_while_idle_lose_nothing(sums):
    with Grader(workers=1) as grader:
        grader.grade("x+1", "1+x")
        kill(*grader._pool._workers)
        assert all(verdict.correct for verdict in grader.grade_many([("x+3", "3+x"), ("x+4", "4+x")]))


def test_closing_ends_the_workers_and_the_grader_can_be_used_again(sums):
    grader = Grader(workers=1)
    grader.grade("x+1", "1+x")
    before = pids(grader)
    assert len(before) == 1 and all(map(alive, before))
    grader.close()
    assert not any(map(alive, before))
    assert grader.grade("x+1", "1+x").correct
    grader.close()


def test_an_interruption_leaves_no_stale_answer(monkeypatch, sums):
    def interrupted(self):
        raise KeyboardInterrupt

    with Grader(workers=1) as grader:
        grader.grade("x+1", "1+x")
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Pool, "_wait", interrupted)
            grader.grade("x+1", "1+x+0")
        assert not grader.grade("x+1", "2+x").correct


def test_plain_answers_need_no_worker():
    with Grader() as grader:
        pairs = [(str(n), text) for n in range(500) for text in (f"\\${n}.00", f"{n + 1}", f"{n}\\text{{ apples}}")]
        verdicts = grader.grade_many(pairs)
        assert [verdict.correct for verdict in verdicts] == [True, False, True] * 500
        assert pids(grader) == [] and grader.counts == grading.Counts(quick=1500)


def test_an_endless_answer_is_wrong_without_a_look():
    with Grader() as grader:
        verdict = grader.grade("x", "x" * (LONGEST_ANSWER + 1))
        assert not verdict.correct and f"{LONGEST_ANSWER + 1} characters, more than {LONGEST_ANSWER}" in verdict.reason
        assert pids(grader) == []


def test_it_works_outside_the_main_thread(grader):
    found = []
    thread = threading.Thread(target=lambda: found.append(grader.grade("x+1", "1+x").correct))
    thread.start()
    thread.join()
    assert found == [True]


def test_workers_end_with_a_killed_parent_and_a_script_needs_no_main_guard():
    code = (
        "import os, sys\n"
        "from mass_jax.tasks.mathematics.grading import Grader\n"
        "grader = Grader(workers=1)\n"
        "assert grader.grade('x+1', '1+x').correct\n"
        "print(*[each._process.pid for each in grader._pool._workers], flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-"], input=code, capture_output=True, text=True, timeout=600)
    workers = [int(pid) for pid in done.stdout.split()]
    assert done.returncode == -9 and len(workers) == 1, done.stderr
    end = time.monotonic() + 300
    while any(map(alive, workers)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(map(alive, workers))


def test_a_worker_without_a_parent_ends_itself_at_its_limit():
    line = json.dumps(["x", HANGS, 0.5]) + "\n"
    done = subprocess.run(COMMAND, input=line, capture_output=True, text=True, timeout=600)
    assert done.returncode == -signal.SIGPROF and done.stdout == "true\n"


@pytest.mark.parametrize(
    ("body", "answer"),
    [("os.write(1, b'noise')", "true"), ("bytearray(worker.MEMORY)", "false"), ("f = lambda: f(); f()", "false")],
    ids=["noise", "memory", "recursion"],
)
def test_what_the_libraries_do_to_a_worker(tmp_path, body, answer):
    (tmp_path / "math_verify").mkdir()
    (tmp_path / "math_verify" / "parser.py").write_text("LatexExtractionConfig = dict")
    (tmp_path / "latex2sympy2_extended.py").write_text("NormalizationConfig = dict")
    (tmp_path / "math_verify" / "__init__.py").write_text(
        f"import os\nprint('noise')\nexpected = {[equal for *_, equal in equivalence.WARM_UP]}\n"
        "def parse(*a, **o):\n    print('noise')\n"
        "def verify(*a, **o):\n    if expected:\n        return expected.pop(0)\n"
        f"    {body.replace('worker.MEMORY', str(worker.MEMORY))}\n    return True\n"
    )
    done = subprocess.run(
        COMMAND,
        input='["x", "y", 20]\n' * 2,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.stdout == f"true\n{answer}\n{answer}\n", done.stderr


def test_a_library_that_compares_wrongly_is_refused_before_the_first_answer(tmp_path):
    (tmp_path / "math_verify").mkdir()
    (tmp_path / "math_verify" / "parser.py").write_text("LatexExtractionConfig = dict")
    (tmp_path / "latex2sympy2_extended.py").write_text("NormalizationConfig = dict")
    (tmp_path / "math_verify" / "__init__.py").write_text(
        "def parse(*a, **o):\n    return []\ndef verify(*a, **o):\n    return True\n"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(COMMAND, input="", env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == "math-verify should find x+1 and 2+x different.\n"


def test_a_first_comparison_costs_no_more_than_a_later_one():
    """Of processor time, which is what limits it: imports and tables are paid for before the worker is ready."""
    code = (
        "import runpy, sys, time\n"
        f"names = runpy.run_path({equivalence.__file__!r})\n"
        "for reference, answer, _ in names['WARM_UP']:\n    names['equivalent'](reference, answer)\n"
        "before = set(sys.modules)\n"
        "names['equivalent']('y^2+3', '3+y^2'), names['equivalent'](r'\\{4,7\\}', r'\\{7,4\\}')\n"
        "print(sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=600)
    assert done.stdout == "[]\n", done.stderr


def test_a_worker_that_does_not_start_is_an_error_that_says_how_to_see_why(tmp_path, monkeypatch):
    broken = tmp_path / "broken.py"
    broken.write_text("raise SystemExit(3)")
    monkeypatch.setattr(equivalence, "__file__", str(broken))
    grader = Grader(workers=2)
    with pytest.raises(RuntimeError, match="ended or hung 3 times before it was ready: run .*broken.py"):
        grader.grade("x+1", "1+x")
    monkeypatch.undo()
    assert grader.grade("x+1", "1+x").correct
    grader.close()


@pytest.mark.parametrize(
    "arguments", [{"workers": 0}, {"workers": -1}, {"time_limit": 0}, {"time_limit": float("nan")}]
)
def test_bad_arguments(arguments):
    (name, value), *_ = arguments.items()
    with pytest.raises(ValueError, match=f"{name} = {value}"):
        Grader(**arguments)
