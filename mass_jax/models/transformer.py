"""A decoder-only transformer as pure functions: the block of Llama, Qwen and Gemma, by configuration.

RoPE, RMSNorm, a gated MLP and grouped-query attention; biases, query-key norms, further norms and sliding windows where
a family has them. `pretrained/families.py` says which family sets what.

The parameters of all layers are stacked along a leading axis L, so that one layer can be looped over in Python
(faster on a CPU, and readable under a debugger) or scanned (one compilation for any depth): `ModelConfig.scan_layers`.
An adapter is a separate pytree that is never merged into the parameters (see `lora.py`). Nothing here uses a fused
kernel: every operation has a jvp of its vjp, which the meta-gradient needs.
"""

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from mass_jax.models import partition
from mass_jax.models.cross_entropy import target_log_probs
from mass_jax.models.partition import TENSOR, P
from mass_jax.types import Array, Params, PyTree

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "silu": jax.nn.silu,
    "gelu_tanh": partial(jax.nn.gelu, approximate=True),
}
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
UNSEEN = jnp.iinfo(jnp.int32).max
"""The position of what no token may attend to: padding, and cache slots that are not written yet."""


@dataclasses.dataclass(frozen=True)
class RopeScaling:
    """How rotary frequencies are stretched for contexts longer than those of pretraining.

    Attributes:
      kind: ``linear`` divides all frequencies by ``factor``; ``llama3`` only those of long waves, with a smooth
        passage (Llama 3.1's); ``yarn`` likewise, with a passage that is straight in the channel (Peng et al. 2023,
        arXiv 2309.00071).
      factor: the stretch.
      low_freq_factor: llama3: waves longer than ``original_context / low_freq_factor`` are stretched in full.
      high_freq_factor: llama3: waves shorter than ``original_context / high_freq_factor`` are left alone.
      original_context: llama3, yarn: the context of pretraining in tokens.
      beta_fast: yarn: waves that turn at least so often in the original context are left alone.
      beta_slow: yarn: waves that turn at most so often in it are stretched in full.
      truncate: yarn: the passage begins and ends at whole channels.
      attention_factor: yarn: what cosines and sines are multiplied by.
    """

    kind: str
    factor: float
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_context: int = 8192
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True
    attention_factor: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in ("linear", "llama3", "yarn"):
            raise ValueError(f"rope_scaling.kind = {self.kind!r} is not one of linear, llama3, yarn.")

    def __call__(self, frequencies: Array, theta: float) -> Array:
        """The stretched frequencies, of the shape given; ``theta`` is their base."""
        if self.kind == "linear":
            return frequencies / self.factor
        if self.kind == "yarn":
            kept = 1 - self._passage(len(frequencies), theta).astype(frequencies.dtype)
            return frequencies * (kept + (1 - kept) / self.factor)
        waves_in_context = self.original_context * frequencies / (2 * math.pi)
        kept = (waves_in_context - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor)
        kept = jnp.clip(kept, 0.0, 1.0)
        return frequencies * (kept + (1 - kept) / self.factor)

    def _passage(self, half: int, theta: float) -> Array:
        """How far each of yarn's frequencies is stretched, 0 to 1."""

        def channel(turns: float) -> float:
            return half * math.log(self.original_context / (turns * 2 * math.pi)) / math.log(theta)

        low, high = channel(self.beta_fast), channel(self.beta_slow)
        if self.truncate:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, 2 * half - 1)
        return jnp.clip((jnp.arange(half) - low) / (high - low or 0.001), 0, 1)


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
      mlp_width: hidden width of the gated MLP.
      context: the longest sequence in tokens.
      rope_theta: base of the rotary frequencies.
      norm_eps: added to the mean square in RMSNorm.
      tie_embeddings: the output matrix is the transposed embedding.
      scan_layers: `lax.scan` over the stacked layers in place of a Python loop.
      scan_decode: the same while `sampling` writes tokens, where a loop is several times as fast on a CPU.
      remat: recompute the activations of each half of a layer in the backward pass. XLA's CPU compiler merges the
        recomputation of unrolled layers with the first computation again: there it saves memory with ``scan_layers``
        only, or where XLA_FLAGS has ``--xla_disable_hlo_passes=cse_barrier_expander``.
      remat_keeps: which of `PROJECTIONS` have outputs that ``remat`` keeps all the same: with those that are no half's
        last product, most of the memory is saved and most of the arithmetic not done again.
      qkv_bias: the query, key and value projections have a bias (Qwen2).
      qk_norm: queries and keys are normalised over a head's channels before they are rotated (Qwen3, Gemma 3).
      activation: of the MLP's gate, ``silu`` or ``gelu_tanh``.
      norm_plus_one: a norm multiplies by 1 + scale (Gemma).
      post_norms: each half's output is normalised once more before it is added to the residual stream (Gemma).
      embed_scale: what embeddings are multiplied by on the way in (Gemma: sqrt(width)).
      query_scale: what queries are multiplied by; None for head_dim ** -0.5.
      rope_scaling: of the layers that see everything, and of sliding ones that have no ``local_rope_theta``.
      sliding_window: how many tokens a sliding layer sees, the current one included.
      sliding_layers: for every layer, whether it slides; empty where none does.
      local_rope_theta: ``rope_theta`` of sliding layers, which are then not stretched; None for the others' settings.
      loss_chunk: positions whose logits are alive at once in `token_log_probs` and its derivatives; None for all.
      dtype: of the activations and products; None for the parameters'. Norms and log-probabilities are float32 at
        least.
      param_dtype: of the parameters.
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
    scan_decode: bool = False
    remat: bool = False
    remat_keeps: tuple[str, ...] = ()
    qkv_bias: bool = False
    qk_norm: bool = False
    activation: str = "silu"
    norm_plus_one: bool = False
    post_norms: bool = False
    embed_scale: float = 1.0
    query_scale: float | None = None
    rope_scaling: RopeScaling | None = None
    sliding_window: int | None = None
    sliding_layers: tuple[bool, ...] = ()
    local_rope_theta: float | None = None
    loss_chunk: int | None = None
    dtype: str | None = None
    param_dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.heads % self.kv_heads:
            raise ValueError(
                f"model.kv_heads = {self.kv_heads} does not divide model.heads = {self.heads}: choose a divisor."
            )
        if self.head_dim % 2:
            raise ValueError(f"model.head_dim = {self.head_dim} is odd, but RoPE rotates pairs: choose an even number.")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"model.activation = {self.activation!r} is not one of {', '.join(ACTIVATIONS)}.")
        unknown = set(self.remat_keeps) - set(PROJECTIONS)
        if unknown or isinstance(self.remat_keeps, str):
            raise ValueError(
                f"model.remat_keeps = {self.remat_keeps!r}: give a list of projections among {', '.join(PROJECTIONS)}."
            )
        if self.remat_keeps and not self.remat:
            raise ValueError(
                f"model.remat_keeps = {self.remat_keeps!r} without model.remat, where all is kept: set model.remat, or "
                "leave remat_keeps empty."
            )
        if self.sliding_layers and (len(self.sliding_layers) != self.layers or self.sliding_window is None):
            raise ValueError(
                f"model.sliding_layers has {len(self.sliding_layers)} entries and model.sliding_window is "
                f"{self.sliding_window}: give one entry for each of the {self.layers} layers, and a window."
            )


