"""Canaries: held problems that the base answers right, asked again under every adapter before it is used."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from mass_jax.adapt.run import Ready, measure
from mass_jax.mass.actor import Actor
from mass_jax.models import sharding
from mass_jax.tasks.base import Problem
from mass_jax.types import PyTree


def asked(actor: Actor, adapters: PyTree, problems: Sequence[Problem], count: int) -> tuple[np.ndarray, np.ndarray]:
    """What becomes of held problems under adapters: greedy answers, graded, and the likelihood of references.

    Args:
      actor: the un-adapted model.
      adapters: of P problems, every leaf [P, ...]; None for the un-adapted model.
      problems: C held problems.
      count: P; 1 without adapters.

    Returns:
      Whether each is answered right, bool [P, C]; and the mean log-probability of its reference's tokens, float [P, C].
    """
    prompts = [actor.task.solve_prompt(problem.prompt) for problem in problems] * count
    each = None if adapters is None else _repeated(adapters, len(problems))
    found = measure(actor, [*problems] * count, Ready(prompts, actor.method.lengths.prompt, each, None))
    assert found.log_likelihood_P is not None
    return found.correct_P.reshape(count, -1), found.log_likelihood_P.reshape(count, -1)


@partial(jax.jit, static_argnames="count")
def _repeated(adapters: PyTree, count: int) -> PyTree:
    return sharding.constrain_adapters(jax.tree.map(lambda leaf: jnp.repeat(leaf, count, axis=0), adapters))
