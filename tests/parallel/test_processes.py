"""Two real processes, which talk by gloo, do what one process on one device does; or they do not start."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.benchmarks.pod_local import free_port
from mass_jax.parallel.joining import JoinError, join
from mass_jax.runtime.metrics import read_repeatable
from tests import programs


def start(folder: Path, devices: int, mesh: tuple[int, int, int], runs: list, processes: int = 1) -> list[Any]:
    """What every process found, which trains as ``runs`` says: in a directory, up to a step, an adapter of a rank."""
    # All of it in float64, what the sampler says of its texts included: what is compared is equal but for rounding. In
    # float32 its log-probabilities would be off by 1e-6, and the gradient of their ratios by up to 1e-5.
    environment = programs.environment(devices, JAX_ENABLE_X64="1")
    known = {"mesh": mesh, "processes": processes, "coordinator": f"localhost:{free_port()}"}
    known["runs"] = [(str(folder / name), *what) for name, *what in runs]
    files = [folder / f"found-{i}.json" for i in range(processes)]
    running = []
    for i, file in enumerate(files):
        command = programs.command("parallel.program_process", json.dumps(known | {"process": i, "found": str(file)}))
        with open(file.with_suffix(".log"), "w") as log:
            running.append(subprocess.Popen(command, cwd=programs.ROOT, env=environment, stdout=log, stderr=log))
    for process, file in zip(running, files, strict=True):
        assert process.wait() == 0, file.with_suffix(".log").read_text()[-3000:]
    return [json.loads(file.read_text()) for file in files]


def test_two_processes_do_what_one_does(tmp_path: Path):
    # They save, and read what they saved, on the way; and one process goes on where they stopped. They go over their
    # problems in parts, each process over its own. So they train all parameters (rank 0), and then an adapter.
    ranks = (0, 2)
    together = [(f"two-{rank}", steps, rank) for rank in ranks for steps in (1, 2)]
    after = [(f"{name}-{rank}", steps, rank) for rank in ranks for steps in (2, 3) for name in ("one", "two")]
    first, second = start(tmp_path, 2, (1, 4, 1), together, processes=2)
    (alone,) = start(tmp_path, 1, (1, 1, 1), after)
    assert sorted(first["mine"] + second["mine"]) == sorted(alone["mine"]), "no problem twice, none lost"
    assert first["mine"] and second["mine"] and first["leaves"] == second["leaves"]
    for name in ("gold", "other_problem", "nearest", "own", "answers", "learner"):
        assert first[name] == second[name] == alone[name], name
    np.testing.assert_allclose(first["weights"], alone["weights"], atol=1e-9)
    for place, rank in enumerate(ranks):
        one, two, longer, resumed = alone["leaves"][4 * place : 4 * place + 4]
        assert first["leaves"][2 * place + 1] == two, "what they saved, bit for bit"
        for pair in ((one, two), (longer, resumed)):
            for ours, theirs in zip(*reversed(pair), strict=True):
                # Some gradients of the gate are 0 but for rounding, which the scorer's Adam divides by 1e-8.
                np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=max(1e-11, 1e-10 * np.abs(theirs).max()))
        lines, others = read_repeatable(tmp_path / f"two-{rank}"), read_repeatable(tmp_path / f"one-{rank}")
        assert [line["step"] for line in lines] == [0, 1, 2], "one process writes"
        assert all(line["synthesis/well_formed"] > 0.3 and line["grad_norm/scorer"] > 0 for line in lines), "it adapts"
        for line, other in zip(lines, others, strict=True):
            assert line == pytest.approx(other, rel=1e-8, abs=1e-10)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("localhost:1", None, None), "--processes, --process must be given too"),
        (("localhost:1", 2, 2), "--process=2 is not below --processes=2"),
    ],
)
def test_flags_that_contradict_each_other_are_a_sentence(given: tuple, words: str):
    with pytest.raises(JoinError, match=words):
        join(*given, patience=1)


def test_a_process_that_cannot_join_does_not_run_alone():
    given = {(f"localhost:{free_port()}", 2, i): f"process {i} of 2 at localhost" for i in (0, 1)}
    given[None, None, None] = "this process could not join its run"
    running = [
        subprocess.Popen(
            programs.command("parallel.program_joins", json.dumps(arguments)),
            cwd=programs.ROOT,
            env=programs.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for arguments in given
    ]
    for process, words in zip(running, given.values(), strict=True):
        printed, errors = process.communicate(timeout=600)
        assert process.returncode > 0 and words in errors, errors[-3000:]
        assert "runs alone" not in printed


@pytest.mark.parametrize(("number", "status", "words"), [("TERM", 75, "ended with status 75"), ("KILL", -9, "is lost")])
def test_where_one_process_ends_the_others_do(number: str, status: int, words: str):
    words_of_all = (f"localhost:{free_port()}", f"SIG{number}")
    other, told = (
        subprocess.Popen(
            programs.command("parallel.program_ends", *words_of_all, process),
            cwd=programs.ROOT,
            env=programs.environment(),
            stderr=subprocess.PIPE,
            text=True,
        )
        for process in "01"
    )
    try:
        assert told.wait(timeout=600) == status
        _, errors = other.communicate(timeout=600)
        assert other.returncode == 75 and f"Process 1 of 2 {words}, so process 0 ends too" in errors, errors[-3000:]
    finally:
        other.kill()
        told.kill()
