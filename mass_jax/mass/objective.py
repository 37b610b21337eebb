"""What the model's update minimises (docs/method.md, step 6): L_aux + gamma L_solve + replay + KL."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from mass_jax.mass import policy
from mass_jax.mass.actor import Actor
from mass_jax.mass.generator import attempting, writing
from mass_jax.mass.state import OuterConfig
from mass_jax.models.sampling import SamplingSpec
from mass_jax.quantities import Metric
from mass_jax.types import AnyArray, Array, Params, Sequences


class Experience(NamedTuple):
    """Sequences for the clipped policy gradient, with what they were worth.

    Attributes:
      sequences: [..., T].
      log_probs: float [...], where they were drawn from.
      advantages: float [...].
    """

    sequences: Sequences
    log_probs: AnyArray
    advantages: AnyArray


class Sampled(NamedTuple):
    """Experience, and how it was sampled.

    Attributes:
      batch: rows are practice sets or problems.
      spec: of its sampling.
      sets: rows of each problem.
    """

    batch: Experience
    spec: SamplingSpec
    sets: int


class UpdateData(NamedTuple):
    """What one update of the model reads, P problems (or practice sets) along the first axes.

    Attributes:
      practice: what was written; None where nothing is to be learned from it.
      attempts: solutions that were sampled of the un-adapted model; None where nothing is to be learned from them.
      solve: references to be made likelier, [P, 1, T]; None in verifier mode.
      documents: for replay and KL, [B, T].
    """

    practice: Experience | None
    attempts: Experience | None
    solve: Sequences | None
    documents: Sequences

    def sampled(self, actor: Actor, config: OuterConfig) -> list[Sampled]:
        """All experience, practice first."""
        found = (
            (self.practice, writing(actor), config.sets),
            (self.attempts, attempting(actor, config.solutions), 1),
        )
        return [Sampled(batch, spec, sets) for batch, spec, sets in found if batch is not None]


def policy_loss(actor: Actor, config: OuterConfig, sampled: Sampled) -> Array:
    """The surrogate of sampled texts, over the most tokens that one may have."""
    batch, spec, _ = sampled
    log_probs = policy.text_log_probs(actor, batch.sequences, spec)
    return policy.surrogate(log_probs, batch.log_probs, batch.advantages, config.clip) / spec.max_new_tokens


def anchored(actor: Actor, config: OuterConfig, base: Params, sampled: Sampled) -> tuple[Sampled, Array]:
    """Texts that are worth less the further they are from the base, and KL(sampler || base) in nats a text.

    A text's advantage falls by ``text_kl_weight`` for each nat of log(pi / pi_base), from their mean: the gradient of
    the KL of whole texts, as in reinforcement learning from human feedback (Ziegler et al. 2019, arXiv 1909.08593, eq.
    2). Noise alone would let the policy drift into texts that the base never writes.
    """
    batch, spec, _ = sampled
    before = policy.text_log_probs(actor.replace(params=base), batch.sequences, spec)
    apart = jax.lax.stop_gradient(batch.log_probs - before)
    worth = batch.advantages - config.text_kl_weight * (apart - jnp.mean(apart))
    return sampled._replace(batch=batch._replace(advantages=worth)), jnp.mean(apart)


def reference_loss(actor: Actor, references: Sequences) -> Array:
    """The cross-entropy of reference solutions, by the mean over each one's tokens."""
    log_probs, length = policy.sequence_log_probs(actor, references)
    return -jnp.mean(log_probs / length)


def anchors(
    actor: Actor, config: OuterConfig, base: Params, documents: Sequences, document_tokens: AnyArray
) -> tuple[Array, dict[Metric, Array]]:
    """Replay and KL, weighted; and each as a metric.

    The means over documents are sums over ``document_tokens``, so that the mean over equal parts is that of the whole.
    """
    total, parts = jnp.zeros(()), dict[Metric, Array]()
    if config.replay_weight:
        log_probs, _ = policy.sequence_log_probs(actor, documents)
        parts[Metric.REPLAY_LOSS] = -jnp.sum(log_probs) / document_tokens
        total += config.replay_weight * parts[Metric.REPLAY_LOSS]
    if config.kl_weight:
        parts[Metric.REPLAY_KL] = policy.kl_to_base(actor, base, documents) / document_tokens
        total += config.kl_weight * parts[Metric.REPLAY_KL]
    return total, parts
