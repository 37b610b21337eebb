"""The phases of an outer step on eight devices equal those on one: losses, attributions, updates, greedy tokens."""

import json

import pytest

from tests import programs


@pytest.mark.parametrize(
    ("at_once", "scan", "shapes"),
    [
        (0, False, [(1, 1, 1), (2, 2, 2), (4, 1, 1)]),
        (1, True, [(1, 1, 1), (1, 4, 2), (2, 1, 1)]),
    ],
)
def test_any_mesh_gives_what_one_device_gives(at_once: int, scan: bool, shapes: list[tuple[int, int, int]]):
    said = programs.run("mass.program_mesh", json.dumps([at_once, scan, *shapes]), devices=8)
    assert said.strip() == "equal"
