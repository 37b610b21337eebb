"""Training problems to practise on, and which of them are most like a problem.

Test-time training on nearest neighbours (Hardt & Sun 2023, arXiv 2305.18466); here similar means the cosine of the mean
final hidden states of the solve prompts under the un-adapted model.
"""

from collections.abc import Sequence
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np

from mass_jax.mass.actor import Actor
from mass_jax.mass.packing import pack_prompts
from mass_jax.models import decoder
from mass_jax.parallel import hosts, partition
from mass_jax.tasks.base import Problem
from mass_jax.types import Array

EMBEDDED_AT_ONCE = 64


class Pool:
    """Training problems, and the vectors by which one actor finds those that are most like another."""

    def __init__(self, actor: Actor, problems: Sequence[Problem]):
        """Take note of them; nothing is computed yet.

        Args:
          actor: whose hidden states say what is similar.
          problems: the same in all processes.
        """
        self.actor, self.problems = actor, problems

    @cached_property
    def vectors(self) -> np.ndarray:
        """`embed` of all of them, float [N, D]."""
        places = np.arange(divisible(len(self.problems))) % len(self.problems)
        some = embed(self.actor, [self.problems[i] for i in hosts.mine(places)])
        return hosts.whole(some)[: len(self.problems)]


def nearest(vectors_PxD: np.ndarray, pool_NxD: np.ndarray) -> np.ndarray:
    """For every problem the indices of the pool, the most similar first, int [P, N]."""
    return np.argsort(-vectors_PxD @ pool_NxD.T, axis=-1, kind="stable")


def embed(actor: Actor, problems: Sequence[Problem]) -> np.ndarray:
    """A vector of length 1 for every problem, float [P, D]."""
    prompts = [actor.task.solve_prompt(problem.prompt) for problem in problems]
    tokens, lengths = pack_prompts(actor.tokenizer, prompts, actor.method.lengths.prompt)
    count = len(hosts.rows(divisible(EMBEDDED_AT_ONCE)))
    parts = [_filled(tokens, lengths, i, count) for i in range(0, len(prompts), count)]
    vectors = [hosts.local(_embed(actor, *hosts.share(part))) for part in parts]
    return np.concatenate(vectors)[: len(prompts)]


def divisible(count: int) -> int:
    """The least number from ``count`` on that the mesh spreads evenly."""
    return -(-count // partition.ways()) * partition.ways()


@jax.jit
def _embed(actor: Actor, tokens_BxT: Array, lengths_B: Array) -> Array:
    """Mean final hidden states of the real tokens, of length 1, [B, D]."""
    hidden, _ = decoder.forward(actor.method.model, actor.params, None, tokens_BxT)
    real = jnp.arange(tokens_BxT.shape[1]) < lengths_B[:, None]
    mean = jnp.einsum("btd,bt->bd", hidden, real.astype(hidden.dtype))
    return mean / jnp.maximum(jnp.linalg.norm(mean, axis=-1, keepdims=True), 1e-9)


def _filled(tokens: np.ndarray, lengths: np.ndarray, start: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """``count`` rows from ``start`` on, filled up with the first one: one shape, one compilation."""
    rows = np.arange(start, start + count)
    rows = np.where(rows < len(tokens), rows, 0)
    return tokens[rows], lengths[rows]
