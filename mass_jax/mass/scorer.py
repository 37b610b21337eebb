"""The scorer (docs/method.md, step 2): how much each practice example counts, and whether to update at all.

Every kind (`mass.scorers`, a file each) is a frozen feature extractor, run on the un-adapted model without gradient to
it, and a small head with the scorer's parameters eta. The head's last layer starts at zero, so that training starts
from uniform weights of 1. What all kinds share is here: weights, gate and the scorer's gradient.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from mass_jax.mass.actor import Actor
from mass_jax.mass.method import Method, ScorerConfig
from mass_jax.mass.packing import PracticeArrays
from mass_jax.mass.scorers.base import valid_mean
from mass_jax.mass.scorers.registry import SCORERS
from mass_jax.types import AnyArray, Array, Params, PyTree


class Scores(NamedTuple):
    """What a scorer says of M practice examples of P problems.

    Attributes:
      logits_PxM: float; higher counts more.
      weights_PxM: float, at least 0; 0 for invalid examples.
      gate_P: float in [0, 2], the factor on the update; 1 without a gate.
    """

    logits_PxM: AnyArray
    weights_PxM: AnyArray
    gate_P: AnyArray


def feature_count(method: Method, checks: int) -> int:
    """F, the number of features that the kind of scorer reads."""
    return SCORERS[method.scorer.kind].feature_count(method.model, checks)


def init(config: ScorerConfig, features: int, key: Array) -> Params:
    """eta: the head's, and the gate's, which starts at zero; a scorer without features has no gate."""
    gate = {"gate": jnp.zeros((2 * features + 1,))} if features else {}
    return SCORERS[config.kind].init(features, config.hidden, key) | gate


def features(actor: Actor, practice: PracticeArrays) -> Array:
    """Features float [P, M, F] of every practice example; no gradient flows to the actor.

    Args:
      actor: the un-adapted model; its scorer's kind decides what is computed.
      practice: of P problems.
    """
    method, params = actor.method, jax.lax.stop_gradient(actor.params)
    return SCORERS[method.scorer.kind].features(method.model, params, practice)


def apply(config: ScorerConfig, eta: Params, features_PxMxF: Array, valid_PxM: AnyArray) -> Scores:
    """Weights and gates from features; differentiable in ``eta``."""
    chex.assert_rank(features_PxMxF, 3)
    chex.assert_equal_shape_prefix((features_PxMxF, valid_PxM), 2)
    valid = valid_PxM.astype(jnp.float32)
    logits = SCORERS[config.kind].logits(eta, features_PxMxF)
    chex.assert_equal_shape((logits, valid))

    share = jax.nn.softmax(jnp.where(valid_PxM, logits, -1e30), axis=-1) * valid
    if config.normalization == "softmax":
        weights = share * jnp.sum(valid, axis=-1, keepdims=True)
    elif config.normalization == "sigmoid":
        weights = 2 * jax.nn.sigmoid(logits) * valid
    else:
        weights = jax.nn.relu(1 + logits) * valid

    gate = jnp.ones(valid.shape[0])
    if config.gate and features_PxMxF.shape[-1]:
        # What the set looks like as a whole, and what the examples look like that the weights would pick.
        picked = jnp.einsum("pm,pmf->pf", share, features_PxMxF)
        pooled = jnp.concatenate([valid_mean(features_PxMxF, valid_PxM), picked], axis=-1)
        gate = 2 * jax.nn.sigmoid(pooled @ eta["gate"][:-1] + eta["gate"][-1])
    return Scores(logits, weights, gate)


def pullback(
    config: ScorerConfig, eta: Params, features_PxMxF: Array, valid_PxM: AnyArray, tau_PxM: Array, dgate_P: Array
) -> Params:
    """The scorer's gradient d L_outer / d eta = sum_i tau_i ds_i / d eta (step 5), summed over problems.

    Args:
      config: the scorer.
      eta: its parameters.
      features_PxMxF: as given to `apply`.
      valid_PxM: as given to `apply`.
      tau_PxM: d L_outer / d weights.
      dgate_P: d L_outer / d gate.
    """

    def outputs(eta: PyTree) -> tuple[AnyArray, AnyArray]:
        scores = apply(config, eta, features_PxMxF, valid_PxM)
        return scores.weights_PxM, scores.gate_P

    return jax.vjp(outputs, eta)[1]((tau_PxM, dgate_P))[0]
