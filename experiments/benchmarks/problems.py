"""The inner problem that estimators and frameworks are compared on: a LoRA transformer on random tokens."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mass_jax.metagrad import optimizers
from mass_jax.models import decoder, lora
from mass_jax.models.config import ModelConfig
from mass_jax.types import Array, Batch, InnerProblem, Meta, Params


@dataclasses.dataclass(frozen=True)
class Size:
    """How large the problem is: ``examples`` practice examples a step, of ``tokens`` tokens each, one outer example."""

    layers: int
    width: int
    heads: int
    tokens: int = 128
    examples: int = 8
    vocab_size: int = 512
    rank: int = 8


SIZES = {
    "tiny": Size(layers=2, width=16, heads=2, tokens=8, examples=2, vocab_size=32, rank=2),
    "small": Size(layers=4, width=128, heads=4),
    "large": Size(layers=8, width=192, heads=6),
}
RATES = {"sgd": 0.5, "adam": 1e-2}


class Case(NamedTuple):
    """An inner problem with everything an estimator is called on."""

    problem: InnerProblem
    outer_loss: Callable[[Params], Array]
    init: Params
    meta: Meta
    batches: Batch


def make_case(
    size: Size,
    optimizer: str,
    steps: int,
    *,
    dtype: str = "float32",
    seed: int = 0,
    **model: Any,
) -> Case:
    """Example weights [K, N] are meta-learned through K steps of ``optimizer`` ("sgd", "adam") on a LoRA adapter.

    The adapter is as after some training, b ≠ 0, so that no gradient is zero. Base parameters are constants of the
    problem: a caller who jits should take them as an argument where they are large. ``model`` is as for `model_config`.
    """
    params, init, tokens, outer_tokens, weights = arrays(size, steps, seed)
    as_dtype = lambda tree: jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), tree)  # noqa: E731
    config = model_config(size, **model)
    base = as_dtype(params)

    def losses(adapter: Params, tokens: Array) -> Array:
        return -jnp.mean(decoder.token_log_probs(config, base, adapter, tokens), axis=-1)

    def loss(adapter: Params, meta: Meta, batch: Batch) -> Array:
        return (
            jnp.sum(meta["weights"][batch["step"], batch["index"]] * losses(adapter, batch["tokens"])) / size.examples
        )

    rate = RATES[optimizer]
    inner = optimizers.sgd(rate) if optimizer == "sgd" else optimizers.adam(rate)
    index = np.tile(np.arange(size.examples, dtype=np.int32), (steps, 1))
    batches = {"tokens": tokens, "step": np.arange(steps, dtype=np.int32), "index": index}
    return Case(
        InnerProblem(loss, inner),
        lambda adapter: losses(adapter, jnp.asarray(outer_tokens))[0],
        as_dtype(init),
        as_dtype({"weights": weights}),
        jax.tree.map(jnp.asarray, batches),
    )


def model_config(
    size: Size, *, scan_layers: bool = True, remat: bool = True, remat_keeps: Sequence[str] = ()
) -> ModelConfig:
    """The architecture of a size."""
    return ModelConfig(
        vocab_size=size.vocab_size,
        width=size.width,
        layers=size.layers,
        heads=size.heads,
        kv_heads=size.heads,
        head_dim=size.width // size.heads,
        mlp_width=3 * size.width,
        context=size.tokens,
        scan_layers=scan_layers,
        remat=remat,
        remat_keeps=tuple(remat_keeps),
    )


def arrays(size: Size, steps: int, seed: int = 0) -> tuple[Params, Params, np.ndarray, np.ndarray, np.ndarray]:
    """Base parameters, adapter, practice tokens [K, N, T], outer tokens [1, T], weights [K, N], in numpy."""
    config = model_config(size, scan_layers=True, remat=False)
    # With float64 enabled the draws would be others, and a reference in float64 one of another problem.
    with jax.enable_x64(False):
        params = decoder.init(config, jax.random.key(seed))
        adapter = lora.init(lora.LoraConfig(rank=size.rank), params, jax.random.key(seed + 1))
    rng = np.random.default_rng(seed)
    adapter = jax.tree.map(
        lambda leaf: np.asarray(leaf) if np.any(leaf) else rng.normal(size=leaf.shape, scale=0.02).astype("float32"),
        adapter,
    )
    tokens = rng.integers(size.vocab_size, size=(steps, size.examples, size.tokens), dtype=np.int32)
    outer = rng.integers(size.vocab_size, size=(1, size.tokens), dtype=np.int32)
    weights = rng.uniform(0.5, 1.5, (steps, size.examples)).astype("float32")
    return jax.tree.map(np.asarray, params), adapter, tokens, outer, weights
