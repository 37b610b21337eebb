"""A decoder-only transformer as pure functions: RoPE, RMSNorm, SwiGLU, grouped-query attention (Llama's block).

The parameters of all layers are stacked along a leading axis L, so that one layer can be looped over in Python
(faster on a CPU, and readable under a debugger) or scanned (one compilation for any depth): `ModelConfig.scan_layers`.
An adapter is a separate pytree that is never merged into the parameters (see `lora.py`). Nothing here uses a fused
kernel: every operation has a jvp of its vjp, which the meta-gradient needs.
"""

import dataclasses
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from mass_jax.types import Array, Params, PyTree


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The architecture.

    Attributes:
      vocab_size: V.
      width: D, the residual stream.
      layers: L.
      heads: H query heads.
      kv_heads: G key-value heads; must divide ``heads``.
      head_dim: C channels a head; even, because RoPE rotates pairs.
      mlp_width: hidden width of the SwiGLU.
      context: the longest sequence in tokens.
      rope_theta: base of the rotary frequencies.
      norm_eps: added to the mean square in RMSNorm.
      tie_embeddings: the output matrix is the transposed embedding.
      scan_layers: `lax.scan` over the stacked layers in place of a Python loop.
      remat: recompute the activations of each half of a layer in the backward pass. XLA's CPU compiler merges the
        recomputation of unrolled layers with the first computation again: there it saves memory with ``scan_layers``
        only.
    """

    vocab_size: int
    width: int = 128
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 32
    mlp_width: int = 384
    context: int = 64
    rope_theta: float = 10_000.0
    norm_eps: float = 1e-6
    tie_embeddings: bool = True
    scan_layers: bool = False
    remat: bool = False

    def __post_init__(self) -> None:
        if self.heads % self.kv_heads:
            raise ValueError(
                f"model.kv_heads = {self.kv_heads} does not divide model.heads = {self.heads}: choose a divisor."
            )
        if self.head_dim % 2:
            raise ValueError(f"model.head_dim = {self.head_dim} is odd, but RoPE rotates pairs: choose an even number.")


class KVCache(NamedTuple):
    """Keys and values of the tokens seen so far; slot t of a sequence holds its token at position t.

    Attributes:
      keys_LxBxTxGxC: rotated keys.
      values_LxBxTxGxC: values.
    """

    keys_LxBxTxGxC: Array
    values_LxBxTxGxC: Array


def init_cache(config: ModelConfig, batch: int, length: int) -> KVCache:
    """An empty float32 cache for ``batch`` sequences of up to ``length`` tokens."""
    shape = (config.layers, batch, length, config.kv_heads, config.head_dim)
    return KVCache(jnp.zeros(shape), jnp.zeros(shape))


def rotation(positions_BxT: Array, channels: int, theta: float, dtype: Any) -> tuple[Array, Array]:
    """Cosines and sines of the rotary angles, [B, T, 1, channels / 2] each: the same for every layer."""
    half = channels // 2
    frequencies = theta ** (-jnp.arange(half, dtype=dtype) / half)
    angles = positions_BxT[..., None, None].astype(dtype) * frequencies
    return jnp.cos(angles), jnp.sin(angles)


def rotate(x_BxTxHxC: Array, rotation: tuple[Array, Array]) -> Array:
    """Rotary position embedding in the half-split layout (Su et al. 2021, arXiv 2104.09864, eq. 34)."""
    cos, sin = rotation
    first, second = jnp.split(x_BxTxHxC, 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


class RMSNorm(nn.Module):
    """Root-mean-square normalisation with a learned scale (Zhang & Sennrich 2019, arXiv 1910.07467)."""

    eps: float

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Normalise the last axis."""
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        return x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + self.eps) * scale


class Linear(nn.Module):
    """y = x W, plus (x A) B where an adapter gives A and B (LoRA, Hu et al. 2021, arXiv 2106.09685, eq. 3)."""

    features: int

    @nn.compact
    def __call__(self, x: Array, lora: dict[str, Array] | None = None) -> Array:
        """[..., D_in] to [..., features]; ``lora`` is ``{"a": [D_in, R], "b": [R, features]}``."""
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (x.shape[-1], self.features))
        # As two-dimensional products: with more axes, XLA's CPU compiler fuses the transposition in the gradient of
        # ``b`` with whatever made the cotangent, and that fusion took a third of a training step.
        x_NxD = x.reshape(-1, x.shape[-1])
        y = x_NxD @ kernel
        if lora is not None:
            # Two thin products, never W + A B: the merged matrix would be one full weight a problem.
            y = y + (x_NxD @ lora["a"]) @ lora["b"]
        return y.reshape(*x.shape[:-1], self.features)


