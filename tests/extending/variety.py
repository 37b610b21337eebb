"""A scorer of one's own in one file: it counts an example's different words, and asks the model nothing."""

import jax.numpy as jnp

from mass_jax.mass.packing import PracticeArrays
from mass_jax.mass.scorers.base import Scorer, valid_mean
from mass_jax.mass.scorers.registry import register
from mass_jax.models.config import ModelConfig
from mass_jax.types import Array, Params


def _features(model: ModelConfig, params: Params, practice: PracticeArrays) -> Array:
    """Different tokens as a share of the sequence, and how far that is from the problem's mean: [P, M, 2]."""
    changes = jnp.diff(jnp.sort(jnp.asarray(practice.examples.tokens), axis=-1), axis=-1) != 0
    variety = jnp.mean(changes.astype(jnp.float32), axis=-1)[..., None]
    return jnp.concatenate([variety, variety - valid_mean(variety, practice.valid_PxM)[:, None]], axis=-1)


VARIETY = register(
    Scorer(
        name="variety",
        meaning="a linear head on the number of different tokens",
        feature_count=lambda model, checks: 2,
        features=_features,
        init=lambda features, hidden, key: {"out": jnp.zeros((features,))},
        logits=lambda eta, features_PxMxF: features_PxMxF @ eta["out"],
    )
)
