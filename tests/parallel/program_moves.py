"""Trains on one mesh, and goes on from its checkpoint on others."""

import sys
from contextlib import nullcontext
from pathlib import Path

import jax
import numpy as np

from mass_jax.models import sharding
from mass_jax.parallel import mesh, partition
from mass_jax.study.meta import meta_train
from tests.mass import tiny

workdir = Path(sys.argv[1])


def train(shape, steps):
    on = mesh.make(dict(zip(partition.AXES, shape, strict=True)), jax.devices()[: int(np.prod(shape))])
    base = tiny.make_params()
    if on is not None:
        base = jax.device_put(base, sharding.shardings(on, base))
    with nullcontext() if on is None else jax.set_mesh(on):
        config = tiny.train_config(steps=steps, problems=8)
        state = meta_train(
            config,
            0,
            tiny.make_actor(domain=tiny.LENIENT, params=base),
            tiny.make_problems(8),
            tiny.document_stream(),
            workdir,
        )
    kernel = state.params["layers"]["q_proj"]["kernel"]
    assert len({str(shard.index) for shard in kernel.addressable_shards}) == shape[1] * shape[2], kernel.sharding
    assert len(kernel.sharding.device_set) == np.prod(shape)
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state._replace(key=jax.random.key_data(state.key)))]


first = train((2, 4, 1), 2)
for shape in ((2, 2, 1), (1, 1, 1), (1, 2, 1), (8, 1, 1)):
    moved = train(shape, 2)  # nothing is left to do: this is what the checkpoint holds
    assert all(a.tobytes() == b.tobytes() for a, b in zip(first, moved, strict=True)), shape
on = train((1, 8, 1), 3)
assert any(a.tobytes() != b.tobytes() for a, b in zip(first, on, strict=True)) and all(np.isfinite(a).all() for a in on)
print("equal")
