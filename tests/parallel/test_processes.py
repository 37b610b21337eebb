"""Two real processes, which talk by gloo, do what one process on one device does; or they do not start."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.benchmarks.pod_local import free_port
from mass_jax.parallel.joining import JoinError, join
from mass_jax.runtime.metrics import read_repeatable

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
import json, sys
from pathlib import Path

import jax
import numpy as np

from mass_jax.mass import arms
from mass_jax.models import sharding
from mass_jax.parallel import partition, hosts
from mass_jax.parallel import joining, mesh
from mass_jax.study.meta import meta_train
from tests.mass import tiny

options = json.loads(sys.argv[1])
if options["processes"] > 1:
    joining.join(options["coordinator"], options["processes"], options["process"], 60)
    joining.agree({"same": 1}, {})
    try:
        joining.agree({"rate": options["process"]}, {})
    except joining.JoinError as error:
        assert "config.rate: 0 (process 0), 1 (process 1)" in str(error), error
    else:
        raise AssertionError("processes that are to do different things go on")
assert jax.process_count() == options["processes"]
on = mesh.make(dict(zip(partition.AXES, options["mesh"])))
problems, method = tiny.make_problems(8), tiny.make_method()


def place(tree):
    places = jax.tree.map(lambda _: None, tree) if on is None else sharding.shardings(on, tree)
    return jax.tree.map(lambda leaf, where: hosts.place(np.asarray(leaf), where), tree, places)


found = {}
if on is not None:
    jax.set_mesh(on)
mine = [problems[i] for i in hosts.rows(8)]
found["mine"] = [problem.prompt for problem in mine]
found["all"] = [tuple(each) for each in hosts.whole_list([(p.prompt, p.difficulty) for p in mine])]
assert found["all"] == [(p.prompt, p.difficulty) for p in problems]
column = np.arange(16).reshape(8, 2) / 3
assert np.array_equal(hosts.whole(hosts.local(hosts.share(hosts.mine(column)))), column)
with jax.enable_x64(False):  # what the host holds keeps its width, whatever the devices compute in
    assert np.array_equal(hosts.whole(hosts.mine(column)), column)

base = place(tiny.float64(tiny.make_params()))
actor = tiny.make_actor(method, tiny.LENIENT, base)
for source in ("gold", "other_problem", "nearest", "own"):
    practice = arms.obtain_practice(actor, mine, source, jax.random.key(4), problems[:5])
    found[source] = hosts.whole_list([[e.prompt for e in row] for row in practice.texts])
arm = arms.Arm("mass", "own", "shuffled")
ready = arms.adapt(actor, tiny.make_eta(method), mine, arm, practice, jax.random.key(5))
outcome = arms.answer(actor, mine, ready)
found["answers"] = hosts.whole_list(outcome.texts)
found["weights"] = hosts.whole(ready.scores.weights_PxM).tolist()

put = jax.jit(lambda tree: tree, out_shardings=None if on is None else jax.NamedSharding(on, partition.P()))
found["leaves"] = []
for workdir, steps, parts in options["runs"]:
    config = tiny.train_config(steps=steps, problems=8, parts=parts, mode="verifier", save_every=1)
    documents = tiny.document_stream()
    state = meta_train(config, 0, actor, problems, documents, Path(workdir), label="mass")
    whole = put((state.params, state.eta))
    found["leaves"].append([np.asarray(leaf).ravel().tolist() for leaf in jax.tree.leaves(whole)])
Path(options["found"]).write_text(json.dumps(found))
"""


def start(folder: Path, devices: int, mesh: tuple[int, int, int], runs: list, processes: int = 1) -> list[Any]:
    """What every process found, which trains as ``runs`` says: in a directory, up to a step, in so many parts."""
    flags = os.environ.get("XLA_FLAGS", "") + f" --xla_force_host_platform_device_count={devices}"
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    # In float64: Adam makes a step of any size out of a gradient that is zero but for rounding.
    environment["JAX_ENABLE_X64"] = "1"
    known = {"mesh": mesh, "processes": processes, "coordinator": f"localhost:{free_port()}"}
    known["runs"] = [(str(folder / name), *rest) for name, *rest in runs]
    files = [folder / f"found-{i}.json" for i in range(processes)]
    running = []
    for i, file in enumerate(files):
        command = [sys.executable, "-c", PROGRAM, json.dumps(known | {"process": i, "found": str(file)})]
        with open(file.with_suffix(".log"), "w") as log:
            running.append(subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log))
    for process, file in zip(running, files, strict=True):
        assert process.wait() == 0, file.with_suffix(".log").read_text()[-3000:]
    return [json.loads(file.read_text()) for file in files]