class KVCache(NamedTuple):
    """Keys and values of the tokens seen so far, and their positions.

    A slot is not a position: the tokens of a call all go to the same slots, whatever their positions, so that one
    slice is written for the whole batch.

    Attributes:
      keys: rotated keys, [B, G, S, C] for each layer: a tuple of L arrays, or one array [L, ...] with ``scan_layers``.
      values: the same.
      positions_BxS: int32 position of the token in each slot; `UNSEEN` where there is none.
    """

    keys: PyTree
    values: PyTree
    positions_BxS: Array


class _View(NamedTuple):
    """What a kind of layer sees: cosines and sines, [B, T, 1, C / 2] each, and what to add to the scores."""

    cos: Array
    sin: Array
    mask_Bx1x1xTxS: Array


def init_cache(config: ModelConfig, batch: int, slots: int, dtype: Any = jnp.float32) -> KVCache:
    """An empty cache for ``batch`` sequences of up to ``slots`` tokens."""
    shape = (batch, config.kv_heads, slots, config.head_dim)

    def empty() -> PyTree:
        if config.scan_layers:
            return jnp.zeros((config.layers, *shape), dtype)
        return tuple(jnp.zeros(shape, dtype) for _ in range(config.layers))

    return KVCache(empty(), empty(), jnp.full((batch, slots), UNSEEN, jnp.int32))