class Attention(nn.Module):
    """The first half of a pre-norm layer: attention, added to the residual stream."""

    config: ModelConfig

    @nn.compact
    def __call__(
        self,
        x_BxTxD: Array,
        positions_BxT: Array,
        turn: tuple[Array, Array],
        lora: dict[str, Any],
        cache: tuple[Array, Array] | None,
    ) -> tuple[Array, tuple[Array, Array] | None]:
        """See `forward`; one layer's slices of parameters, adapter and cache."""
        c = self.config
        batch, length, _ = x_BxTxD.shape
        h = RMSNorm(c.norm_eps, name="attention_norm")(x_BxTxD)
        q = Linear(c.heads * c.head_dim, name="q_proj")(h, lora.get("q_proj"))
        k = Linear(c.kv_heads * c.head_dim, name="k_proj")(h, lora.get("k_proj"))
        v = Linear(c.kv_heads * c.head_dim, name="v_proj")(h, lora.get("v_proj"))
        q = rotate(q.reshape(batch, length, c.heads, c.head_dim), turn) * c.head_dim**-0.5
        k = rotate(k.reshape(batch, length, c.kv_heads, c.head_dim), turn)
        v = v.reshape(batch, length, c.kv_heads, c.head_dim)
        if cache is not None:
            rows = jnp.arange(batch)[:, None]
            k = cache[0].at[rows, positions_BxT].set(k)
            v = cache[1].at[rows, positions_BxT].set(v)
            cache = (k, v)

        # Slot s holds position s, so one comparison masks the future, the padding and the unwritten slots alike.
        visible = jnp.arange(k.shape[1])[None, None, :] <= positions_BxT[..., None]
        # Added, not selected: the derivative of an addition is no operation at all.
        mask = jnp.where(visible, 0.0, jnp.finfo(k.dtype).min / 2).astype(k.dtype)[:, None, None]
        q = q.reshape(batch, length, c.kv_heads, c.heads // c.kv_heads, c.head_dim)
        scores = jnp.einsum("btghc,bsgc->bghts", q, k) + mask
        # The softmax's division comes after the product with the values: its derivatives are then of size T x C, not
        # T x T. A common shift of the scores cancels, so no gradient need pass through the maximum.
        scores = scores - jax.lax.stop_gradient(jnp.max(scores, axis=-1, keepdims=True))
        shares = jnp.exp(scores)
        totals = jnp.einsum("bghts->btgh", shares)[..., None]
        mixed = jnp.einsum("bghts,bsgc->btghc", shares, v) / totals
        mixed = mixed.reshape(batch, length, c.heads * c.head_dim)
        return x_BxTxD + Linear(c.width, name="o_proj")(mixed, lora.get("o_proj")), cache


class MLP(nn.Module):
    """The second half of a pre-norm layer: SwiGLU (Shazeer 2020, arXiv 2002.05202), added to the residual stream."""

    config: ModelConfig

    @nn.compact
    def __call__(self, x_BxTxD: Array, lora: dict[str, Any]) -> Array:
        """See `forward`; one layer's slices of parameters and adapter."""
        c = self.config
        h = RMSNorm(c.norm_eps, name="mlp_norm")(x_BxTxD)
        gate = Linear(c.mlp_width, name="gate_proj")(h, lora.get("gate_proj"))
        up = Linear(c.mlp_width, name="up_proj")(h, lora.get("up_proj"))
        down = Linear(c.width, name="down_proj")(jax.nn.silu(gate) * up, lora.get("down_proj"))
        return x_BxTxD + down


def init(config: ModelConfig, key: Array) -> Params:
    """Random float32 parameters: ``embed`` [V, D], ``layers`` (stacked along L), ``final_norm`` [D], ``unembed``."""
    embed_key, layer_key, head_key = jax.random.split(key, 3)
    x, positions = jnp.zeros((1, 1, config.width)), jnp.zeros((1, 1), jnp.int32)

    turn = rotation(positions, config.head_dim, config.rope_theta, x.dtype)

    def init_layer(key: Array) -> Params:
        attention_key, mlp_key = jax.random.split(key)
        return {
            **Attention(config).init(attention_key, x, positions, turn, {}, None)["params"],
            **MLP(config).init(mlp_key, x, {})["params"],
        }

    layers = jax.vmap(init_layer)(jax.random.split(layer_key, config.layers))
    params = {
        "embed": jax.random.normal(embed_key, (config.vocab_size, config.width)) * config.width**-0.5,
        "layers": layers,
        "final_norm": jnp.ones((config.width,)),
    }
    if not config.tie_embeddings:
        params["unembed"] = jax.random.normal(head_key, (config.width, config.vocab_size)) * config.width**-0.5
    return params


def forward(
    config: ModelConfig,
    params: Params,
    adapter: PyTree,
    tokens_BxT: Array,
    positions_BxT: Array | None = None,
    cache: KVCache | None = None,
) -> tuple[Array, KVCache | None]:
    """Run the decoder up to the final norm.

    Args:
      config: the architecture.
      params: as `init` returns them.
      adapter: as `lora.init` returns it, or None for the base model.
      tokens_BxT: int32 token ids; pad on the right.
      positions_BxT: int32; 0, 1, ... where not given.
      cache: where given, the tokens' keys and values are written at their positions, and attention reads the cache.

    Returns:
      Hidden states [B, T, D] after the final norm, and the cache with the new tokens in it (None if none was given).

    Raises:
      ValueError: if the sequence is longer than ``config.context``.
    """
    batch, length = tokens_BxT.shape
    reach = length if cache is None else cache.keys_LxBxTxGxC.shape[2]
    if reach > config.context:
        raise ValueError(
            f"a sequence of {reach} tokens exceeds the model's context of {config.context}: shorten the prompt or the "
            "completion, or train a base with a larger model.context."
        )
    if positions_BxT is None:
        positions_BxT = jnp.broadcast_to(jnp.arange(length), (batch, length))
    x = params["embed"][tokens_BxT]
    turn = rotation(positions_BxT, config.head_dim, config.rope_theta, x.dtype)

    def attention(x: Array, layer_params: Params, lora: PyTree, kv: tuple[Array, Array] | None) -> Any:
        return Attention(config).apply({"params": layer_params}, x, positions_BxT, turn, lora, kv)

    def mlp(x: Array, layer_params: Params, lora: PyTree) -> Any:
        return MLP(config).apply({"params": layer_params}, x, lora)

    if config.remat:
        # By halves: never are the activations of both alive, for one more residual stream a layer and no more work.
        attention, mlp = jax.checkpoint(attention), jax.checkpoint(mlp)

    def layer(x: Array, inputs: tuple) -> tuple[Array, Any]:
        layer_params, lora, kv = inputs
        x, kv = attention(x, layer_params, lora, kv)
        return mlp(x, layer_params, lora), kv

    stacked = (params["layers"], adapter or {}, None if cache is None else tuple(cache))
    if config.scan_layers:
        x, kv = jax.lax.scan(layer, x, stacked)
    else:
        kvs = []
        for i in range(config.layers):
            x, kv = layer(x, jax.tree.map(lambda leaf, i=i: leaf[i], stacked))
            kvs.append(kv)
        kv = None if cache is None else tuple(map(jnp.stack, zip(*kvs, strict=True)))
    hidden = x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + config.norm_eps) * params["final_norm"]
    return hidden, (None if cache is None else KVCache(*kv))


