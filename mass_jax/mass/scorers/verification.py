"""An MLP on the outcomes of the task's checks: questions whose answers bear on whether the practice is right.

Does the practice predict the facts that the problem states, and do they predict it?
"""

import jax
import jax.numpy as jnp

from mass_jax.mass.calls import FORWARD, Call
from mass_jax.mass.packing import PracticeArrays, mean_log_probs
from mass_jax.mass.scorers.base import Scorer, flat, valid_mean
from mass_jax.models.config import ModelConfig
from mass_jax.parallel import partition
from mass_jax.types import Array, Params

CHECK_FLOOR = -10.0
"""Mean log-probabilities below this say nothing more."""


def _features(model: ModelConfig, params: Params, practice: PracticeArrays) -> Array:
    shape = practice.checks.tokens.shape[:3]
    # [P, M, C, T] to [P · M · C, T] for the model, and its answers back to [P, M, C].
    checks = partition.spread(jax.tree.map(lambda leaf: leaf.reshape(-1, leaf.shape[-1]), practice.checks))
    outcome = mean_log_probs(model, params, None, checks).reshape(shape)
    # From CHECK_FLOOR .. 0 to -1 .. 0; then beside the task's mean [P, 1, C] to [P, M, 2 C] features.
    outcome = jnp.maximum(outcome, CHECK_FLOOR) / -CHECK_FLOOR
    mean = valid_mean(outcome, practice.valid_PxM)[:, None]
    return jnp.concatenate([outcome, outcome - mean], axis=-1)


def _init(features: int, hidden: int, key: Array) -> Params:
    return {
        "hidden": jax.random.normal(key, (features, hidden)) * features**-0.5,
        "bias": jnp.zeros((hidden,)),
        "out": jnp.zeros((hidden,)),
    }


def _asked(practice: PracticeArrays) -> list[Call]:
    count, length = flat(practice.checks)
    return [Call(FORWARD, count, length - 1)]


VERIFICATION = Scorer(
    name="verification",
    meaning="an MLP on the outcomes of the task's checks",
    feature_count=lambda model, checks: 2 * checks,
    features=_features,
    init=_init,
    logits=lambda eta, features_PxMxF: jax.nn.tanh(features_PxMxF @ eta["hidden"] + eta["bias"]) @ eta["out"],
    asked=_asked,
)
