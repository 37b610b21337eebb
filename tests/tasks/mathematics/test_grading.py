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

import pytest

from mass_jax.tasks.base import Verdict
from mass_jax.tasks.mathematics import grading, worker
from mass_jax.tasks.mathematics.grading import LONGEST_ANSWER, Grader

HANGS = "(" * 60 + "x" + ")" * 60
"""An expression over which math-verify's parser runs for ages."""
SLOW = "(" * 13 + "7" + ")" * 13
"""One over which it runs for about a second."""

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


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def pids(grader: Grader) -> list[int]:
    return [each._process.pid for each in grader._workers]


def when_busy(grader: Grader, act: Callable[[int], None], times: int = 1) -> threading.Thread:
    """Calls ``act`` with the process id of a worker that computes, for ``times`` different workers."""

    def run():
        seen: set[int] = set()
        while len(seen) < times:
            for each in list(grader._workers):
                pid = each._process.pid
                if each.pair is not None and not each.idle and pid not in seen:
                    seen.add(pid)
                    act(pid)
            time.sleep(0.02)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def test_hostile_answers_cost_at_most_one_time_out_each_and_the_others_are_judged():
    pairs = [("x+1", "1+x")]
    for hostile in HOSTILE:
        pairs += [("y+1", hostile), ("x+1", f"1 + x + {len(pairs)} - {len(pairs)}")]
    with Grader(workers=2, time_limit=1.0) as grader:
        verdicts = grader.grade_many(pairs)
        assert [verdict.correct for verdict in verdicts[::2]] == [True] * (len(HOSTILE) + 1)
        assert not any(verdict.correct for verdict in verdicts[1::2])
        over = [verdict for verdict in verdicts if verdict.reason == "over the time limit of 1 s"]
        assert 1 <= grader.counts.timeouts == len(over) <= len(HOSTILE)
        counts = grader.counts
        assert counts.quick + counts.checked + counts.timeouts + counts.deaths // 2 == len(set(pairs))


def test_a_time_out_costs_its_limit_and_the_next_batch_is_judged():
    with Grader(workers=1, time_limit=0.5) as grader:
        grader.grade("x+1", "1+x")  # the worker is ready
        start = time.monotonic()
        assert grader.grade("x", HANGS) == Verdict(False, "over the time limit of 0.5 s")
        assert 0.5 <= time.monotonic() - start < 5
        assert grader.grade("x+1", "1+x").correct
        assert grader.counts.timeouts == 1


def test_waiting_for_the_processor_costs_no_time():
    def hold_up(pid: int) -> None:
        os.kill(pid, signal.SIGSTOP)
        time.sleep(3.5)
        os.kill(pid, signal.SIGCONT)

    with Grader(workers=1, time_limit=3) as grader:
        grader.grade("x+1", "1+x")  # the worker is ready
        thread = when_busy(grader, hold_up)
        start = time.monotonic()
        assert grader.grade("7*x/x", SLOW + "*x/x").correct
        assert time.monotonic() - start > 3
        thread.join()


def test_a_worker_that_makes_no_headway_is_given_up():
    with Grader(workers=1, time_limit=0.2) as grader:
        grader.grade("x+1", "1+x")
        thread = when_busy(grader, lambda pid: os.kill(pid, signal.SIGSTOP))
        assert grader.grade("x", HANGS) == Verdict(False, "over the time limit of 0.2 s")
        thread.join()


def test_a_pair_that_repeats_is_judged_once():
    with Grader(workers=1, time_limit=0.3) as grader:
        verdicts = grader.grade_many([("x", HANGS)] * 20)
        assert len(verdicts) == 20 and grader.counts.timeouts == 1


def test_all_workers_are_busy(monkeypatch):
    busy = []
    real = Grader._wait

    def watched(self):
        busy.append(sum(each.pair is not None and not each.idle for each in self._workers))
        return real(self)

    monkeypatch.setattr(Grader, "_wait", watched)
    with Grader(workers=2, time_limit=1) as grader:
        grader.grade_many([("x", HANGS), ("y", HANGS)])
    assert max(busy) == 2


