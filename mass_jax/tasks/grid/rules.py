"""Families: hidden effects of three keys. Each moves one cell in a direction of its own; which one is hidden.

A problem shows where some runs of keys ended. These say what each key does: each is shown alone, or beside a key that
is shown alone.
"""

import dataclasses
import functools
import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from mass_jax.tasks.grid.simulator import CELLS, EFFECTS, MOVED, run

KEYS = "ABC"
PRESSED = (*((key,) for key in KEYS), *itertools.permutations(KEYS, 2))
"""Keys of a run that is shown."""
PLAN = (2, 3)
"""Keys of the shortest plan of a drawn problem, easiest first."""


class Shown(NamedTuple):
    """A run of keys, as it is shown."""

    start: str
    keys: tuple[str, ...]
    end: str


@dataclasses.dataclass(frozen=True)
class Rule:
    """The effects of `KEYS`, in their order."""

    effects: tuple[str, ...]

    @property
    def name(self) -> str:
        """Such as ``n e sw``."""
        return " ".join(self.effects)

    @functools.cached_property
    def by_key(self) -> dict[str, str]:
        """The effect of each key."""
        return dict(zip(KEYS, self.effects, strict=True))

    def end(self, start: str, keys: Sequence[str]) -> str | None:
        """Where a run ends that has a key or more, None where it is not allowed."""
        cells, reason = run(self.by_key, start, keys)
        return None if reason else cells[-1]

    def makes(self, runs: Iterable[Shown]) -> bool:
        """Whether all of them are runs of this rule."""
        return all(self.end(start, keys) == end for start, keys, end in runs)

    @functools.cached_property
    def runs(self) -> dict[tuple[str, ...], list[Shown]]:
        """All runs of each key alone, and of each two keys."""
        ends = {keys: [(start, self.end(start, keys)) for start in CELLS] for keys in PRESSED}
        return {keys: [Shown(start, keys, end) for start, end in found if end] for keys, found in ends.items()}

    @functools.cached_property
    def plans(self) -> dict[tuple[str, str], tuple[str, ...]]:
        """From each cell to each that can be reached: the shortest plan, of these the first in the keys' order."""
        found: dict[tuple[str, str], tuple[str, ...]] = {}
        for start in CELLS:
            reached: dict[str, tuple[str, ...]] = {start: ()}
            queue = [start]  # breadth first: it grows while it is read
            for cell in queue:
                for key, effect in self.by_key.items():
                    there = MOVED[cell, effect]
                    if there is not None and there not in reached:
                        reached[there] = (*reached[cell], key)
                        queue.append(there)
            found |= {(start, goal): keys for goal, keys in reached.items()}
        return found

    @functools.cached_property
    def queries(self) -> dict[int, list[tuple[str, str]]]:
        """From which cell to which, by the keys that the shortest plan takes, for each number in `PLAN`."""
        return {count: [ends for ends, keys in self.plans.items() if len(keys) == count] for count in PLAN}


def agreeing(runs: Sequence[Shown]) -> tuple[Rule, ...]:
    """All rules that make these runs."""
    alone = {key: [shown for shown in runs if shown.keys == (key,)] for key in KEYS}
    options = [
        [effect for effect in EFFECTS if all(MOVED[start, effect] == end for start, _, end in alone[key])]
        for key in KEYS
    ]
    rules = (Rule(effects) for effects in itertools.product(*options) if len({*effects}) == len(KEYS))
    return tuple(rule for rule in rules if rule.makes(runs))


@functools.cache
def make_rules(count: int, seed: int) -> tuple[Rule, ...]:
    """``count`` different rules in random order.

    Raises:
      ValueError: if there are fewer than ``count``.
    """
    rules = [*itertools.permutations(EFFECTS, len(KEYS))]
    if not 1 <= count <= len(rules):
        raise ValueError(f"task.rules = {count}: there are 1 to {len(rules)} different effects of {len(KEYS)} keys.")
    return tuple(Rule(rules[i]) for i in np.random.default_rng(seed).permutation(len(rules))[:count])


def vocabulary() -> tuple[str, ...]:
    """A word for every cell, every effect, every key, one or two keys that are pressed in a cell, and ``? = : ;``."""
    pressed = (f"{start}{''.join(keys)}>" for start in CELLS for keys in PRESSED)
    return ("?", "=", ":", ";", *CELLS, *EFFECTS, *(f"{key}>" for key in KEYS), *pressed)
