"""An arm of one's own and a source of practice for it, as a project beside the package would have them."""

import numpy as np

from mass_jax.adapt import sources
from mass_jax.adapt.run import Recipe
from mass_jax.adapt.sources import Request, Source
from mass_jax.mass.practice import PracticeSets
from mass_jax.study import arms
from mass_jax.study.arms import Arm


def shortest(request: Request) -> PracticeSets:
    """The training problems with the shortest solutions, for every problem the same."""
    lengths = [len(problem.solution) for problem in request.pool.problems]
    return sources.from_pool(request, [np.argsort(lengths, kind="stable")] * len(request.problems))


sources.register(Source("shortest", shortest, frozenset({"pool"})))
arms.register(
    Arm(
        name="ttt_shortest",
        model="base",
        recipe=Recipe("shortest"),
        label="TTT, shortest",
        meaning="update on the shortest training problems",
        control=True,
        against=("base", "base_ttt"),
    ),
    __name__,
)
