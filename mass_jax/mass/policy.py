"""Policy gradients (docs/method.md, steps 4 and 6): group-normalised rewards and the clipped surrogate.

GRPO: Shao et al. 2024, arXiv 2402.03300, eq. 3; the clipping is PPO's, Schulman et al. 2017, arXiv 1707.06347, eq. 7.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from mass_jax.mass.actor import Actor
from mass_jax.mass.packing import completion_log_probs, target_log_probs
from mass_jax.models import decoder
from mass_jax.models.config import ModelConfig
from mass_jax.models.cross_entropy import OWN, Draw, map_positions, wide
from mass_jax.models.sampling import SamplingSpec
from mass_jax.parallel import partition
from mass_jax.types import AnyArray, Array, Params, Sequences


def group_normalize(rewards: np.ndarray, valid: np.ndarray, floor: float) -> np.ndarray:
    """z-scores along the last axis among the valid entries; 0 for the others. On the host: rewards come from there.

    Args:
      rewards: float [..., G].
      valid: bool [..., G].
      floor: a standard deviation below this counts as none, and the whole group gets 0.
    """
    chex.assert_equal_shape((rewards, valid))
    valid = valid.astype(rewards.dtype)
    count = np.maximum(np.sum(valid, axis=-1, keepdims=True), 1)
    centred = (rewards - np.sum(rewards * valid, axis=-1, keepdims=True) / count) * valid
    std = np.sqrt(np.sum(centred**2, axis=-1, keepdims=True) / count)
    return np.where(std > floor, centred / np.maximum(std, floor), 0.0).astype(rewards.dtype)


def clipped_objective(log_ratio: Array, advantages: Array, clip: float) -> Array:
    """min(rho A, clip(rho, 1 - clip, 1 + clip) A) elementwise, rho = exp(log_ratio); to be maximised."""
    chex.assert_equal_shape((log_ratio, advantages))  # broadcast, they would be every sequence's with every other's
    ratio = jnp.exp(log_ratio)
    return jnp.minimum(ratio * advantages, jnp.clip(ratio, 1 - clip, 1 + clip) * advantages)


def surrogate(log_probs: Array, old_log_probs: AnyArray, advantages: AnyArray, clip: float) -> Array:
    """What is minimised of sampled texts: minus the mean of `clipped_objective`, a scalar.

    Log-probabilities are of whole texts, under the distribution that they were drawn from: then the gradient is that of
    the expected advantage. It is not divided by each text's length, which would prefer short ones among the bad.
    """
    return -jnp.mean(clipped_objective(log_probs - old_log_probs, jnp.asarray(advantages), clip))


def sequence_log_probs(actor: Actor, sequences: Sequences, draw: Draw = OWN) -> tuple[Array, Array]:
    """Log-probability of each target and its length under the un-adapted model, for sequences [..., T].

    The probabilities are those that the targets' tokens have if they are drawn as ``draw`` says.
    """
    shape = sequences.tokens.shape[:-1]
    flat = partition.spread(jax.tree.map(lambda leaf: leaf.reshape(-1, leaf.shape[-1]), sequences))
    total, count = target_log_probs(actor.method.model, actor.params, None, flat, draw)
    return total.reshape(shape), count.reshape(shape)


def text_log_probs(actor: Actor, sequences: Sequences, spec: SamplingSpec) -> Array:
    """Log-probabilities of sampled texts under the distribution that they were drawn from.

    Args:
      actor: the un-adapted model.
      sequences: [P, S, T], S texts behind each prompt, which is read once; or [B, T].
      spec: how they were drawn.
    """
    if sequences.tokens.ndim == 2 or not reads_once(len(sequences.tokens)):
        return sequence_log_probs(actor, sequences, spec.draw)[0]
    method, shared = actor.method, partition.spread(sequences)
    return completion_log_probs(method.model, actor.params, shared, spec.max_new_tokens, spec.draw)


def reads_once(problems: int, parts: int = 1) -> bool:
    """Whether the prompts of problems that are split into equal parts are read once for all texts behind each.

    They are where every device has as many problems of every part; else texts are spread, with their prompts.
    """
    return problems % (parts * partition.ways()) == 0


def kl_to_base(actor: Actor, base: Params, documents: Sequences) -> Array:
    """KL(base || actor) of the distributions of the target tokens of ``documents`` [B, T], summed to a scalar."""
    tokens = partition.spread(jnp.asarray(documents.tokens)[:, :-1])
    model, weights = actor.method.model, (actor.params, jax.lax.stop_gradient(base))
    hidden = tuple(decoder.forward(model, each, None, tokens)[0] for each in weights)
    return jnp.sum(divergences(model, weights, hidden) * documents.target[:, 1:])


def divergences(model: ModelConfig, weights: tuple[Params, Params], hidden: tuple[Array, ...]) -> Array:
    """KL(base || actor) of the next token's distribution behind every token, nats, float32 or wider [B, T].

    Args:
      model: the architecture.
      weights: the actor's parameters and the base's, of which those of the logits are read.
      hidden: the hidden states of both, [B, T, D].
    """

    def divergence(hidden: tuple[Array, ...]) -> Array:
        logits = (decoder.logits(model, *pair) for pair in zip(weights, hidden, strict=True))
        log_probs, base_log_probs = (jax.nn.log_softmax(wide(found)) for found in logits)
        return jnp.sum(jnp.exp(base_log_probs) * (base_log_probs - log_probs), axis=-1)

    return map_positions(divergence, hidden, model.loss_chunk)
