"""Low-rank adapters (LoRA, Hu et al. 2021, arXiv 2106.09685) as a pytree of their own.

An adapter is ``{"q_proj": {"a": [L, D_in, R], "b": [L, R, D_out]}, ...}``, stacked over layers like the parameters it
adds to. With b = 0, as initialised, the adapted model *is* the base. The usual factor alpha / R is 1: a scale belongs
to the inner learning rate.

An adapter may also be part of the parameters, `attach`: then it is of the model that other adapters are put on.
"""

import dataclasses
import re
from typing import Any

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


def init(config: LoraConfig, params: Params, key: Array, least: Any = None) -> PyTree:
    """A fresh adapter for ``params``: a ~ N(0, 1 / D_in), b = 0.

    Args:
      config: which matrices, and of what rank.
      params: as `decoder.init` returns them.
      key: PRNG key.
      least: the least precise dtype that its leaves may have; that of each matrix where not given.

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
        dtype = dtype if least is None else jnp.promote_types(dtype, least)
        adapter[name] = {
            "a": jax.random.normal(subkey, (layers, d_in, config.rank), dtype) * d_in**-0.5,
            "b": jnp.zeros((layers, config.rank, d_out), dtype),
        }
    return adapter


def attach(params: Params, adapter: PyTree) -> Params:
    """``params`` with one adapter, leaves [L, ...], as part of them: projections read it beside their kernel."""
    layers = params["layers"]
    return params | {"layers": layers | {name: layers[name] | {"lora": leaf} for name, leaf in adapter.items()}}


def detach(params: Params) -> tuple[Params, PyTree]:
    """Parameters without the adapter that `attach` made part of them, and the adapter, or None where there is none."""
    adapter = {name: leaf["lora"] for name, leaf in params["layers"].items() if "lora" in leaf}
    layers = {
        name: {key: value for key, value in leaf.items() if key != "lora"} for name, leaf in params["layers"].items()
    }
    return params | {"layers": layers}, adapter or None