def test_no_more_workers_than_work():
    with Grader(workers=8) as grader:
        grader.grade("x+1", "1+x")
        assert len(pids(grader)) == 1


def test_the_order_is_that_of_the_pairs(grader):
    numbers = random.Random(0).sample(range(100), 60)
    pairs = [("x+1", f"x+{number}") if number % 2 else (str(number), str(number + number % 3)) for number in numbers]
    expected = [number == 1 if number % 2 else number % 3 == 0 for number in numbers]
    assert [verdict.correct for verdict in grader.grade_many(pairs)] == expected
    assert grader.grade_many(pairs) == grader.grade_many(pairs)


def test_a_worker_killed_once_loses_nothing():
    with Grader(workers=1) as grader:
        thread = when_busy(grader, kill)
        assert grader.grade("7*x/x", SLOW + "*x/x").correct
        thread.join()
        assert grader.counts.deaths == 1 and grader.counts.checked == 1


def test_an_answer_that_kills_its_worker_twice_is_wrong():
    with Grader(workers=1, time_limit=20) as grader:
        thread = when_busy(grader, kill, times=2)
        assert grader.grade("x", HANGS) == Verdict(False, "worker died")
        thread.join()
        assert grader.counts.deaths == 2 and grader.counts.timeouts == 0
        assert grader.grade("x+1", "1+x").correct


def test_workers_killed_while_idle_lose_nothing():
    with Grader(workers=2) as grader:
        grader.grade_many([("x+1", "1+x"), ("x+2", "2+x")])
        for pid in pids(grader):
            kill(pid)
        assert all(verdict.correct for verdict in grader.grade_many([("x+3", "3+x"), ("x+4", "4+x")]))


def test_closing_ends_the_workers_and_the_grader_can_be_used_again():
    grader = Grader(workers=2)
    grader.grade_many([("x+1", "1+x"), ("x+2", "2+x")])
    before = pids(grader)
    assert len(before) == 2 and all(map(alive, before))
    grader.close()
    assert not any(map(alive, before))
    assert grader.grade("x+1", "1+x").correct
    grader.close()


def test_an_interruption_leaves_no_stale_answer(monkeypatch):
    def interrupted(self):
        raise KeyboardInterrupt

    with Grader(workers=1) as grader:
        grader.grade("x+1", "1+x")
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Grader, "_wait", interrupted)
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
        "grader = Grader(workers=2)\n"
        "assert all(v.correct for v in grader.grade_many([('x+1', '1+x'), ('x+2', '2+x')]))\n"
        "print(*[each._process.pid for each in grader._workers], flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-"], input=code, capture_output=True, text=True, timeout=60)
    workers = [int(pid) for pid in done.stdout.split()]
    assert done.returncode == -9 and len(workers) == 2, done.stderr
    end = time.monotonic() + 20
    while any(map(alive, workers)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(map(alive, workers))


def test_a_worker_without_a_parent_ends_itself_at_its_limit():
    line = json.dumps(["x", HANGS, 0.5]) + "\n"
    done = subprocess.run(
        [sys.executable, "-P", worker.__file__], input=line, capture_output=True, text=True, timeout=60
    )
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
        "import os\nprint('noise')\ndef parse(*a, **o):\n    print('noise')\n"
        f"def verify(*a, **o):\n    {body.replace('worker.MEMORY', str(worker.MEMORY))}\n    return True\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", worker.__file__],
        input='["x", "y", 20]\n' * 2,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == f"true\n{answer}\n{answer}\n", done.stderr


def test_a_worker_that_does_not_start_is_an_error_that_says_how_to_see_why(tmp_path, monkeypatch):
    broken = tmp_path / "broken.py"
    broken.write_text("raise SystemExit(3)")
    monkeypatch.setattr(worker, "__file__", str(broken))
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
