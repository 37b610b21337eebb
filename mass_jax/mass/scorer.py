"""The scorer (docs/method.md, step 2): how much each practice example counts, and whether to update at all.

Every kind is a frozen feature extractor, run on the un-adapted model without gradient to it, and a small head with the
scorer's parameters eta. The head's last layer starts at zero, so that training starts from uniform weights of 1.

`linear` is the paper-like head on a hidden state. `verification` asks the model questions whose answers bear on whether
the practice is right: does it predict the facts that the problem states, and do they predict it?
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from mass_jax.mass.actor import Actor
from mass_jax.mass.method import Method, ScorerConfig
from mass_jax.mass.packing import mean_log_probs
from mass_jax.mass.practice import PracticeArrays
from mass_jax.models import decoder
from mass_jax.parallel import partition
from mass_jax.types import AnyArray, Array, Params, PyTree

CHECK_FLOOR = -10.0
"""Mean log-probabilities below this say nothing more."""


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
    return {"uniform": 0, "linear": method.model.width, "verification": 2 * checks}[method.scorer.kind]


def init(config: ScorerConfig, features: int, key: Array) -> Params:
    """eta: empty for ``uniform``; the output layers are zero."""
    if config.kind == "uniform":
        return {}
    eta = {"out": jnp.zeros((features,)), "gate": jnp.zeros((2 * features + 1,))}
    if config.kind == "verification":
        eta["hidden"] = jax.random.normal(key, (features, config.hidden)) * features**-0.5
        eta["bias"] = jnp.zeros((config.hidden,))
        eta["out"] = jnp.zeros((config.hidden,))
    return eta


def features(actor: Actor, practice: PracticeArrays) -> Array:
    """Features float [P, M, F] of every practice example; no gradient flows to the actor.

    Args:
      actor: the un-adapted model; its scorer's kind decides what is computed.
      practice: of P problems; invalid examples do not enter the task's mean.
    """
    problems, examples = practice.valid_PxM.shape
    kind, model = actor.method.scorer.kind, actor.method.model
    if kind == "uniform":
        return jnp.zeros((problems, examples, 0))
    params = jax.lax.stop_gradient(actor.params)
    if kind == "linear":
        tokens = partition.spread(jnp.asarray(practice.written.tokens).reshape(problems * examples, -1))
        hidden, _ = decoder.forward(model, params, None, tokens)
        # The last written token: the state that has read the problem, the practice and its solution.
        target = practice.written.target.reshape(tokens.shape)
        # argmax of booleans is the first True; of the reversed row it is the distance of the last one from the end.
        last = tokens.shape[-1] - 1 - jnp.argmax(target[:, ::-1], axis=-1)
        return jnp.take_along_axis(hidden, last[:, None, None], axis=1).reshape(problems, examples, -1)
    count = practice.checks.tokens.shape[2]
    # [P, M, C, T] to [P · M · C, T] for the model, and its answers back to [P, M, C].
    flat = partition.spread(jax.tree.map(lambda leaf: leaf.reshape(-1, leaf.shape[-1]), practice.checks))
    outcome = mean_log_probs(model, params, None, flat).reshape(problems, examples, count)
    # From CHECK_FLOOR .. 0 to -1 .. 0; then beside the task's mean [P, 1, C] to [P, M, 2 C] features.
    outcome = jnp.maximum(outcome, CHECK_FLOOR) / -CHECK_FLOOR
    mean = _valid_mean(outcome, practice.valid_PxM)[:, None]
    return jnp.concatenate([outcome, outcome - mean], axis=-1)


def apply(config: ScorerConfig, eta: Params, features_PxMxF: Array, valid_PxM: AnyArray) -> Scores:
    """Weights and gates from features; differentiable in ``eta``."""
    chex.assert_rank(features_PxMxF, 3)
    chex.assert_equal_shape_prefix((features_PxMxF, valid_PxM), 2)
    valid = valid_PxM.astype(jnp.float32)
    if config.kind == "uniform":
        logits = jnp.zeros(valid.shape)
    elif config.kind == "linear":
        logits = features_PxMxF @ eta["out"]
    else:
        logits = jax.nn.tanh(features_PxMxF @ eta["hidden"] + eta["bias"]) @ eta["out"]

    share = jax.nn.softmax(jnp.where(valid_PxM, logits, -1e30), axis=-1) * valid
    if config.normalization == "softmax":
        weights = share * jnp.sum(valid, axis=-1, keepdims=True)
    elif config.normalization == "sigmoid":
        weights = 2 * jax.nn.sigmoid(logits) * valid
    else:
        weights = jax.nn.relu(1 + logits) * valid

    gate = jnp.ones(valid.shape[0])
    if config.gate and config.kind != "uniform":
        # What the set looks like as a whole, and what the examples look like that the weights would pick.
        picked = jnp.einsum("pm,pmf->pf", share, features_PxMxF)
        pooled = jnp.concatenate([_valid_mean(features_PxMxF, valid_PxM), picked], axis=-1)
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


def _valid_mean(values_PxMxF: Array, valid_PxM: AnyArray) -> Array:
    valid = valid_PxM.astype(values_PxMxF.dtype)[..., None]
    return jnp.sum(values_PxMxF * valid, axis=1) / jnp.maximum(jnp.sum(valid, axis=1), 1)
