"""Log-probabilities of given tokens, with the logits of a few positions alive at a time."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from mass_jax.types import Array


def target_log_probs(
    logits: Callable[[Array], Array], hidden_BxTxD: Array, targets_BxT: Array, chunk: int | None
) -> Array:
    """Log p(target | hidden state), float32 or wider, [B, T].

    At short lengths the logits over a large vocabulary, not the layers, are what fills the memory: they are computed
    ``chunk`` positions at a time, and again in every derivative.

    Args:
      logits: hidden states [N, D] to logits [N, V].
      hidden_BxTxD: hidden states.
      targets_BxT: int32 token ids.
      chunk: positions whose logits are alive at once; None for all. The last chunk is padded.
    """
    shape = targets_BxT.shape
    positions = (hidden_BxTxD.reshape(-1, hidden_BxTxD.shape[-1]), targets_BxT.reshape(-1))

    def log_probs(part: tuple[Array, Array]) -> Array:
        hidden_NxD, targets_N = part
        logits_NxV = logits(hidden_NxD)
        logits_NxV = logits_NxV.astype(jnp.promote_types(logits_NxV.dtype, jnp.float32))
        # A comparison fuses with the sum and with its derivatives; a gather's derivative would scatter into N x V.
        chosen = targets_N[:, None] == jnp.arange(logits_NxV.shape[-1])
        return jnp.sum(jnp.where(chosen, logits_NxV, 0), axis=-1) - jax.nn.logsumexp(logits_NxV, axis=-1)

    count = positions[1].size
    if chunk is None or chunk >= count:
        return log_probs(positions).reshape(shape)
    padding = -count % chunk

    def split(leaf: Array) -> Array:
        return jnp.pad(leaf, [(0, padding)] + [(0, 0)] * (leaf.ndim - 1)).reshape(-1, chunk, *leaf.shape[1:])

    chunks = jax.lax.map(jax.checkpoint(log_probs, prevent_cse=False), jax.tree.map(split, positions))
    return chunks.reshape(-1)[:count].reshape(shape)