def rotation(
    positions_BxT: Array, channels: int, theta: float, dtype: Any, scaling: RopeScaling | None = None
) -> tuple[Array, Array]:
    """Cosines and sines of the rotary angles, [B, T, 1, channels / 2] each: the same for every layer of a kind."""
    half = channels // 2
    frequencies = theta ** (-jnp.arange(half, dtype=dtype) / half)
    if scaling is not None:
        frequencies = scaling(frequencies, theta)
    angles = positions_BxT[..., None, None].astype(dtype) * frequencies
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    if scaling is not None and scaling.attention_factor != 1.0:
        cos, sin = cos * scaling.attention_factor, sin * scaling.attention_factor
    return cos, sin


def rotate(x_BxTxHxC: Array, cos: Array, sin: Array) -> Array:
    """Rotary position embedding in the half-split layout (Su et al. 2021, arXiv 2104.09864, eq. 34)."""
    first, second = jnp.split(x_BxTxHxC, 2, axis=-1)
    rotated = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return rotated.astype(x_BxTxHxC.dtype)


class RMSNorm(nn.Module):
    """Root-mean-square normalisation with a learned scale (Zhang & Sennrich 2019, arXiv 1910.07467)."""

    eps: float
    plus_one: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Normalise the last axis."""
        initial = nn.initializers.zeros if self.plus_one else nn.initializers.ones
        return normalize(x, self.param("scale", initial, (x.shape[-1],)), self.eps, self.plus_one)


def normalize(x: Array, scale: Array, eps: float, plus_one: bool) -> Array:
    """``x`` [..., D] over its root mean square, times ``scale`` [D]; computed in float32 at least."""
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    wide = wide * jax.lax.rsqrt(jnp.mean(wide * wide, axis=-1, keepdims=True) + eps)
    return (wide * (1 + scale if plus_one else scale)).astype(x.dtype)


class Linear(nn.Module):
    """y = x W (+ bias), plus (x A) B where an adapter gives A and B (LoRA, Hu et al. 2021, arXiv 2106.09685, eq. 3)."""

    features: int
    bias: bool = False

    @nn.compact
    def __call__(self, x: Array, lora: dict[str, Array] | None = None) -> Array:
        """[B, ..., D_in] to [B, ..., features].

        ``lora`` is ``{"a": [D_in, R], "b": [R, features]}``, or with a leading axis P that divides B: consecutive
        B / P rows then share one of P adapters.
        """
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (x.shape[-1], self.features)).astype(x.dtype)
        # As two-dimensional products: with more axes, XLA's CPU compiler fuses the transposition in the gradient of
        # ``b`` with whatever made the cotangent, and that fusion took a third of a training step.
        x_NxD = x.reshape(-1, x.shape[-1])
        y = x_NxD @ kernel
        if self.bias:
            y = y + self.param("bias", nn.initializers.zeros, (self.features,)).astype(x.dtype)
        if lora is not None:
            # Two thin products, never W + A B: the merged matrix would be one full weight a problem.
            a, b = (lora[name].astype(x.dtype) for name in ("a", "b"))
            x_by_adapter = x_NxD if a.ndim == 2 else x.reshape(a.shape[0], -1, x.shape[-1])
            y = y + ((x_by_adapter @ a) @ b).reshape(y.shape)
        return checkpoint_name(y.reshape(*x.shape[:-1], self.features), str(self.name))


class Attention(nn.Module):
    """The first half of a pre-norm layer: attention, added to the residual stream."""

    config: ModelConfig

    @nn.compact
    def __call__(
        self,
        x_BxTxD: Array,
        view: _View,
        lora: dict[str, Any],
        cache: tuple[Array, Array] | None,
        slot: Array | int,
    ) -> tuple[Array, tuple[Array, Array] | None]:
        """See `forward`; one layer's slices of parameters, adapter and cache."""
        c = self.config
        batch, length, _ = x_BxTxD.shape
        norm = partial(RMSNorm, c.norm_eps, c.norm_plus_one)
        h = norm(name="attention_norm")(x_BxTxD)
        q = Linear(c.heads * c.head_dim, c.qkv_bias, name="q_proj")(h, lora.get("q_proj"))
        k = Linear(c.kv_heads * c.head_dim, c.qkv_bias, name="k_proj")(h, lora.get("k_proj"))
        v = Linear(c.kv_heads * c.head_dim, c.qkv_bias, name="v_proj")(h, lora.get("v_proj"))
        q = q.reshape(batch, length, c.heads, c.head_dim)
        k = k.reshape(batch, length, c.kv_heads, c.head_dim)
        v = v.reshape(batch, length, c.kv_heads, c.head_dim)
        if c.qk_norm:
            q, k = norm(name="q_norm")(q), norm(name="k_norm")(k)
        q = rotate(q, view.cos, view.sin) * (c.head_dim**-0.5 if c.query_scale is None else c.query_scale)
        # Heads before slots: a product over a cache in the other order would transpose all of it for every token.
        k, v = rotate(k, view.cos, view.sin).swapaxes(1, 2), v.swapaxes(1, 2)
        if cache is not None:
            k = jax.lax.dynamic_update_slice_in_dim(cache[0], k.astype(cache[0].dtype), slot, axis=2)
            v = jax.lax.dynamic_update_slice_in_dim(cache[1], v.astype(cache[1].dtype), slot, axis=2)
            cache = (k, v)

        q = q.reshape(batch, length, c.kv_heads, c.heads // c.kv_heads, c.head_dim).transpose(0, 2, 3, 1, 4)
        # Heads before tokens: batched products of matrices as they lie. In another order XLA's CPU compiler transposes
        # them, and a token's attention over its cache takes twice as long.
        wide = jnp.promote_types(q.dtype, jnp.float32)
        scores = jnp.einsum("bghtc,bgsc->bghts", q, k, preferred_element_type=wide) + view.mask_Bx1x1xTxS
        # The softmax's division comes after the product with the values: its derivatives are then of size T x C, not
        # T x T. A common shift of the scores cancels, so no gradient need pass through the maximum.
        scores = scores - jax.lax.stop_gradient(jnp.max(scores, axis=-1, keepdims=True))
        shares = jnp.exp(scores)
        totals = jnp.sum(shares, axis=-1, keepdims=True)
        mixed = jnp.einsum("bghts,bgsc->bghtc", shares.astype(v.dtype), v) / totals
        mixed = mixed.astype(x_BxTxD.dtype).transpose(0, 3, 1, 2, 4).reshape(batch, length, c.heads * c.head_dim)
        out = Linear(c.width, name="o_proj")(mixed, lora.get("o_proj"))
        if c.post_norms:
            out = norm(name="attention_post_norm")(out)
        return x_BxTxD + out, cache


class MLP(nn.Module):
    """The second half of a pre-norm layer: a gated MLP (Shazeer 2020, arXiv 2002.05202), added to the residual."""

    config: ModelConfig

    @nn.compact
    def __call__(self, x_BxTxD: Array, lora: dict[str, Any]) -> Array:
        """See `forward`; one layer's slices of parameters and adapter."""
        c = self.config
        norm = partial(RMSNorm, c.norm_eps, c.norm_plus_one)
        h = norm(name="mlp_norm")(x_BxTxD)
        gate = Linear(c.mlp_width, name="gate_proj")(h, lora.get("gate_proj"))
        up = Linear(c.mlp_width, name="up_proj")(h, lora.get("up_proj"))
        down = Linear(c.width, name="down_proj")(ACTIVATIONS[c.activation](gate) * up, lora.get("down_proj"))
        if c.post_norms:
            down = norm(name="mlp_post_norm")(down)
        return x_BxTxD + down


def init(config: ModelConfig, key: Array) -> Params:
    """Random parameters: ``embed`` [V, D], ``layers`` (stacked along L), ``final_norm`` [D], ``unembed``."""
    embed_key, layer_key, head_key = jax.random.split(key, 3)
    x, positions = jnp.zeros((1, 1, config.width)), jnp.zeros((1, 1), jnp.int32)
    view = _View(*rotation(positions, config.head_dim, config.rope_theta, x.dtype), jnp.zeros((1, 1, 1, 1, 1)))

    def init_layer(key: Array) -> Params:
        attention_key, mlp_key = jax.random.split(key)
        return {
            **Attention(config).init(attention_key, x, view, {}, None, 0)["params"],
            **MLP(config).init(mlp_key, x, {})["params"],
        }

    layers = jax.vmap(init_layer)(jax.random.split(layer_key, config.layers))
    params = {
        "embed": jax.random.normal(embed_key, (config.vocab_size, config.width)) * config.width**-0.5,
        "layers": layers,
        "final_norm": (jnp.zeros if config.norm_plus_one else jnp.ones)((config.width,)),
    }
    if not config.tie_embeddings:
        params["unembed"] = jax.random.normal(head_key, (config.width, config.vocab_size)) * config.width**-0.5
    return jax.tree.map(lambda leaf: leaf.astype(config.param_dtype), params)


def forward(
    config: ModelConfig,
    params: Params,
    adapter: PyTree,
    tokens_BxT: Array,
    positions_BxT: Array | None = None,
    cache: KVCache | None = None,
    slot: Array | int = 0,
) -> tuple[Array, KVCache | None]:
    """Run the decoder up to the final norm.

    Args:
      config: the architecture.
      params: as `init` returns them; or with ``layers`` as a tuple of L layers, see `unstack`.
      adapter: as `lora.init` returns it, or None for the base model; a tuple of L layers likewise. Leaves [L, P, ...]
        hold one adapter for each group of B / P consecutive sequences.
      tokens_BxT: int32 token ids; pad on the right.
      positions_BxT: int32; 0, 1, ... where not given. A token at position `UNSEEN` is seen by none.
      cache: where given, the tokens' keys and values are written into its slots ``slot``, ``slot + 1``, ..., and
        attention reads all of it.
      slot: where in the cache to write; the same for all sequences.

    Returns:
      Hidden states [B, T, D] after the final norm, and the cache with the new tokens in it (None if none was given).

    Raises:
      ValueError: if the sequence is longer than ``config.context``.
    """
    length = tokens_BxT.shape[1]
    reach = length if cache is None else cache.positions_BxS.shape[1]
    if reach > config.context:
        raise ValueError(
            f"a sequence of {reach} tokens exceeds the model's context of {config.context}: shorten the prompt or the "
            "completion, or train a base with a larger model.context."
        )
    if positions_BxT is None:
        positions_BxT = jnp.arange(length)[None]
    # Where it is kept for the backward pass, the residual stream's channels are split: it is what takes the memory.
    stream = partial(_stream, TENSOR if config.remat and cache is None else None)
    x = stream(partition.gathered({"embed": params["embed"]})["embed"][tokens_BxT])
    if config.dtype is not None:
        x = x.astype(config.dtype)
    if config.embed_scale != 1.0:
        x = x * jnp.asarray(config.embed_scale, x.dtype)
    seen_BxS = positions_BxT
    if cache is not None:
        seen_BxS = jax.lax.dynamic_update_slice_in_dim(
            cache.positions_BxS, jnp.broadcast_to(positions_BxT, tokens_BxT.shape), slot, axis=1
        )
    views = _views(config, positions_BxT, seen_BxS, x.dtype)

    def attention(x: Array, view: _View, layer_params: Params, lora: PyTree, kv: tuple[Array, Array] | None) -> Any:
        return Attention(config).apply({"params": gathered(layer_params)}, x, view, lora, kv, slot)

    def mlp(x: Array, layer_params: Params, lora: PyTree) -> Any:
        return MLP(config).apply({"params": gathered(layer_params)}, x, lora)

    # Inside what is recomputed: gathered matrices of all layers would else be kept for the backward pass.
    gathered = partial(partition.gathered, prefix="layers")

    if config.remat:
        # By halves: never are the activations of both alive, for one more residual stream a layer and no more work.
        policy = jax.checkpoint_policies.save_only_these_names(*config.remat_keeps)
        attention, mlp = jax.checkpoint(attention, policy=policy), jax.checkpoint(mlp, policy=policy)

    def layer(x: Array, inputs: tuple) -> tuple[Array, Any]:
        layer_params, lora, kv, slides = inputs
        x, kv = attention(x, _pick(views, slides), layer_params, lora, kv)
        return stream(mlp(stream(x), layer_params, lora)), kv

    slides = config.sliding_layers or (False,) * config.layers
    kv: Any = None if cache is None else (cache.keys, cache.values)
    if config.scan_layers:
        flags = jnp.asarray(slides) if len(views) > 1 else None
        x, kv = jax.lax.scan(layer, x, (params["layers"], adapter or {}, kv, flags))
    else:
        kvs = []
        for i in range(config.layers):
            own, lora = _layer(params["layers"], i), _layer(adapter or {}, i)
            x, one = layer(x, (own, lora, None if kv is None else (kv[0][i], kv[1][i]), slides[i]))
            kvs.append(one)
        kv = None if cache is None else tuple(zip(*kvs, strict=True))
    hidden = normalize(x, params["final_norm"], config.norm_eps, config.norm_plus_one)
    return hidden, (None if kv is None else KVCache(kv[0], kv[1], seen_BxS))


def unstack(config: ModelConfig, params: Params) -> Params:
    """``params`` with ``layers`` as a tuple of L layers, for repeated calls of an unrolled `forward`.

    A slice of a stack is a copy; a loop over tokens would make it again for every token.
    """
    return params | {"layers": tuple(_layer(params["layers"], i) for i in range(config.layers))}


def logits(config: ModelConfig, params: Params, hidden_BxTxD: Array) -> Array:
    """Next-token logits [..., V] of hidden states, of their dtype."""
    name = "embed" if config.tie_embeddings else "unembed"
    matrix = partition.gathered({name: params[name]})[name].astype(hidden_BxTxD.dtype)
    found = hidden_BxTxD @ (matrix.T if config.tie_embeddings else matrix)
    return partition.constrain(found, *(P.UNCONSTRAINED,) * (found.ndim - 1), TENSOR)


def token_log_probs(config: ModelConfig, params: Params, adapter: PyTree, tokens_BxT: Array) -> Array:
    """Log p(token_t | tokens before t), float32 or wider, [B, T - 1], for t = 1 .. T - 1."""
    hidden_BxTxD, _ = forward(config, params, adapter, tokens_BxT[:, :-1])
    return target_log_probs(
        lambda hidden: logits(config, params, hidden), hidden_BxTxD, tokens_BxT[:, 1:], config.loss_chunk
    )


def _stream(channels: str | None, x_BxTxD: Array) -> Array:
    """The residual stream: sequences may be split over devices, tokens are not, and channels over the axis given."""
    return partition.constrain(x_BxTxD, P.UNCONSTRAINED, None, channels)


def _views(config: ModelConfig, positions_BxT: Array, seen_BxS: Array, dtype: Any) -> tuple[_View, ...]:
    """What layers of each kind need: those that see everything, then those that slide, if any do."""
    wide = jnp.promote_types(dtype, jnp.float32)
    distance_BxTxS = positions_BxT[..., None] - seen_BxS[:, None, :]
    visible = distance_BxTxS >= 0

    def kind(theta: float, scaling: RopeScaling | None, visible_BxTxS: Array) -> _View:
        # Added, not selected: the derivative of an addition is no operation at all.
        mask = jnp.where(visible_BxTxS, 0.0, jnp.finfo(wide).min / 2).astype(wide)[:, None, None]
        return _View(*rotation(positions_BxT, config.head_dim, theta, wide, scaling), mask)

    everything = kind(config.rope_theta, config.rope_scaling, visible)
    if config.sliding_window is None or not any(config.sliding_layers):
        return (everything,)
    near = visible & (distance_BxTxS < config.sliding_window)
    if config.local_rope_theta is None:
        return everything, kind(config.rope_theta, config.rope_scaling, near)
    return everything, kind(config.local_rope_theta, None, near)


def _pick(views: tuple[_View, ...], slides: Array | bool | None) -> _View:
    if len(views) == 1:
        return views[0]
    if isinstance(slides, bool):
        return views[slides]
    return jax.tree.map(partial(jnp.where, slides), views[1], views[0])


def _layer(stack: PyTree, i: int) -> PyTree:
    return stack[i] if isinstance(stack, tuple) else jax.tree.map(lambda leaf: leaf[i], stack)
