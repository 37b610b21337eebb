"""What a kind of scorer says of itself. All that kinds share (weights, gate, gradient) is in `mass.scorer`."""

import dataclasses
import math
from collections.abc import Callable

import jax.numpy as jnp

from mass_jax.mass.calls import Call
from mass_jax.mass.packing import PracticeArrays
from mass_jax.models.config import ModelConfig
from mass_jax.types import AnyArray, Array, Params, Sequences


def nothing_asked(practice: PracticeArrays) -> list[Call]:
    """Of features that are computed without the model."""
    return []


@dataclasses.dataclass(frozen=True)
class Scorer:
    """A kind of scorer: a frozen feature extractor on the un-adapted model, and a small head with parameters eta.

    Attributes:
      name: as ``config.scorer.kind`` has it.
      meaning: what it goes by, in a few words.
      feature_count: F, from the model and the number of checks that its task has.
      features: float [P, M, F] of every practice example, from the model, its parameters (no gradient flows to them)
        and the practice. Invalid examples may have any finite ones.
      init: eta of the head, from F, ``config.scorer.hidden`` and a PRNG key. Its last layer is zero, so that every
        example starts with the same logit. The name ``gate`` is taken.
      logits: float [P, M] from eta and the features; differentiable in eta.
      asked: what `features` asks of the model, for plans of time and memory.
    """

    name: str
    meaning: str
    feature_count: Callable[[ModelConfig, int], int]
    features: Callable[[ModelConfig, Params, PracticeArrays], Array]
    init: Callable[[int, int, Array], Params]
    logits: Callable[[Params, Array], Array]
    asked: Callable[[PracticeArrays], list[Call]] = nothing_asked


def valid_mean(values_PxMxF: Array, valid_PxM: AnyArray) -> Array:
    """Mean over a problem's valid examples, [P, F]; 0 where there is none."""
    valid = valid_PxM.astype(values_PxMxF.dtype)[..., None]
    return jnp.sum(values_PxMxF * valid, axis=1) / jnp.maximum(jnp.sum(valid, axis=1), 1)


def flat(sequences: Sequences) -> tuple[int, int]:
    """How many sequences there are, and tokens of each."""
    *counts, length = sequences.tokens.shape
    return math.prod(counts), length