def test_two_processes_do_what_one_does(tmp_path: Path):
    # They save, and read what they saved, on the way; and one process goes on where they stopped. They go over their
    # problems in two parts.
    first, second = start(tmp_path, 2, (1, 4, 1), [("two", 1, 2), ("two", 2, 2)], processes=2)
    (alone,) = start(tmp_path, 1, (1, 1, 1), [("one", 2, 1), ("two", 2, 2), ("one", 3, 1), ("two", 3, 2)])
    assert first["leaves"][1] == alone["leaves"][1], "what they saved, bit for bit"
    assert sorted(first["mine"] + second["mine"]) == sorted(alone["mine"]), "no problem twice, none lost"
    assert first["mine"] and second["mine"] and first["leaves"] == second["leaves"]
    for name in ("gold", "other_problem", "nearest", "own", "answers"):
        assert first[name] == second[name] == alone[name], name
    np.testing.assert_allclose(first["weights"], alone["weights"], atol=1e-9)
    for one, two in (alone["leaves"][:2], alone["leaves"][2:]):
        for ours, theirs in zip(two, one, strict=True):
            # Log-probabilities of what was sampled are kept in float32.
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7 * np.abs(theirs).max())
    lines, others = read_repeatable(tmp_path / "two"), read_repeatable(tmp_path / "one")
    assert [line["step"] for line in lines] == [0, 1, 2], "one process writes"
    assert all(line["synthesis/well_formed"] > 0.3 and line["grad_norm/scorer"] > 0 for line in lines), "it adapts"
    for line, other in zip(lines, others, strict=True):
        assert line == pytest.approx(other, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("localhost:1", None, None), "--processes, --process must be given too"),
        (("localhost:1", 2, 2), "--process=2 is none of --processes=2"),
    ],
)
def test_flags_that_contradict_each_other_are_a_sentence(given: tuple, words: str):
    with pytest.raises(JoinError, match=words):
        join(*given, patience=1)


def test_a_process_that_cannot_join_does_not_run_alone():
    program = "import sys; from mass_jax.parallel.joining import join; join({}, patience=3); print('runs alone')"
    given = {f"'localhost:{free_port()}', 2, {i}": f"process {i} of 2 at localhost" for i in (0, 1)}
    given["None, None, None"] = "this process could not join its run"
    running = [
        subprocess.Popen(
            [sys.executable, "-c", program.format(arguments)],
            cwd=ROOT,
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for arguments in given
    ]
    for process, words in zip(running, given.values(), strict=True):
        printed, errors = process.communicate(timeout=120)
        assert process.returncode > 0 and words in errors, errors[-3000:]
        assert "runs alone" not in printed


@pytest.mark.parametrize(("number", "status", "words"), [("TERM", 75, "ended with status 75"), ("KILL", -9, "is lost")])
def test_where_one_process_ends_the_others_do(number: str, status: int, words: str):
    program = f"""
import os, signal, sys, time
from mass_jax.parallel import joining, preemption
preemption.leave_on_notice()
joining.join('localhost:{free_port()}', 2, int(sys.argv[1]), patience=60)
if sys.argv[1] == '1':
    os.kill(os.getpid(), signal.SIG{number})
time.sleep(120)
"""
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    other, told = (
        subprocess.Popen(
            [sys.executable, "-c", program, i], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
        )
        for i in "01"
    )
    try:
        assert told.wait(timeout=100) == status
        _, errors = other.communicate(timeout=50)
        assert other.returncode == 75 and f"Process 1 of 2 {words}, so process 0 ends too" in errors, errors[-3000:]
    finally:
        other.kill()
        told.kill()
