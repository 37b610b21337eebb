"""One of the processes of a run: practice, answers and a few outer steps."""

import json
import sys
from pathlib import Path

import jax
import numpy as np

from mass_jax.adapt import run, sources
from mass_jax.adapt.learner import Learner
from mass_jax.adapt.neighbours import Pool
from mass_jax.models import sharding
from mass_jax.parallel import hosts, joining, mesh, partition
from mass_jax.parallel.joining import JoinError
from mass_jax.runtime.agreement import agree
from mass_jax.study.meta import meta_train
from tests.mass import tiny

options = json.loads(sys.argv[1])
if options["processes"] > 1:
    joining.join(options["coordinator"], options["processes"], options["process"], 600)
    agree({"same": 1}, {})
    try:
        agree({"rate": options["process"]}, {})
    except JoinError as error:
        assert "config.rate: 0 (process 0), 1 (process 1)" in str(error), error
    else:
        raise AssertionError("processes that are to do different things go on")
assert jax.process_count() == options["processes"]
on = mesh.make(dict(zip(partition.AXES, options["mesh"], strict=True)))
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
    request = sources.Request(actor, mine, jax.random.key(4), Pool(actor, problems[:5]))
    practice = sources.SOURCES[source].obtain(request)
    found[source] = hosts.whole_list([[e.prompt for e in row] for row in practice.texts])
recipe, eta = run.Recipe("own", "shuffled"), tiny.make_eta(method)
ready = run.prepare(actor, eta, mine, recipe, practice, jax.random.key(5))
outcome = run.measure(actor, mine, ready)
found["answers"] = hosts.whole_list(outcome.texts)
found["weights"] = hosts.whole(ready.scores.weights_PxM).tolist()
learner = Learner(actor, eta, recipe, Pool(actor, ()), jax.random.key(6), batch=8)
found["learner"] = [(answer.text, [e.prompt for e in answer.practice]) for answer in learner.answers(problems)]

put = jax.jit(lambda tree: tree, out_shardings=None if on is None else jax.NamedSharding(on, partition.P()))
found["leaves"] = []
for workdir, steps, rank in options["runs"]:
    config = tiny.train_config(
        steps=steps, problems=8, parts=2, mode="verifier", reward="scorer", save_every=1, lora_rank=rank
    )
    documents = tiny.document_stream()
    state = meta_train(config, 0, actor, problems, documents, Path(workdir))
    whole = put((state.params, state.eta))
    found["leaves"].append([np.asarray(leaf).ravel().tolist() for leaf in jax.tree.leaves(whole)])
Path(options["found"]).write_text(json.dumps(found))
