"""What the compiled phases of an outer step send between devices: never more of the weights than a layer at a time."""

import json
import math
from collections import Counter

import pytest

from tests.compiler import measured
from tests.programs import run

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
        # Of two microbatches each is a half of the texts, outside of any loop; its problems are every other one's.
        ("all-reduce", "vocabulary", "top"),
        ("all-to-all", "vocabulary", "top"),
        ("all-gather", "other", "top"),
        # The state behind a prompt, of which channels are split, goes to all its texts, whose positions are.
        ("all-to-all", "other", "top"),
        ("collective-permute", "other", "top"),
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
    return json.loads(run("mass.program_collectives", devices=8).splitlines()[-1])


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
        written = 9 if name.endswith("decode") else 1  # the only loop that does not say how often it goes round
        elements = sum(
            math.prod(shape) * math.prod(times or written for times in trips)
            for kind, shapes, trips in found
            for shape in shapes
            if kind == "all-gather" and contents(shape) == "layer"
        )
        assert 4 * elements == compiled["gathered"][name], name
