"""A grid of cells, keys that move through it, and what becomes of a plan when it is run."""

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

COLUMNS, ROWS = "abcde", "12345"
CELLS = tuple(map("".join, itertools.product(COLUMNS, ROWS)))
"""Such as ``c4``: column, then row, which grows to the north."""
EFFECTS = {
    "n": (0, 1),
    "ne": (1, 1),
    "e": (1, 0),
    "se": (1, -1),
    "s": (0, -1),
    "sw": (-1, -1),
    "w": (-1, 0),
    "nw": (-1, 1),
}
"""Columns and rows that a move goes on."""


class Run(NamedTuple):
    """What became of a plan.

    Attributes:
      cells: where it was after each key, up to the first that is not allowed.
      reason: why it ended before its last key; empty where it did not.
    """

    cells: tuple[str, ...]
    reason: str


def _moved(cell: str, effect: str) -> str | None:
    """The cell next to one, None where there is none."""
    across, up = EFFECTS[effect]
    column, row = COLUMNS.index(cell[0]) + across, ROWS.index(cell[1]) + up
    return COLUMNS[column] + ROWS[row] if 0 <= column < len(COLUMNS) and 0 <= row < len(ROWS) else None


MOVED = {(cell, effect): _moved(cell, effect) for cell in CELLS for effect in EFFECTS}
"""Where a move ends, None where it would leave the grid."""


def run(effects: Mapping[str, str], start: str, keys: Sequence[str]) -> Run:
    """Presses keys from a cell on.

    Args:
      effects: of each key, by name; a key that is not there is not allowed, nor is a move that leaves the grid.
      start: of `CELLS`.
      keys: in the order in which they are pressed, each any text.
    """
    cells = [start]
    for i, key in enumerate(keys, 1):
        if key not in effects:
            return Run((*cells[1:],), f"step {i} is not allowed: there is no key {key!r}")
        there = MOVED[cells[-1], effects[key]]
        if there is None:
            return Run(
                (*cells[1:],), f"step {i} is not allowed: {key} goes {effects[key]}, out of the grid at {cells[-1]}"
            )
        cells.append(there)
    return Run((*cells[1:],), "")
