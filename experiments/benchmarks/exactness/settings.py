"""What the benchmark of exactness tries: inner updates, and the rows of each."""

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from experiments.benchmarks.exactness.tables import CONTROLS
from mass_jax import metagrad
from mass_jax.mass.method import InnerConfig
from mass_jax.metagrad import Estimator, FirstOrder, InnerRun
from mass_jax.study.schema import Config
from mass_jax.types import Batch, InnerProblem, Meta, MetaGradient, Params, PyTree

EXACT, GATED = "adjoint", "first_order_and_gate"
STEPS, STABLE, BETWEEN, EDGE, BEYOND = 8, 0.005, 0.02, 0.04, 0.08
"""Adam's steps and rates: the edge is the highest at which the oracle's practice still helps, on validation families.
Between and beyond attributions are compared, and nothing is trained."""


@dataclasses.dataclass(frozen=True)
class GatedFirstOrder(FirstOrder):
    """First order, and the gate in the same way: with identities for Jacobians its derivative is what the update did.

    The gate multiplies every step, so that what is left of dL/dgate is the cotangent times (phi_K - phi_0) / gate.
    """

    def adapt(self, problem: InnerProblem, init: Params, meta: Meta, batches: Batch) -> InnerRun:
        """See ``CotangentEstimator.adapt``."""
        run = super().adapt(problem, init, meta, batches)
        return run._replace(residuals=(run.residuals, jax.tree.map(jnp.subtract, run.params, init)))

    def pullback(
        self, problem: InnerProblem, residuals: PyTree, meta: Meta, batches: Batch, cotangent: Params
    ) -> MetaGradient:
        """See ``CotangentEstimator.pullback``."""
        found = super().pullback(problem, residuals[0], meta, batches, cotangent)
        return found._replace(meta=found.meta | {"gate": optax.tree.vdot(cotangent, residuals[1]) / meta["gate"]})


class Row(NamedTuple):
    """A way to train the scorer.

    Attributes:
      name: of the estimator, `GATED`'s included; or `CONTROLS`, what is answered without a scorer.
      options: its options.
      gate: whether the gate is learned.
      trained: whether a scorer is trained by it, or its attributions are only compared.
    """

    name: str
    options: Mapping[str, Any] = {}
    gate: bool = True
    trained: bool = True

    @property
    def estimator(self) -> Estimator:
        """With its options."""
        return (GatedFirstOrder if self.name == GATED else metagrad.ESTIMATORS[self.name])(**self.options)

    @property
    def label(self) -> str:
        """As tables show it."""
        words = [f"{name}={value}" for name, value in self.options.items()] + ["gate held at 1"] * (not self.gate)
        return self.name + (f" ({', '.join(words)})" if words else "")


class Setting(NamedTuple):
    """An inner update, and what is tried with it.

    Attributes:
      inner: the update.
      steps: of the exact row's training.
      rows: those without a scorer, and then the exact one, first.
    """

    inner: InnerConfig
    steps: int
    rows: list[Row]

    @property
    def label(self) -> str:
        """As tables show it."""
        return f"{self.inner.optimizer}, K = {self.inner.steps}, rate {self.inner.learning_rate}"


def settings(config: Config) -> list[Setting]:
    """All of them."""
    adam = partial(dataclasses.replace, config.inner, steps=STEPS, schedule="same", optimizer="adam")
    few = [*rows(STEPS)[:5], Row("truncated", {"window": 2})]
    none = [Row(CONTROLS), Row(EXACT, trained=False), Row("first_order", trained=False)]
    return [
        Setting(config.inner, config.train.steps, rows(config.inner.steps)),
        Setting(adam(learning_rate=STABLE), 16, rows(STEPS)),
        Setting(adam(learning_rate=BETWEEN), 0, none),
        Setting(adam(learning_rate=EDGE), 16, few),
        Setting(adam(learning_rate=BEYOND), 0, none),
    ]


def rows(steps: int) -> list[Row]:
    """Every row at K = ``steps``; a window that is the whole run is none of its own."""
    windows = [Row("truncated", {"window": window}, trained=window == 2) for window in (1, 2, 4) if window < steps]
    return [
        Row(CONTROLS),
        Row(EXACT),
        Row(EXACT, gate=False),
        Row("first_order"),
        Row(GATED),
        *windows,
        Row("finite_difference", {"kind": "sama"}),
        Row("finite_difference", {"kind": "walk"}, trained=False),
        Row("implicit", {"solver": "nystrom", "iterations": 2, "damping": 0.01}),
        Row("evolution", {"samples": 4, "sigma": 0.3}),
    ]