def logits(config: ModelConfig, params: Params, hidden_BxTxD: Array) -> Array:
    """Next-token logits [..., V] of hidden states."""
    unembed = params["embed"].T if config.tie_embeddings else params["unembed"]
    return hidden_BxTxD @ unembed


def token_log_probs(config: ModelConfig, params: Params, adapter: PyTree, tokens_BxT: Array) -> Array:
    """Log p(token_t | tokens before t), float [B, T - 1], for t = 1 .. T - 1."""
    hidden, _ = forward(config, params, adapter, tokens_BxT[:, :-1])
    logits_BxTxV = logits(config, params, hidden)
    chosen = jnp.take_along_axis(logits_BxTxV, tokens_BxT[:, 1:, None], axis=-1)[..., 0]
    return chosen - jax.nn.logsumexp(logits_BxTxV, axis=-1)


def document_loss(config: ModelConfig, params: Params, documents_BxT: Array, pad_id: int = 0) -> tuple[Array, Array]:
    """Summed cross-entropy of the tokens of whole documents, and their number without padding; two scalars."""
    mask = (documents_BxT[:, 1:] != pad_id).astype(jnp.float32)
    log_probs = token_log_probs(config, params, None, documents_BxT)
    return -jnp.sum(log_probs * mask), jnp.sum(mask)
