"""How likely the un-adapted model finds the targets of checks."""

import jax
import numpy as np

from mass_jax.mass.actor import Actor
from mass_jax.mass.packing import mean_log_probs
from mass_jax.mass.practice import PracticeSets
from mass_jax.parallel import hosts, partition
from mass_jax.types import Array, Sequences


def outcomes(actor: Actor, checks: Sequences) -> np.ndarray:
    """Mean log-probability of each target, float [P, N].

    Args:
      actor: the un-adapted model.
      checks: of this process's P problems, [P, N, T] on the host.
    """
    return hosts.local(_likelihoods(actor, hosts.share(checks)))


def first(actor: Actor, sets: PracticeSets) -> np.ndarray:
    """`outcomes` of the task's first check of every practice example, float [P, M]."""
    return outcomes(actor, jax.tree.map(lambda leaf: np.asarray(leaf)[:, :, 0], sets.arrays.checks))


@jax.jit
def _likelihoods(actor: Actor, checks: Sequences) -> Array:
    flat = partition.spread(jax.tree.map(lambda leaf: leaf.reshape(-1, leaf.shape[-1]), checks))
    found = mean_log_probs(actor.method.model, actor.params, None, flat)
    return found.reshape(checks.tokens.shape[:2])
