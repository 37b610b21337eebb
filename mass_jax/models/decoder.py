"""A decoder-only transformer as pure functions: the block of Llama, Qwen and Gemma, by configuration.

RoPE, RMSNorm, a gated MLP and grouped-query attention; biases, query-key norms, further norms and sliding windows where
a family has them. `pretrained/families.py` says which family sets what.

The parameters of all layers are stacked along a leading axis L, so that one layer can be looped over in Python
(faster on a CPU, and readable under a debugger) or scanned (one compilation for any depth): `ModelConfig.scan_layers`.
An adapter is a separate pytree that is never merged into the parameters (see `lora.py`). Nothing here uses a fused
kernel: every operation has a jvp of its vjp, which the meta-gradient needs.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from mass_jax.models import sharding
from mass_jax.models.attention import (
    UNSEEN,
    Attention,
    KVCache,
    Linear,
    RMSNorm,
    View,
    init_cache,
    normalize,
    pick,
    repeat_cache,
    rotation,
    views,
)
from mass_jax.models.config import ACTIVATIONS, ModelConfig
from mass_jax.models.cross_entropy import OWN, Draw, target_log_probs
from mass_jax.parallel import partition
from mass_jax.parallel.partition import TENSOR, P
from mass_jax.types import Array, Params, PyTree


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
    view = View(*rotation(positions, config.head_dim, config.rope_theta, x.dtype), jnp.zeros((1, 1, 1, 1, 1)))

    def init_layer(key: Array) -> Params:
        attention_key, mlp_key = jax.random.split(key)
        return {
            **Attention(config).init(attention_key, x, view, {}, None, 0)["params"],
            **MLP(config).init(mlp_key, x, {})["params"],
        }

    # One key a layer: each leaf gets the leading axis L.
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
    stream = partial(_stream, TENSOR if config.remat and length > 1 else None)
    x = stream(sharding.gathered({"embed": params["embed"]})["embed"][tokens_BxT])
    if config.dtype is not None:
        x = x.astype(config.dtype)
    if config.embed_scale != 1.0:
        x = x * jnp.asarray(config.embed_scale, x.dtype)
    seen_BxS = positions_BxT
    if cache is not None:
        seen_BxS = jax.lax.dynamic_update_slice_in_dim(
            cache.positions_BxS, jnp.broadcast_to(positions_BxT, tokens_BxT.shape), slot, axis=1
        )
    seen = views(config, positions_BxT, seen_BxS, x.dtype)

    def attention(x: Array, view: View, layer_params: Params, lora: PyTree, kv: tuple[Array, Array] | None) -> Any:
        return Attention(config).apply({"params": gathered(layer_params)}, x, view, lora, kv, slot)

    def mlp(x: Array, layer_params: Params, lora: PyTree) -> Any:
        return MLP(config).apply({"params": gathered(layer_params)}, x, lora)

    # Inside what is recomputed: gathered matrices of all layers would else be kept for the backward pass.
    gathered = partial(sharding.gathered, prefix="layers")

    if config.remat:
        # By halves: never are the activations of both alive, for one more residual stream a layer and no more work.
        policy = jax.checkpoint_policies.save_only_these_names(*config.remat_keeps)
        attention, mlp = jax.checkpoint(attention, policy=policy), jax.checkpoint(mlp, policy=policy)

    def layer(x: Array, inputs: tuple) -> tuple[Array, Any]:
        layer_params, lora, kv, slides = inputs
        x, kv = attention(x, pick(seen, slides), layer_params, lora, kv)
        return stream(mlp(stream(x), layer_params, lora)), kv

    slides = config.sliding_layers or (False,) * config.layers
    kv: Any = None if cache is None else (cache.keys, cache.values)
    if config.scan_layers:
        flags = jnp.asarray(slides) if len(seen) > 1 else None
        # The scan slices L off every leaf: parameters, adapter ([L, P, ...] or [L, ...]), cache and flags.
        x, kv = jax.lax.scan(layer, x, (params["layers"], adapter or {}, kv, flags))
    else:
        kvs = []
        for i in range(config.layers):
            own, lora = _layer(params["layers"], i), _layer(adapter or {}, i)
            x, one = layer(x, (own, lora, None if kv is None else (kv[0][i], kv[1][i]), slides[i]))
            kvs.append(one)
        # From L pairs (keys, values) to a tuple of L keys and one of L values.
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
    matrix = sharding.gathered({name: params[name]})[name].astype(hidden_BxTxD.dtype)
    found = hidden_BxTxD @ (matrix.T if config.tie_embeddings else matrix)
    return partition.constrain(found, *(P.UNCONSTRAINED,) * (found.ndim - 1), TENSOR)


def token_log_probs(config: ModelConfig, params: Params, adapter: PyTree, tokens_BxT: Array, draw: Draw = OWN) -> Array:
    """Log p(token_t | tokens before t), float32 or wider, [B, T - 1], for t = 1 .. T - 1, as tokens are drawn."""
    # The state that has read tokens 0 .. t - 1 predicts token t: inputs lose the last token, targets the first.
    hidden_BxTxD, _ = forward(config, params, adapter, tokens_BxT[:, :-1])
    return target_log_probs(
        lambda hidden: logits(config, params, hidden), hidden_BxTxD, tokens_BxT[:, 1:], config.loss_chunk, draw
    )


def read_prompts(
    config: ModelConfig,
    params: Params,
    adapter: PyTree,
    prompts_PxT: Array,
    lengths_P: Array,
    samples: int,
    new: int,
) -> tuple[Array, KVCache]:
    """Read every prompt once, for ``samples`` continuations of at most ``new`` tokens each.

    Returns:
      The hidden state behind the last token of every prompt, [P, D], and a cache of P · ``samples`` sequences, whose
      last ``new`` slots are free.
    """
    problems, length = prompts_PxT.shape
    slots = jnp.arange(length, dtype=jnp.int32)
    positions = jnp.where(slots < lengths_P[:, None], slots, UNSEEN)
    empty = init_cache(config, problems, length, config.dtype or params["embed"].dtype)
    hidden, cache = forward(config, params, adapter, prompts_PxT, positions, empty)
    assert cache is not None
    # Of each problem the state of its last real token, [P, T, D] to [P, D]: what follows is padding.
    last_PxD = jnp.take_along_axis(hidden, (lengths_P - 1)[:, None, None], axis=1)[:, 0]
    return last_PxD, repeat_cache(cache, samples, new)


def completion_log_probs(
    config: ModelConfig, params: Params, prompts_PxT: Array, lengths_P: Array, tokens_PxSxN: Array, draw: Draw = OWN
) -> Array:
    """What `token_log_probs` says of the N tokens behind a prompt, [P, S, N]; each prompt is read once for its S."""
    problems, samples, new = tokens_PxSxN.shape
    last_PxD, cache = read_prompts(config, params, None, prompts_PxT, lengths_P, samples, new - 1)
    tokens_BxN = tokens_PxSxN.reshape(-1, new)
    positions_BxN = jnp.repeat(lengths_P, samples)[:, None] + jnp.arange(new - 1, dtype=jnp.int32)
    hidden, _ = forward(config, params, None, tokens_BxN[:, :-1], positions_BxN, cache, prompts_PxT.shape[1])
    hidden = jnp.concatenate([jnp.repeat(last_PxD, samples, axis=0)[:, None], hidden], axis=1)
    found = target_log_probs(lambda h: logits(config, params, h), hidden, tokens_BxN, config.loss_chunk, draw)
    return found.reshape(problems, samples, new)


def _stream(channels: str | None, x_BxTxD: Array) -> Array:
    """The residual stream: sequences may be split over devices, tokens are not, and channels over the axis given."""
    return partition.constrain(x_BxTxD, P.UNCONSTRAINED, None, channels)


def _layer(stack: PyTree, i: int) -> PyTree:
    return stack[i] if isinstance(stack, tuple) else jax.tree.map(lambda leaf: leaf[i], stack)
