"""Every example counts the same: nothing is read, and nothing learned."""

import jax.numpy as jnp

from mass_jax.mass.packing import PracticeArrays
from mass_jax.mass.scorers.base import Scorer
from mass_jax.models.config import ModelConfig
from mass_jax.types import Array, Params


def _features(model: ModelConfig, params: Params, practice: PracticeArrays) -> Array:
    return jnp.zeros((*practice.valid_PxM.shape, 0))


UNIFORM = Scorer(
    name="uniform",
    meaning="every example counts the same",
    feature_count=lambda model, checks: 0,
    features=_features,
    init=lambda features, hidden, key: {},
    logits=lambda eta, features_PxMxF: jnp.zeros(features_PxMxF.shape[:-1]),
)
