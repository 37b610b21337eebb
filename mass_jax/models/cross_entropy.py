"""Log-probabilities of given tokens, with the logits of a few positions alive at a time."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from mass_jax.types import Array, PyTree


def target_log_probs(
    logits: Callable[[Array], Array], hidden_BxTxD: Array, targets_BxT: Array, chunk: int | None
) -> Array:
    """Log p(target | hidden state), float32 or wider, [B, T].

    Args:
      logits: hidden states [..., D] to logits [..., V].
      hidden_BxTxD: hidden states.
      targets_BxT: int32 token ids.
      chunk: see `map_positions`.
    """

    def log_probs(part: tuple[Array, Array]) -> Array:
        hidden, targets = part
        found = wide(logits(hidden))
        # A comparison fuses with the sum and with its derivatives; a gather's derivative would scatter into N x V.
        chosen = targets[..., None] == jnp.arange(found.shape[-1])
        return jnp.sum(jnp.where(chosen, found, 0), axis=-1) - jax.nn.logsumexp(found, axis=-1)

    return map_positions(log_probs, (hidden_BxTxD, targets_BxT), chunk)


def map_positions(fn: Callable[[PyTree], Array], tree_BxT: PyTree, chunk: int | None) -> Array:
    """``fn`` of arrays [B, T, ...] to one [B, T], where it keeps logits: a few positions at a time.

    At short lengths the logits over a large vocabulary, not the layers, are what fills the memory: they are computed
    for ``chunk`` positions at a time, and again in every derivative. A chunk has positions of every sequence, at least
    one: where sequences are spread over devices, each device has work in every chunk.

    Args:
      fn: of every position on its own.
      tree_BxT: arrays [B, T, ...].
      chunk: positions whose logits are alive at once; None for all. The last chunk is padded.
    """
    batch, length = jax.tree.leaves(tree_BxT)[0].shape[:2]
    each = length if chunk is None else max(1, chunk // batch)
    if each >= length:
        return fn(tree_BxT)

    def split(leaf: Array) -> Array:
        # [B, T, ...] to [chunks, B, each, ...]: T is padded to a multiple of ``each``, and the map goes over chunks.
        padded = jnp.pad(leaf, [(0, 0), (0, -length % each)] + [(0, 0)] * (leaf.ndim - 2))
        return padded.reshape(batch, -1, each, *leaf.shape[2:]).swapaxes(0, 1)

    found = jax.lax.map(jax.checkpoint(fn, prevent_cse=False), jax.tree.map(split, tree_BxT))
    # [chunks, B, each] back to [B, chunks · each], and the padding off.
    return found.swapaxes(0, 1).reshape(batch, -1)[:, :length]


def wide(x: Array) -> Array:
    """``x`` in float32 at least."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
