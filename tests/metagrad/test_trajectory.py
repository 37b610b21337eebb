"""The tree of snapshots, played through on paper."""

import math

import pytest

from mass_jax.metagrad.trajectory import snapshot_tree


@pytest.mark.parametrize("arity", [2, 3, 4])
@pytest.mark.parametrize("steps", [1, 2, 7, 8, 9, 33, 100])
def test_every_step_finds_its_place_and_the_tree_is_small(steps, arity):
    tree = snapshot_tree(steps, arity)
    slots = {}
    for step in range(steps):
        slots[int(tree.slot_K[step])] = step
    advanced = 0
    for step in reversed(range(steps)):
        start = int(tree.start_K[step])
        # What the table says is in the slot must be there, whatever was overwritten on the way back.
        assert slots[int(tree.slot_K[start])] == start <= step
        for passed in range(start + 1, step + 1):
            slots[int(tree.slot_K[passed])] = passed
        advanced += step - start
    levels = math.ceil(math.log(max(steps, 2), arity) - 1e-9)
    assert len(slots) <= tree.slots <= (arity - 1) * levels + 1
    assert advanced <= steps * levels
