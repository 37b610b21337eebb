"""Theta, by what training changes of it: all, or an outer adapter on a base that stays (``train.lora_rank``).

The outer adapter is applied in the projections, like the inner one, y = x W + (x A) B, and not merged for a program:
W + A B would be a second copy of every matrix that is adapted, and its cotangent another. Two thin products take about
a hundredth of W's, and have all derivatives that the rest has. So theta is the base's own arrays with a few small
leaves beside them (`lora.attach`); what adapts, writes, scores or differentiates gets parameters, and does not know
which of them are trained.
"""

import jax
import jax.numpy as jnp

from mass_jax.models import lora
from mass_jax.models.lora import LoraConfig
from mass_jax.types import Array, Params


def start(outer: LoraConfig | None, base: Params, key: Array) -> Params:
    """What training changes, before its first step: composed with ``base`` it is the base.

    Args:
      outer: the adapter; None where all of theta is trained.
      base: the pretrained parameters. A copy of them is made where all are trained, for updates are donated.
      key: PRNG key of the adapter, whose leaves are float32 at least: steps are far smaller than bfloat16 tells apart.
    """
    if outer is None:
        return jax.tree.map(jnp.copy, base)
    return lora.init(outer, base, key, jnp.float32)


def compose(outer: LoraConfig | None, base: Params, trained: Params) -> Params:
    """Theta, as every program reads it; differentiable in ``trained``, and without a copy of either."""
    return trained if outer is None else lora.attach(base, trained)
