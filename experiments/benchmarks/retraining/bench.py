"""What attributions say a change of the practice set will do, and what the inner loop does once it is changed."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks.exactness.bench import Practised, attributions, practise, score
from experiments.benchmarks.exactness.settings import EXACT, GATED, STABLE, Row, Setting, rows
from experiments.benchmarks.exactness.tables import CONTROLS
from experiments.benchmarks.retraining.agreement import agreement
from experiments.benchmarks.retraining.tables import REMOVED, TENTH
from mass_jax.adapt.learner import Learner
from mass_jax.mass import attribution, scorer
from mass_jax.mass.actor import Actor
from mass_jax.mass.method import InnerConfig
from mass_jax.mass.rewards import permuted
from mass_jax.mass.scorer import Scores
from mass_jax.parallel import hosts
from mass_jax.tasks.base import Problem
from mass_jax.types import Array, PyTree

LENGTHS, RATES, CENTRE = (1, 2, 4, 8), (0.25, 4.0), 2
"""K at the inner rate, and factors on the rate at the paper's K."""
CHANGES = {TENTH: (0.1, -0.1), REMOVED: (-1.0,)}
"""By which share of itself an example's weight is changed, each time that the inner loop runs again."""
PERMUTED = "adjoint, permuted within sets"
"""The control: what agrees by the weights and by problems whose attributions are large, and not by the examples."""


class Start(NamedTuple):
    """A model's practice, and where its attributions are taken.

    Attributes:
      actor: the un-adapted model.
      adapter: the fresh one that every inner run starts from.
      scores: the scorer's weights and gates; equal weights and open gates where there is none.
      practised: the practice and the references.
    """

    actor: Actor
    adapter: PyTree
    scores: Scores
    practised: Practised

    @property
    def counts_PxM(self) -> np.ndarray:
        """Bool, the examples whose weight can be changed."""
        return np.asarray(self.practised.valid_PxM) & (np.asarray(self.scores.weights_PxM) > 0)


def start(learner: Learner, problems: Sequence[Problem]) -> Start:
    """Practice that the model writes for problems, weighed by its scorer."""
    actor, keys = learner.actor, jax.random.split(learner.key)
    _, practised = practise(actor, problems, keys[0])
    features = practised.features_PxMxF.shape[-1]
    eta = learner.eta or scorer.init(actor.method.scorer, features, keys[1])  # which starts with equal weights
    return Start(actor, attribution.fresh_adapter(actor, keys[1]), score(actor, eta, practised), practised)


def settings(inner: InnerConfig) -> list[Setting]:
    """The config's inner optimiser and Adam, each at every K, and at other rates; what takes least time first."""
    inner = dataclasses.replace(inner, schedule="same")
    tried: list[InnerConfig] = []
    for own in (inner, dataclasses.replace(inner, optimizer="adam", learning_rate=STABLE)):
        tried += [dataclasses.replace(own, steps=steps) for steps in LENGTHS]
        tried += [dataclasses.replace(own, steps=CENTRE, learning_rate=own.learning_rate * each) for each in RATES]
    return [Setting(each, 0, estimators(each.steps)) for each in sorted(tried, key=lambda each: each.steps)]


def estimators(steps: int) -> list[Row]:
    """Those of the benchmark of exactness that differ in their attributions of weights; the exact one first."""
    ours = [row for row in rows(steps) if row.gate and row.name not in (CONTROLS, GATED)]
    persistent = Row("persistent_evolution", {"samples": 4, "sigma": 0.3, "window": steps // 2})
    return [*ours, *([persistent] if steps > 1 else []), Row(PERMUTED)]


@jax.jit
def losses(actor: Actor, adapter: PyTree, scores: Scores, practised: Practised, factors_M: Array) -> Array:
    """The outer loss after an inner run under weights that are multiplied by factors, [P].

    The weights are those that the inner loss reads: behind the scorer's softmax, so that all others stay what they are,
    and so does the gate. That is what an attribution is the derivative by.
    """
    changed = scores._replace(weights_PxM=scores.weights_PxM * factors_M)
    adapters = attribution.adapt(actor, adapter, changed, practised.examples)
    return attribution.outer_losses(actor, adapters, practised.asked)


def really(at: Start, shares: Sequence[float]) -> np.ndarray:
    """How the outer loss changes where one weight is changed by each share of itself, float64 [S, P, M].

    In double precision, so that rounding is not taken for a failure of the attribution: some weights are near 0.
    """
    examples = at.scores.weights_PxM.shape[1]
    with jax.enable_x64(True):
        there = doubled(tuple(at))

        def after(factors_M: np.ndarray) -> np.ndarray:
            return hosts.whole(np.asarray(losses(*there, jnp.asarray(factors_M))))

        before_P = after(np.ones(examples))
        changes_SxMxP = [[after(1 + share * one) - before_P for one in np.eye(examples)] for share in shares]
    return np.array(changes_SxMxP).swapaxes(1, 2)


def doubled(tree: PyTree) -> PyTree:
    """Its floating leaves in double precision, where that is enabled."""

    def one(leaf: Any) -> Any:
        return jnp.asarray(leaf, jnp.float64) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    return jax.tree.map(one, tree)


class Bench:
    """The rows of one setting."""

    def __init__(self, at: Start, setting: Setting, key: Array) -> None:
        """Changes the practice set, and runs the inner loop again.

        Args:
          at: where attributions are taken, by an actor with any inner update.
          setting: whose inner update is used.
          key: of what estimators draw.
        """
        method = dataclasses.replace(at.actor.method, inner=setting.inner)
        self.at, self.key = at._replace(actor=at.actor.replace(method=method)), key
        self.done = {kind: really(self.at, shares) for kind, shares in CHANGES.items()}

    def measured(self, row: Row) -> dict[str, Any]:
        """What is kept of a row beside its name."""
        counts_PxM, told_PxM = self.at.counts_PxM, self.at.scores.weights_PxM * self.attributions(row)
        found = {}
        for kind, shares in CHANGES.items():
            # A smaller weight is told as a larger one, so that both directions are about what more of an example does.
            told = np.stack([abs(share) * told_PxM for share in shares])
            done = np.stack([np.sign(share) * each for share, each in zip(shares, self.done[kind], strict=True)])
            found[kind] = agreement(told, done, counts_PxM)
        return {"examples": int(counts_PxM.sum()), "changes": found}

    def attributions(self, row: Row) -> np.ndarray:
        """By weights [P, M], in single precision as in training."""
        at = self.at
        if row.name == PERMUTED:
            tau_PxM = self.attributions(Row(EXACT))
            return permuted(tau_PxM, at.counts_PxM, [np.random.default_rng(place) for place in range(len(tau_PxM))])
        found = attributions(at.actor, row.estimator, at.adapter, at.scores, at.practised, self.key)
        return np.asarray(found["weights"])
