"""What a session keeps to practise again: a bounded sample of all that it has learned from.

Each example that was ever offered is in the buffer with the same probability, however long ago that was (reservoir
sampling, Vitter 1985, algorithm R): the newest alone would forget the earlier families.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mass_jax.tasks.base import Practice


class Kept(NamedTuple):
    """An example.

    Attributes:
      problem: the text that it was written for; its own where it is a problem that was solved.
      prompt: of the example.
      solution: of the example.
      weight: how much it counted, the mean being 1.
    """

    problem: str
    prompt: str
    solution: str
    weight: float

    @property
    def practice(self) -> Practice:
        """As the domain has it."""
        return Practice(self.prompt, self.solution, True)


class Buffer(NamedTuple):
    """A sample of what was offered.

    Attributes:
      kept: examples.
      offered: how many there have been.
    """

    kept: tuple[Kept, ...] = ()
    offered: int = 0


def with_new(buffer: Buffer, new: Sequence[Kept], size: int) -> Buffer:
    """The buffer after further examples; at most ``size`` are kept. Equal offers give equal buffers."""
    kept, offered = list(buffer.kept), buffer.offered
    for example in new:
        offered += 1
        if len(kept) < size:
            kept.append(example)
        elif (place := int(np.random.default_rng(offered).integers(offered))) < size:
            kept[place] = example
    return Buffer(tuple(kept), offered)


def drawn(buffer: Buffer, count: int) -> list[Kept]:
    """At most ``count`` different examples, as many of each problem as can be; other ones after every offer."""
    rng = np.random.default_rng((buffer.offered, count))
    shuffled = [buffer.kept[i] for i in rng.permutation(len(buffer.kept))]
    of_each: dict[str, list[Kept]] = {}
    for example in shuffled:
        of_each.setdefault(example.problem, []).append(example)
    rounds = itertools.zip_longest(*of_each.values())
    return list(itertools.islice((each for row in rounds for each in row if each is not None), count))
