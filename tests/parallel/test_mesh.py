"""Meshes that do not fit are refused in a sentence; a run moves from one mesh to another without losing a bit."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from ml_collections import ConfigDict

from configs import demo
from mass_jax.errors import InputError
from mass_jax.models import sharding
from mass_jax.models.config import ModelConfig
from mass_jax.parallel import mesh
from mass_jax.study.study import open_mesh

ROOT = Path(__file__).resolve().parents[2]
MODEL = ModelConfig(64, width=16, heads=4, kv_heads=2, mlp_width=24)


def test_sizes_make_up_the_devices():
    assert mesh.sizes({"data": -1, "fsdp": 2, "tensor": 2}, 16) == {"data": 4, "fsdp": 2, "tensor": 2}
    assert mesh.sizes({"data": 2, "fsdp": 1, "tensor": 4}, 8) == {"data": 2, "fsdp": 1, "tensor": 4}


@pytest.mark.parametrize("wanted", [(3, 1, 1), (-1, 3, 1), (-1, -1, 1), (0, 8, 1), (2, 2, 1), (-2, -4, 1), (-1, 0, 1)])
def test_a_mesh_that_does_not_divide_the_devices_is_a_sentence(wanted: tuple[int, int, int]):
    with pytest.raises(InputError, match="does not divide the 8 devices at hand: choose sizes whose product is 8"):
        mesh.sizes(dict(zip(("data", "fsdp", "tensor"), wanted, strict=True)), 8)


@pytest.mark.parametrize(
    ("change", "sizes", "words"),
    [
        ({}, (1, 1, 4), r"key-value heads \(2\) cannot be split over mesh.tensor = 4"),
        ({"heads": 5, "kv_heads": 5}, (1, 1, 2), r"key-value heads \(5\) cannot"),
        ({"mlp_width": 25}, (1, 1, 2), r"MLP \(25\) cannot"),
        ({"vocab_size": 63}, (1, 1, 2), r"vocabulary \(63\) cannot"),
        ({"width": 18}, (1, 4, 1), r"width \(18\) cannot be split over mesh.fsdp = 4"),
        ({}, (2, 4, 1), r"train.problems \(12\) cannot be split over mesh.data x fsdp = 8: choose a mesh or a number"),
    ],
)
def test_what_cannot_be_split_is_named(change: dict, sizes: tuple[int, int, int], words: str):
    found = dict(zip(("data", "fsdp", "tensor"), sizes, strict=True))
    with pytest.raises(InputError, match=words):
        mesh.check(
            found, sharding.divided(dataclasses.replace(MODEL, **change)) | {"train.problems": (12, mesh.SPREAD)}
        )


def test_a_single_device_has_no_mesh():
    config = demo.get_config()
    assert len(jax.devices()) == 1 and open_mesh(config, MODEL) is None
    config.mesh = ConfigDict({"data": 2, "fsdp": 1, "tensor": 1})
    with pytest.raises(InputError, match="mesh data 2 x fsdp 1 x tensor 1 does not divide the 1 devices"):
        open_mesh(config, MODEL)


# In a process of its own: the number of devices is fixed when the backend starts.
PROGRAM = """
import sys
from contextlib import nullcontext
from pathlib import Path

import jax
import numpy as np

from mass_jax.models import sharding
from mass_jax.parallel import partition
from mass_jax.parallel import mesh
from mass_jax.study.meta import meta_train
from tests.mass import tiny

workdir = Path(sys.argv[1])


def train(shape, steps):
    on = mesh.make(dict(zip(partition.AXES, shape)), jax.devices()[: int(np.prod(shape))])
    base = tiny.make_params()
    if on is not None:
        base = jax.device_put(base, sharding.shardings(on, base))
    with nullcontext() if on is None else jax.set_mesh(on):
        config = tiny.train_config(steps=steps, problems=8)
        state = meta_train(
            config, 0, tiny.make_actor(domain=tiny.LENIENT, params=base), tiny.make_problems(8),
            tiny.document_stream(), workdir, label="mass",
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
"""


def test_a_run_moves_to_another_mesh_and_goes_on(tmp_path: Path):
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "run")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip() == "equal"
