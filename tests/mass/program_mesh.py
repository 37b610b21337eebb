"""The phases of an outer step on several meshes, compared with one device.

What is differentiated is compared in float64: in float32 the attributions of this model, whose logits are far apart,
differ by 1e-3 for rounding alone.
"""

import dataclasses
import json
import sys
from contextlib import nullcontext

import jax
import numpy as np

from mass_jax.mass import attribution, update
from mass_jax.mass.actor import Actor
from mass_jax.mass.generator import complete, solving
from mass_jax.mass.objective import Experience, UpdateData
from mass_jax.mass.state import model_optimizer
from mass_jax.models import sharding
from mass_jax.models.tokenizer import WordTokenizer
from mass_jax.parallel import mesh, partition
from mass_jax.tasks.base import Domain
from tests.mass import tiny
from tests.models import tiny as models

at_once, scan, *shapes = json.loads(sys.argv[1])
words = tiny.DOMAIN.task.vocabulary
domain = Domain(tiny.LENIENT.task, WordTokenizer(words))
if domain.tokenizer.vocab_size % 2:
    domain = Domain(domain.task, WordTokenizer((*words, "filler")))
method = tiny.make_method(steps=2, optimizer="adam", rate=0.02)
model = dataclasses.replace(
    method.model,
    heads=4,
    kv_heads=2,
    layers=2 if scan else 1,  # without a scan each layer is compiled
    scan_layers=scan,
    scan_decode=scan,
    remat=scan,
    vocab_size=domain.tokenizer.vocab_size,
    loss_chunk=8 if scan else None,
)
method = dataclasses.replace(method, model=model, inner=dataclasses.replace(method.inner, problems_at_once=at_once))
config = tiny.OUTER
params = models.make_params(model, seed=1)
other = jax.tree.map(lambda leaf: 1.01 * np.asarray(leaf), params)
adapter = models.make_adapter(params, seed=2, rank=method.lora.rank, targets=method.lora.targets)
problems, documents = tiny.make_problems(8), tiny.replay_documents(8)
outer = models.make_adapter(params, seed=4, rank=2)
practice = tiny.make_practice(problems).arrays
asked = tiny.make_solutions(problems)
eta = tiny.make_eta(method)


def differentiate(place):
    base, moved = (place(tiny.float64(tree)) for tree in (params, other))
    actor = Actor(base, method)
    adapted = attribution.score_and_adapt(actor, tiny.float64(eta), tiny.float64(adapter), practice)
    for leaf in jax.tree.leaves(adapted.run.params):
        shards = {str(shard.index) for shard in leaf.addressable_shards}
        assert len(shards) == leaf.sharding.num_devices, "an adapter is not split as far as it could be"
    result = attribution.attribute(actor, adapted, practice.examples, asked)
    experience = Experience(asked.sequences, np.full(asked.coefficients.shape, -3.0), asked.coefficients)

    def stepped(config, trained):
        opt_state = jax.jit(model_optimizer(config).init)(trained)
        data = UpdateData(experience, None, None, documents)
        return update.update_model(actor.replace(params=trained), config, opt_state, moved, data, np.inf, 1e-6)

    # Of an outer adapter, whose base stays; and shortened to a KL.
    own = stepped(dataclasses.replace(config, lora_rank=2, step_kl=1.0), place(tiny.float64(outer))) if scan else ()
    updated, opt_state, parts = stepped(config, base)
    leaves = jax.tree.leaves(updated["layers"])
    split = max(len({str(shard.index) for shard in leaf.addressable_shards}) for leaf in leaves)
    return split, jax.device_get((adapted.run.params, adapted.scores, result, updated, opt_state, parts, own))


def answer(place):
    prompts = [domain.task.solve_prompt(p.prompt) for p in problems]
    actor = Actor(place(params), method, domain)
    return complete(actor, None, prompts, jax.random.key(3), solving(actor, 2, 0.0)).texts


found = []
for shape in shapes:
    sizes = dict(zip(partition.AXES, shape, strict=True))
    mesh.check(sizes, sharding.divided(model) | {name: (8, mesh.SPREAD) for name in ("problems", "documents")})
    on = mesh.make(sizes, jax.devices()[: int(np.prod(shape))])

    def place(tree, on=on):
        return jax.device_put(tree, None if on is None else sharding.shardings(on, tree))

    with nullcontext() if on is None else jax.set_mesh(on):
        texts = answer(place)
        with jax.enable_x64(True):
            split, trees = differentiate(place)
    assert split == sizes["fsdp"] * sizes["tensor"], "parameters are not where they should be"
    found.append((trees, texts))
(one, texts), *others = found
assert len({text for row in texts for text in row}) > 2
assert np.ptp(one[2].tau_PxM) > 1e-3
for shape, (other, same) in zip(shapes[1:], others, strict=True):
    assert same == texts, shape
    for path, leaf in jax.tree_util.tree_leaves_with_path(one):
        value, name = dict(jax.tree_util.tree_leaves_with_path(other))[path], f"{shape} {jax.tree_util.keystr(path)}"
        np.testing.assert_allclose(value, leaf, rtol=1e-8, atol=1e-9 * np.abs(leaf).max(), err_msg=name)
print("equal")
