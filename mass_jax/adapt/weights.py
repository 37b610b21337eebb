"""How practice examples are weighed at test time: one declaration a way, each with its function.

A module of your own adds one by `register`, before an arm names it.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mass_jax.adapt import checked
from mass_jax.adapt.sources import Need
from mass_jax.errors import blamed, outside
from mass_jax.fields import enter
from mass_jax.mass import attribution
from mass_jax.mass.actor import Actor
from mass_jax.mass.practice import PracticeSets, each_example
from mass_jax.mass.scorer import Scores
from mass_jax.parallel import hosts
from mass_jax.tasks.base import KnowsFamily, Problem
from mass_jax.types import AnyArray, Array, Params


class Unweighed(NamedTuple):
    """Practice that is to be weighed.

    Attributes:
      actor: the un-adapted model.
      eta: its scorer.
      problems: P problems.
      practice: theirs, M examples each.
      counts_PxM: bool, the examples that may count; all others get weight 0.
      key: PRNG key.
    """

    actor: Actor
    eta: Params
    problems: Sequence[Problem]
    practice: PracticeSets
    counts_PxM: np.ndarray
    key: Array


@dataclasses.dataclass(frozen=True)
class Weights:
    """A way to weigh practice.

    Attributes:
      name: by which an arm asks for it.
      weigh: computes the weights, at least 0.
      needs: see `Need`.
    """

    name: str
    weigh: Callable[[Unweighed], Scores]
    needs: frozenset[Need] = frozenset()


def scorer(given: Unweighed) -> Scores:
    """The scorer's."""
    read = given.practice.arrays._replace(valid_PxM=given.counts_PxM)
    return hosts.local(attribution.score(given.actor, given.eta, hosts.share(read)))


def uniform(given: Unweighed) -> Scores:
    """Every example counts 1."""
    weights = given.counts_PxM.astype(np.float32)
    return Scores(np.zeros_like(weights), weights, np.ones(len(weights), np.float32))


def shuffled(given: Unweighed) -> Scores:
    """The scorer's, permuted among each problem's examples that count."""
    scores = scorer(given)
    return scores._replace(weights_PxM=_shuffle_valid(given.key, scores.weights_PxM, given.counts_PxM))


def correct(given: Unweighed) -> Scores:
    """Every right example counts 1."""
    assert isinstance(given.actor.task, KnowsFamily)  # see `Recipe.possible`
    right_PxM = each_example(given.actor.task.is_correct, given.problems, given.practice.texts)
    return uniform(given._replace(counts_PxM=given.counts_PxM & right_PxM))


def by_check(given: Unweighed) -> Scores:
    """The example with the best outcome of the task's first check counts alone."""
    counts_PxM = given.counts_PxM
    outcome_PxM = np.where(counts_PxM, checked.first(given.actor, given.practice), -np.inf)
    best_PxM = np.arange(counts_PxM.shape[1]) == outcome_PxM.argmax(axis=-1)[:, None]
    return uniform(given._replace(counts_PxM=counts_PxM & best_PxM))


WEIGHTS: dict[str, Weights] = {
    weights.name: weights
    for weights in (
        Weights("scorer", scorer, frozenset({"scorer"})),
        Weights("uniform", uniform),
        Weights("shuffled", shuffled, frozenset({"scorer"})),
        Weights("check", by_check),
        Weights("correct", correct, frozenset({"family"})),
    )
}


def weighed(name: str, given: Unweighed) -> Scores:
    """The weights of practice, by the way of this name.

    Raises:
      InputError: the way is a plugin's, and fails or gives no such weights; names the plugin.
    """
    weigh = WEIGHTS[name].weigh
    with blamed(f"weights = {name!r}", weigh.__module__):
        scores = weigh(given)
        if outside(weigh.__module__):
            _check(scores, given.counts_PxM.shape)
    return scores


def register(weights: Weights) -> Weights:
    """Adds a way to weigh practice, so that an arm can name it; returns it.

    Raises:
      InputError: the name is taken, or a field has another type than it says.
    """
    return enter(WEIGHTS, Weights, weights, "a way to weigh practice")


def _check(scores: object, shape: tuple[int, ...]) -> None:
    """Looks whether these are weights of examples [P, M].

    Raises:
      ValueError: they are not.
    """
    if not isinstance(scores, Scores):
        raise ValueError(
            f"it gives {scores!r:.80}, no Scores: return what weights.uniform does, with weights_PxM replaced"
        )
    for field, wanted in zip(Scores._fields, (shape, shape, shape[:1]), strict=True):
        found = np.asarray(getattr(scores, field))
        if found.shape != wanted:
            raise ValueError(f"its {field} has the shape {found.shape}: give {wanted}, a number for each")
        if not np.all(np.isfinite(found)) or (field != "logits_PxM" and np.any(found < 0)):
            raise ValueError(f"its {field} has {found.min()} to {found.max()}: give finite numbers from 0 on")


def _shuffle_valid(key: Array, weights_PxM: AnyArray, valid_PxM: AnyArray) -> Array:
    """Permute each row's weights among its valid entries: the same weights, on the wrong examples."""
    count = hosts.whole_count(len(weights_PxM))
    noise = hosts.mine(np.asarray(jax.random.uniform(key, (count, weights_PxM.shape[1]))))
    # Both orders list the valid entries first, one by index and one at random; the k-th of one takes the k-th's weight.
    ordered = jnp.argsort(jnp.where(valid_PxM, jnp.arange(weights_PxM.shape[1]), weights_PxM.shape[1]), axis=-1)
    drawn = jnp.argsort(jnp.where(valid_PxM, noise, 2.0), axis=-1)
    taken = jnp.take_along_axis(weights_PxM, drawn, axis=-1)
    shuffled = jnp.zeros_like(weights_PxM)
    return shuffled.at[jnp.arange(weights_PxM.shape[0])[:, None], ordered].set(taken) * valid_PxM
