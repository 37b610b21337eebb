"""One of two processes that restore a checkpoint, of which one sees faults."""

import json
import sys

import jax
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from mass_jax.parallel import joining
from mass_jax.runtime import checkpoint
from mass_jax.runtime.checkpoint import Checkpointer

directory, port, me = sys.argv[1], sys.argv[2], int(sys.argv[3])
joining.join(f"localhost:{port}", 2, me, 600)
checkpoint.PAUSE = 0.0
mesh = jax.make_mesh((2,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
jax.set_mesh(mesh)


def make(step):
    whole = np.random.default_rng(step).normal(size=(6, 4)).astype(np.float32)
    places = {"split": NamedSharding(mesh, P("x")), "whole": NamedSharding(mesh, P())}
    return {n: jax.make_array_from_callback(whole.shape, place, whole.__getitem__) for n, place in places.items()}


with Checkpointer(directory) as checkpointer:
    for step in (1, 2, 3):
        checkpointer.save(step, make(step))

read, found = Checkpointer._read, {}


def restore(fault):
    calls = []

    def faulty(self, step, *given):
        calls.append(step)
        arrays, manifest = read(self, step, *given)
        if me == 1:
            fault(calls, step, arrays)
        return arrays, manifest

    Checkpointer._read = faulty
    with Checkpointer(directory) as checkpointer:
        restored = checkpointer.restore(make(0))
    for name, array in make(restored.step).items():
        for mine, theirs in zip(array.addressable_shards, restored.state[name].addressable_shards, strict=True):
            assert np.array_equal(mine.data, theirs.data)
    return restored.step


def once(calls, step, arrays):
    if len(calls) == 1:
        raise OSError("the file server is away for a moment")


def damaged(calls, step, arrays):
    if step == 3:
        raise OSError("the shard cannot be read")


def changed(name):
    def change(calls, step, arrays):
        if step == 3:  # an addition on this process's devices alone
            local = [jax.device_put(np.asarray(s.data) + 1, s.device) for s in arrays[name].addressable_shards]
            arrays[name] = jax.make_array_from_single_device_arrays(arrays[name].shape, arrays[name].sharding, local)

    return change


for name, fault in (("once", once), ("damaged", damaged), ("split", changed("split")), ("whole", changed("whole"))):
    found[name] = restore(fault)
print(json.dumps(found))
