"""Arms of one's own, a source of practice and a way to weigh it, as a project beside the package would have them."""

import numpy as np

from mass_jax.adapt import sources, weights
from mass_jax.adapt.run import Recipe
from mass_jax.adapt.sources import Request, Source
from mass_jax.adapt.weights import Unweighed, Weights
from mass_jax.mass.practice import PracticeSets
from mass_jax.mass.scorer import Scores
from mass_jax.study import arms
from mass_jax.study.arms import Arm


def shortest(request: Request) -> PracticeSets:
    """The training problems with the shortest solutions, for every problem the same."""
    lengths = [len(problem.solution) for problem in request.pool.problems]
    return sources.from_pool(request, [np.argsort(lengths, kind="stable")] * len(request.problems))


def shared(given: Unweighed) -> Scores:
    """An example counts by how many of the problem's different words it has."""
    rows = zip(given.problems, given.practice.texts, strict=True)
    words = [[len({*p.prompt.split()} & {*e.prompt.split()}) for e in row] for p, row in rows]
    return weights.uniform(given)._replace(weights_PxM=np.where(given.counts_PxM, words, 0).astype(np.float32))


sources.register(Source("shortest", shortest, frozenset({"pool"})))
weights.register(Weights("shared", shared))
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
arms.register(
    Arm(
        name="ttt_shared",
        model="base",
        recipe=Recipe("shortest", "shared"),
        meaning="the same, weighed by the words that it shares with the problem",
        control=True,
        against=("ttt_shortest",),
    ),
    __name__,
)
