"""What the compiled phases of an outer step send between devices: never more of the weights than a layer at a time."""

import json
import math
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.compiler import measured

ROOT = Path(__file__).resolve().parents[2]

# The sizes are told apart by their prime factors, whatever the compiler reshapes or splits: width 4 x 11, heads'
# channels 8 x 7 and 4 x 7, MLP 4 x 13, vocabulary 4 x 17, layers 5; in no batch or length is there a 7, 11, 13 or 17.
# Nothing is run. The last program is what must not be: all layers are gathered, and then scanned.
PROGRAM = """
import dataclasses, json
import jax
from mass_jax.models import sharding
from mass_jax.planning import hlo
from mass_jax import metagrad
from mass_jax.mass.method import GeneratorConfig, InnerConfig, LengthConfig, Method, ScorerConfig
from mass_jax.parallel import partition
from mass_jax.models import decoder
from mass_jax.models.lora import LoraConfig
from mass_jax.models.pretrained import folder
from mass_jax.models.config import ModelConfig
from mass_jax.planning import cost, lower
from mass_jax.mass.programs import Recorder
from mass_jax.parallel import mesh as meshes
from tests.mass import tiny

model = ModelConfig(
    68, width=44, layers=5, heads=4, kv_heads=2, head_dim=14, mlp_width=52, context=32, tie_embeddings=False,
    scan_layers=True, scan_decode=True, remat=True, loss_chunk=24,
)
method = Method(
    model, LoraConfig(3), LengthConfig(8, 8, 8, 17, 17), GeneratorConfig(4, 1.0),
    ScorerConfig("verification", "softmax", True, 5), InnerConfig(2, "fresh", "adam", 0.1, problems_at_once=4),
    metagrad.make("adjoint", microbatch=1),
)
config = dataclasses.replace(tiny.OUTER, mode="verifier", microbatches=2)
mesh = meshes.make({axis: 2 for axis in partition.AXES})
found = {}


def compiled(lowered):
    return [(c.kind, [shape for _, shape in c.shapes], c.trips) for c in hlo.collectives(lowered.compile().as_text())]


def gathered_at_once(params, tokens):
    layers = jax.tree.map(lambda leaf: partition.constrain(leaf), params["layers"])
    return decoder.forward(model, params | {"layers": layers}, None, tokens)[0]


with jax.set_mesh(mesh):
    base = folder.shapes_of(model)
    for planned in lower.lower(method, config, base, 3, 8, lower.sequences(8, 17), mesh):
        if planned.name != "losses":
            found[planned.name] = compiled(planned.lower())
    base = Recorder(mesh).placed(base, sharding.specs)
    found["gathered at once"] = compiled(jax.jit(gathered_at_once).lower(base, lower.struct((8, 8), "int32")))
chips = cost.Chips(2, 2, 2)
prices = cost.CostModel(method, chips)
costs = cost.programs(method, config, 3, 8, (8, 17), chips)
gathered = {program.name: prices.price(program.asked).gathered for program in costs}
print(json.dumps({"programs": found, "gathered": gathered}))
"""
LAYERS = 5
PER_LAYER = {7: 44 * 56, 13: 44 * 52}
"""Elements of the largest matrix of a layer that has this factor beside the width's."""

INSIDE = {("all-gather", "layer", "layers"), ("all-gather", "other", "layers"), ("all-reduce", "other", "layers")}
"""In the scan over layers: its matrices over fsdp; over tensor what the products left split, or as parts of a sum."""
TABLES = ("all-gather", "vocabulary", "top")
"""The embedding and the output matrix over fsdp, where a program begins."""
LOOPS = {(kind, "other", "loop") for kind in ("all-gather", "all-reduce", "all-to-all", "collective-permute")}
"""In loops over tokens, chunks of the loss, problems and microbatches, of what is not a parameter."""
SAMPLING = {TABLES, ("all-gather", "other", "top"), ("all-reduce", "other", "top")} | INSIDE | LOOPS
EXPECTED: dict[str, set[tuple[str, str, str]]] = {
    "prefill": SAMPLING,
    "decode": SAMPLING,
    "adapt": {TABLES, ("all-reduce", "other", "top")} | INSIDE | LOOPS,
    "attribute": {TABLES, ("all-reduce", "other", "top")} | INSIDE | LOOPS,
    # The gradient is added up over the problems' devices: of the layers' matrices within the scan.
    "generator": {
        TABLES,
        ("all-reduce", "layer", "layers"),
        ("all-reduce", "vocabulary", "loop"),
        ("all-to-all", "vocabulary", "loop"),
        ("all-reduce", "other", "top"),
    }
    | INSIDE
    | LOOPS,
}
"""What each program may have: kind, of what, and where. Counts are the compiler's business."""


def contents(shape: list[int]) -> str:
    """What an array is a part of, by the factors of its size: ``stack`` is more of one matrix than a layer has."""
    elements = math.prod(shape)
    for factor, limit in PER_LAYER.items():
        if elements % (11 * factor) == 0:
            return "layer" if elements % LAYERS and elements <= limit else "stack"
    return "vocabulary" if elements % (11 * 17) == 0 else "other"


def summary(found: list) -> Counter[tuple[str, str, str]]:
    """How many collectives there are of each kind, of what, and where: a scan over layers goes round 5 times."""
    return Counter(
        (kind, contents(shape), "layers" if LAYERS in trips else "loop" if trips else "top")
        for kind, shapes, trips in found
        for shape in shapes
    )


@pytest.fixture(scope="module")
def compiled() -> dict[str, dict]:
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def programs(compiled: dict[str, dict]) -> dict[str, list]:
    return compiled["programs"]


def wrong(found: list) -> list[str]:
    """Gathers and exchanges of a layer's matrices: of more than one layer anywhere, or of one outside the scan."""
    return [
        f"{kind} of {contents(shape)} {shape} in loops of {trips}"
        for kind, shapes, trips in found
        if kind in ("all-gather", "all-to-all")
        for shape in shapes
        if contents(shape) == "stack" or (contents(shape) == "layer" and LAYERS not in trips)
    ]


def phases(programs: dict[str, list]) -> dict[str, list]:
    return {name: found for name, found in programs.items() if name != "gathered at once"}


def test_weights_are_gathered_a_layer_at_a_time_in_the_scan(programs: dict[str, list]):
    for name, found in phases(programs).items():
        assert not wrong(found), name
        assert summary(found)["all-gather", "layer", "layers"] >= 7, f"{name}: where are the layer's matrices?"


def test_a_stack_that_is_gathered_is_found(programs: dict[str, list]):
    assert any("all-gather of stack [5, 44, 56] in loops of []" in text for text in wrong(programs["gathered at once"]))


@measured
def test_no_program_has_an_unexpected_kind_of_collective(programs: dict[str, list]):
    for name, found in phases(programs).items():
        kinds = summary(found)
        lines = (f"  {count:3} {kind} of {what}, {where}" for (kind, what, where), count in sorted(kinds.items()))
        print(name, *lines, sep="\n")
        assert set(kinds) <= EXPECTED[name.rpartition("/")[2]], name


def test_weights_are_gathered_as_often_as_the_cost_model_says(compiled: dict[str, dict]):
    for name, found in phases(compiled["programs"]).items():
        written = 8 if name.endswith("decode") else 1  # the only loop that does not say how often it goes round
        elements = sum(
            math.prod(shape) * math.prod(times or written for times in trips)
            for kind, shapes, trips in found
            for shape in shapes
            if kind == "all-gather" and contents(shape) == "layer"
        )
        assert 4 * elements == compiled["gathered"][name], name
