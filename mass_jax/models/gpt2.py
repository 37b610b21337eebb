"""GPT-2 as pure functions: learned positions, LayerNorm, GELU, biases everywhere, tied embeddings.

The architecture of Radford et al. (2019, "Language Models are Unsupervised Multitask Learners"), as released: pre-norm
layers, and the tanh form of GELU. It is here because training runs of all its parameters are what others measure their
meta-gradients on. As in `decoder.py`, the layers are stacked along a leading axis L, and every operation has a jvp
of its vjp.
"""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from mass_jax.models.cross_entropy import target_log_probs
from mass_jax.types import Array, Params


@dataclasses.dataclass(frozen=True)
class GPT2Config:
    """The architecture; the defaults are GPT-2 small, 124,439,808 parameters.

    Attributes:
      vocab_size: V.
      width: D, the residual stream; the MLP is four times as wide.
      layers: L.
      heads: H; must divide ``width``.
      context: the longest sequence in tokens.
      norm_eps: added to the variance in LayerNorm.
      dtype: of the activations and of the products; parameters keep their own, and losses are float32 at least.
      remat: recompute the activations of each half of a layer in the backward pass.
      loss_chunk: positions whose logits are alive at once, in the loss and in all its derivatives; None for all.
    """

    vocab_size: int = 50257
    width: int = 768
    layers: int = 12
    heads: int = 12
    context: int = 1024
    norm_eps: float = 1e-5
    dtype: str = "float32"
    remat: bool = False
    loss_chunk: int | None = None

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"heads = {self.heads} does not divide width = {self.width}: choose a divisor.")


def init(config: GPT2Config, key: Array) -> Params:
    """Random float32 parameters, with the scales of the released code.

    Returns:
      ``embed`` [V, D], ``positions`` [context, D], ``final_norm``, and ``layers``, stacked along L: ``attention_norm``,
      ``qkv`` [D, 3D], ``out`` [D, D], ``mlp_norm``, ``up`` [D, 4D] and ``down`` [4D, D]. A norm is ``{"scale",
      "bias"}``, a linear map ``{"kernel", "bias"}``.
    """
    width, layers = config.width, config.layers
    keys = iter(jax.random.split(key, 6))

    def norm(*stack: int) -> Params:
        return {"scale": jnp.ones((*stack, width)), "bias": jnp.zeros((*stack, width))}

    def linear(inputs: int, outputs: int, scale: float = 0.02) -> Params:
        kernel = scale * jax.random.normal(next(keys), (layers, inputs, outputs))
        return {"kernel": kernel, "bias": jnp.zeros((layers, outputs))}

    # What is added to the residual stream shrinks with the number of additions.
    added = 0.02 * (2 * layers) ** -0.5
    return {
        "embed": 0.02 * jax.random.normal(next(keys), (config.vocab_size, width)),
        "positions": 0.01 * jax.random.normal(next(keys), (config.context, width)),
        "layers": {
            "attention_norm": norm(layers),
            "qkv": linear(width, 3 * width),
            "out": linear(width, width, added),
            "mlp_norm": norm(layers),
            "up": linear(width, 4 * width),
            "down": linear(4 * width, width, added),
        },
        "final_norm": norm(),
    }


def forward(config: GPT2Config, params: Params, tokens_BxT: Array) -> Array:
    """Hidden states [B, T, D] after the final norm, of ``config.dtype``.

    Args:
      config: the architecture.
      params: as `init` returns them.
      tokens_BxT: int32 token ids; pad on the right.

    Raises:
      ValueError: if the sequence is longer than ``config.context``.
    """
    length = tokens_BxT.shape[1]
    if length > config.context:
        raise ValueError(f"a sequence of {length} tokens exceeds GPT-2's context of {config.context}: shorten it.")

    def attention(x: Array, layer: Params) -> Array:
        return x + _attention(config, layer, _norm(config, layer["attention_norm"], x))

    def mlp(x: Array, layer: Params) -> Array:
        h = _linear(layer["up"], _norm(config, layer["mlp_norm"], x))
        return x + _linear(layer["down"], jax.nn.gelu(h, approximate=True))

    if config.remat:
        attention, mlp = jax.checkpoint(attention, prevent_cse=False), jax.checkpoint(mlp, prevent_cse=False)
    x = (params["embed"][tokens_BxT] + params["positions"][:length]).astype(config.dtype)
    x, _ = jax.lax.scan(lambda x, layer: (mlp(attention(x, layer), layer), None), x, params["layers"])
    return _norm(config, params["final_norm"], x)


def logits(params: Params, hidden: Array) -> Array:
    """Next-token logits [..., V] of hidden states, in the dtype of the hidden states."""
    return hidden @ params["embed"].astype(hidden.dtype).T


def token_losses(config: GPT2Config, params: Params, tokens_BxT: Array) -> Array:
    """Cross-entropy −log p(token_t | tokens before t), [B, T − 1], for t = 1 … T − 1.

    Raises:
      ValueError: as `forward`.
    """
    # The last position predicts nothing and is dropped at the end: B · T divides into chunks, B · (T − 1) does not.
    log_probs = target_log_probs(
        partial(logits, params), forward(config, params, tokens_BxT), jnp.roll(tokens_BxT, -1, 1), config.loss_chunk
    )
    return -log_probs[:, :-1]


def _attention(config: GPT2Config, layer: Params, h_BxTxD: Array) -> Array:
    batch, length, width = h_BxTxD.shape
    channels = width // config.heads
    # The 3 · D columns are query, key and value, each cut into heads: [B, T, 3, H, C].
    qkv = _linear(layer["qkv"], h_BxTxD).reshape(batch, length, 3, config.heads, channels)
    q, k, v = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
    scores_BxHxTxS = jnp.einsum("bthc,bshc->bhts", q * channels**-0.5, k)
    visible = jnp.tril(jnp.ones((length, length), bool))
    scores_BxHxTxS = jnp.where(visible, scores_BxHxTxS, jnp.finfo(scores_BxHxTxS.dtype).min)
    mixed = jnp.einsum("bhts,bshc->bthc", jax.nn.softmax(scores_BxHxTxS, axis=-1), v)
    return _linear(layer["out"], mixed.reshape(batch, length, width))


def _linear(layer: Params, x: Array) -> Array:
    return x @ layer["kernel"].astype(x.dtype) + layer["bias"].astype(x.dtype)


def _norm(config: GPT2Config, norm: Params, x: Array) -> Array:
    """LayerNorm (Ba et al. 2016, arXiv 1607.06450)."""
    dtype: Any = x.dtype
    x = x.astype(jnp.promote_types(dtype, jnp.float32))
    x = x - jnp.mean(x, axis=-1, keepdims=True)
    x = x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + config.norm_eps)
    return (x * norm["scale"] + norm["bias"]).astype(dtype)
