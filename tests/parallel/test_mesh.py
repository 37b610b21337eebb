"""Meshes that do not fit are refused in a sentence; a run moves from one mesh to another without losing a bit."""

import dataclasses
from pathlib import Path

import jax
import pytest

from configs import demo
from mass_jax.errors import InputError
from mass_jax.models import sharding
from mass_jax.models.config import ModelConfig
from mass_jax.parallel import mesh
from mass_jax.study.config import read
from mass_jax.study.study import make_mesh
from tests import programs

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
    assert len(jax.devices()) == 1 and make_mesh(read(config), MODEL) is None
    config.mesh.data = 2
    with pytest.raises(InputError, match="mesh data 2 x fsdp 1 x tensor 1 does not divide the 1 devices"):
        make_mesh(read(config), MODEL)


def test_a_run_moves_to_another_mesh_and_goes_on(tmp_path: Path):
    assert programs.run("parallel.program_moves", str(tmp_path / "run"), devices=8).strip() == "equal"
