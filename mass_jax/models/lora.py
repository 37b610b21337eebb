"""Low-rank adapters (LoRA, Hu et al. 2021, arXiv 2106.09685) as a pytree of their own.

An adapter is ``{"q_proj": {"a": [L, D_in, R], "b": [L, R, D_out]}, ...}``, stacked over layers like the parameters it
adds to. With b = 0, as initialised, the adapted model *is* the base. The usual factor alpha / R is 1: a scale belongs
to the inner learning rate.
"""

import dataclasses
import re

import jax
import jax.numpy as jnp

from mass_jax.types import Array, Params, PyTree


@dataclasses.dataclass(frozen=True)
class LoraConfig:
    """Which matrices are adapted, and how.

    Attributes:
      rank: R.
      targets: a regular expression; every projection of the block whose whole name matches gets an adapter.
    """

    rank: int = 8
    targets: str = ".*_proj"

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"lora.rank = {self.rank}: an adapter needs rank 1 or more.")


def init(config: LoraConfig, params: Params, key: Array) -> PyTree:
    """A fresh adapter for ``params``: a ~ N(0, 1 / D_in), b = 0.

    Raises:
      ValueError: if ``config.targets`` matches no projection.
    """
    projections = {
        name: leaf["kernel"] for name, leaf in params["layers"].items() if isinstance(leaf, dict) and "kernel" in leaf
    }
    chosen = [name for name in sorted(projections) if re.fullmatch(config.targets, name)]
    if not chosen:
        raise ValueError(f"lora.targets = {config.targets!r} matches none of {sorted(projections)}.")
    adapter = {}
    for name, subkey in zip(chosen, jax.random.split(key, len(chosen)), strict=True):
        # A stacked kernel is [L, D_in, D_out].
        layers, d_in, d_out = projections[name].shape
        dtype = projections[name].dtype
        adapter[name] = {
            "a": jax.random.normal(subkey, (layers, d_in, config.rank), dtype) * d_in**-0.5,
            "b": jnp.zeros((layers, config.rank, d_out), dtype),
        }
    return adapter
