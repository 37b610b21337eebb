"""A linear head on the hidden state of the last written token, as the paper has it."""

import jax.numpy as jnp

from mass_jax.mass.calls import FORWARD, Call
from mass_jax.mass.packing import PracticeArrays
from mass_jax.mass.scorers.base import Scorer, flat
from mass_jax.models import decoder
from mass_jax.models.config import ModelConfig
from mass_jax.parallel import partition
from mass_jax.types import Array, Params


def _features(model: ModelConfig, params: Params, practice: PracticeArrays) -> Array:
    problems, examples = practice.valid_PxM.shape
    tokens = partition.spread(jnp.asarray(practice.written.tokens).reshape(problems * examples, -1))
    hidden, _ = decoder.forward(model, params, None, tokens)
    # The last written token: the state that has read the problem, the practice and its solution.
    target = practice.written.target.reshape(tokens.shape)
    # argmax of booleans is the first True; of the reversed row it is the distance of the last one from the end.
    last = tokens.shape[-1] - 1 - jnp.argmax(target[:, ::-1], axis=-1)
    return jnp.take_along_axis(hidden, last[:, None, None], axis=1).reshape(problems, examples, -1)


LINEAR = Scorer(
    name="linear",
    meaning="a linear head on the hidden state of the last written token",
    feature_count=lambda model, checks: model.width,
    features=_features,
    init=lambda features, hidden, key: {"out": jnp.zeros((features,))},
    logits=lambda eta, features_PxMxF: features_PxMxF @ eta["out"],
    asked=lambda practice: [Call(FORWARD, *flat(practice.written), 0)],
)
