"""The first half of a decoder's layer: rotary positions, the key-value cache, and grouped-query attention.

Nothing here uses a fused kernel: every operation has a jvp of its vjp, which the meta-gradient needs.
"""

from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from mass_jax.models.config import ModelConfig, RopeScaling
from mass_jax.parallel import partition
from mass_jax.types import Array, PyTree

UNSEEN = jnp.iinfo(jnp.int32).max
"""The position of what no token may attend to: padding, and cache slots that are not written yet."""


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


class View(NamedTuple):
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


def repeat_cache(cache: KVCache, times: int, new_slots: int) -> KVCache:
    """What each of B sequences has read, for ``times`` continuations of each: B becomes B · times, S grows."""

    def grow(leaf: Array, slot_axis: int, value: int) -> Array:
        # Keys and values are [B, G, S, C] or [L, B, G, S, C], positions [B, S].
        leaf = jnp.repeat(leaf, times, axis=leaf.ndim - 4 if leaf.ndim >= 4 else 0)
        widths = [(0, new_slots if axis == slot_axis else 0) for axis in range(leaf.ndim)]
        return jnp.pad(leaf, widths, constant_values=value)

    keys, values = jax.tree.map(lambda leaf: grow(leaf, leaf.ndim - 2, 0), (cache.keys, cache.values))
    return spread_cache(KVCache(keys, values, grow(cache.positions_BxS, 1, UNSEEN)))


def spread_cache(cache: KVCache) -> KVCache:
    """Sequences over the mesh, and the heads of their keys and values."""

    def spread(leaf: Array) -> Array:
        # [B, G, S, C], or with L before it: the last four axes are counted from the right.
        return partition.constrain(leaf, *(None,) * (leaf.ndim - 4), partition.PROBLEMS, partition.TENSOR)

    keys, values = jax.tree.map(spread, (cache.keys, cache.values))
    return KVCache(keys, values, partition.spread(cache.positions_BxS))


def rotation(
    positions_BxT: Array, channels: int, theta: float, dtype: Any, scaling: RopeScaling | None = None
) -> tuple[Array, Array]:
    """Cosines and sines of the rotary angles, [B, T, 1, channels / 2] each: the same for every layer of a kind."""
    half = channels // 2
    frequencies = theta ** (-jnp.arange(half, dtype=dtype) / half)
    if scaling is not None:
        frequencies = scaling(frequencies, theta)
    # [B, T, 1, C / 2]: the axis of one is that of the heads, which all turn by the same angles.
    angles = positions_BxT[..., None, None].astype(dtype) * frequencies
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    if scaling is not None and scaling.attention_factor != 1.0:
        cos, sin = cos * scaling.attention_factor, sin * scaling.attention_factor
    return cos, sin


def rotate(x_BxTxHxC: Array, cos: Array, sin: Array) -> Array:
    """Rotary position embedding in the half-split layout (Su et al. 2021, arXiv 2104.09864, eq. 34)."""
    # Channel c of the first half and channel c of the second are the two coordinates of one rotated plane.
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
    """y = x W (+ bias), plus (x A) B of each adapter (LoRA, Hu et al. 2021, arXiv 2106.09685, eq. 3).

    One may be part of the parameters, see `lora.attach`, and another on top of it.
    """

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
        for adapter in (self.get_variable("params", "lora"), lora):
            if adapter is None:
                continue
            # Two thin products, never W + A B: the merged matrix would be one full weight a problem.
            a, b = (adapter[name].astype(x.dtype) for name in ("a", "b"))
            # For one adapter [B · T, D_in] @ [D_in, R]; for P of them [P, (B / P) · T, D_in] @ [P, D_in, R].
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
        view: View,
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
        # Heads are neighbouring columns of a projection: [B, T, H · C] to [B, T, H, C], and G key-value heads
        # likewise.
        q = q.reshape(batch, length, c.heads, c.head_dim)
        k = k.reshape(batch, length, c.kv_heads, c.head_dim)
        v = v.reshape(batch, length, c.kv_heads, c.head_dim)
        if c.qk_norm:
            q, k = norm(name="q_norm")(q), norm(name="k_norm")(k)
        q = rotate(q, view.cos, view.sin) * (c.head_dim**-0.5 if c.query_scale is None else c.query_scale)
        # Heads before slots: a product over a cache in the other order would transpose all of it for every token.
        # [B, T, G, C] to [B, G, T, C].
        k, v = rotate(k, view.cos, view.sin).swapaxes(1, 2), v.swapaxes(1, 2)
        if cache is not None:
            # The T new tokens replace slots ``slot`` to ``slot + T - 1`` of S; from here on k and v are the whole
            # cache.
            k = jax.lax.dynamic_update_slice_in_dim(cache[0], k.astype(cache[0].dtype), slot, axis=2)
            v = jax.lax.dynamic_update_slice_in_dim(cache[1], v.astype(cache[1].dtype), slot, axis=2)
            cache = (k, v)

        # Query head h reads key-value head h // (H / G): [B, T, H, C] to [B, T, G, H / G, C] to [B, G, H / G, T, C].
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
        # Back to [B, T, G, H / G, C], whose last three axes are the H · C columns that the heads were cut from.
        mixed = mixed.astype(x_BxTxD.dtype).transpose(0, 3, 1, 2, 4).reshape(batch, length, c.heads * c.head_dim)
        out = Linear(c.width, name="o_proj")(mixed, lora.get("o_proj"))
        if c.post_norms:
            out = norm(name="attention_post_norm")(out)
        return x_BxTxD + out, cache


def views(config: ModelConfig, positions_BxT: Array, seen_BxS: Array, dtype: Any) -> tuple[View, ...]:
    """What layers of each kind need: those that see everything, then those that slide, if any do."""
    wide = jnp.promote_types(dtype, jnp.float32)
    # How far token t stands behind the token of slot s: 0 is itself, below 0 is later, `UNSEEN` is far below.
    distance_BxTxS = positions_BxT[..., None] - seen_BxS[:, None, :]
    visible = distance_BxTxS >= 0

    def kind(theta: float, scaling: RopeScaling | None, visible_BxTxS: Array) -> View:
        # Added, not selected: the derivative of an addition is no operation at all.
        mask = jnp.where(visible_BxTxS, 0.0, jnp.finfo(wide).min / 2).astype(wide)[:, None, None]
        return View(*rotation(positions_BxT, config.head_dim, theta, wide, scaling), mask)

    everything = kind(config.rope_theta, config.rope_scaling, visible)
    if config.sliding_window is None or not any(config.sliding_layers):
        return (everything,)
    near = visible & (distance_BxTxS < config.sliding_window)
    if config.local_rope_theta is None:
        return everything, kind(config.rope_theta, config.rope_scaling, near)
    return everything, kind(config.local_rope_theta, None, near)


def pick(views: tuple[View, ...], slides: Array | bool | None) -> View:
    """The view of a layer that slides, or does not; ``slides`` is traced where layers are scanned."""
    if len(views) == 1:
        return views[0]
    if isinstance(slides, bool):
        return views[slides]
    # Both have the same shapes, so that a layer that a scan traces once can be of either kind.
    return jax.tree.map(partial(jnp.where, slides), views[1], views[0])
