"""A step that moves what the model writes by at most a given KL: the trust region of Schulman et al. 2015 (TRPO).

arXiv 1502.05477, eq. 12 and appendix C. A length in parameters that suits one base carries another to texts that it
never writes: how far texts move per unit of length depends on the base, and is read off the texts themselves.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from mass_jax.quantities import Metric
from mass_jax.types import AnyArray, Array, Params

TRIES = 20
"""Shorter steps that are tried, after which the shortest is taken."""
AIM, LEAST = 0.95, 0.1
"""Of a step that was too long: what is tried next, in units of the length at which it should be within the limit, so
that the first try mostly is; and the least of the length that was tried."""


def divergence(before: Array, after: Array) -> Array:
    """KL(before || after) in nats a text, estimated on texts drawn from ``before``, a scalar.

    Args:
      before: float [...], log-probabilities of the texts where they were drawn.
      after: float [...], the same under what they are held against.

    The mean of r - 1 - log r, with r = after / before: it has the mean of -log r, is never negative, and its variance
    is smaller where the two are close (Schulman 2020, "Approximating KL divergence", k3). With top-p below 1 it is less
    by the probability, at most 1, of what is in the nuclei of ``after`` alone: no draw from ``before`` shows that.
    """
    log_ratio = after - before
    return jnp.mean(jnp.expm1(log_ratio) - log_ratio)


def held(
    distance: Callable[[Params], Array], params: Params, updates: Params, limit: AnyArray | float
) -> tuple[Params, dict[Metric, Array]]:
    """The updates, shortened until ``distance`` of the updated parameters is within ``limit``.

    A distance grows as the square of a short step's length, which says what to try next.

    Args:
      distance: of parameters from ``params``, in nats a text, a scalar.
      params: before the step.
      updates: what an optimiser adds to them.
      limit: the largest distance, a scalar.
    """

    def at(scale: Array) -> Array:
        return distance(optax.apply_updates(params, _scaled(updates, scale)))

    def too_far(state: tuple[Array, Array, Array]) -> Array:
        _, apart, tries = state
        return ~(apart <= limit) & (tries < TRIES)

    def shorten(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        scale, apart, tries = state
        share = AIM * jnp.sqrt(limit / apart)
        scale = scale * jnp.where(share > LEAST, share, LEAST)  # also where the distance is no number
        return scale, at(scale), tries + 1

    whole = jnp.ones(())
    scale, apart, _ = jax.lax.while_loop(too_far, shorten, (whole, at(whole), jnp.zeros((), int)))
    return _scaled(updates, scale), {Metric.KL_STEP: apart, Metric.STEP_SCALE: scale}


def _scaled(updates: Params, scale: Array) -> Params:
    return jax.tree.map(lambda leaf: leaf * scale.astype(leaf.dtype), updates)
