"""Log-probabilities of given tokens, with the logits of a few positions alive at a time.

Tokens may be drawn at a temperature and from a nucleus (`Draw`). A policy gradient needs log-probabilities under the
distribution that was drawn from: only under that one is the mean of their gradients zero.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from mass_jax.types import Array, PyTree

NUCLEUS_BISECTIONS = 40


class Draw(NamedTuple):
    """How a token is drawn from its logits.

    Attributes:
      temperature: above 0.
      top_p: only the likeliest tokens that together have this probability are drawn; 1 for all.
    """

    temperature: float | Array = 1.0
    top_p: float = 1.0


OWN = Draw()
"""The model's own distribution."""


def target_log_probs(
    logits: Callable[[Array], Array], hidden_BxTxD: Array, targets_BxT: Array, chunk: int | None, draw: Draw = OWN
) -> Array:
    """Log p(target | hidden state), float32 or wider, [B, T].

    Args:
      logits: hidden states [..., D] to logits [..., V].
      hidden_BxTxD: hidden states.
      targets_BxT: int32 token ids.
      chunk: see `map_positions`.
      draw: whose probabilities. A target counts as one of its nucleus: so it has a finite log-probability, even where
        an update has moved it to the edge.
    """

    def log_probs(part: tuple[Array, Array]) -> Array:
        hidden, targets = part
        found = wide(logits(hidden))
        # A comparison fuses with the sum and with its derivatives; a gather's derivative would scatter into N x V.
        chosen = targets[..., None] == jnp.arange(found.shape[-1])
        scores, drawn = tempered(found, draw)
        drawn = scores if drawn is None else jnp.where(drawn | chosen, scores, -jnp.inf)
        return jnp.sum(jnp.where(chosen, scores, 0), axis=-1) - jax.nn.logsumexp(drawn, axis=-1)

    return map_positions(log_probs, (hidden_BxTxD, targets_BxT), chunk)


def tempered(logits: Array, draw: Draw) -> tuple[Array, Array | None]:
    """Scores [..., V] whose softmax over the tokens that may be drawn is their distribution; and which those are.

    Returns:
      The scores, and bool [..., V], without gradient; None for all tokens.
    """
    same = isinstance(draw.temperature, float | int) and draw.temperature == 1
    scores = logits if same else logits / draw.temperature
    if draw.top_p == 1:
        return scores, None
    return scores, _nucleus(jax.nn.softmax(jax.lax.stop_gradient(scores)), draw.top_p)


def _nucleus(probabilities_BxV: Array, top_p: float) -> Array:
    """Bool [..., V]: the likeliest tokens that together reach ``top_p`` (Holtzman et al. 2020, arXiv 1904.09751).

    Their least probability is found by bisection: a sort over the vocabulary would take longer than the layers.
    """

    def halve(_: int, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        # Invariant: the tokens at least as likely as ``low`` have the mass, those at least as likely as ``high`` need
        # not.
        middle = (low + high) / 2
        mass = jnp.sum(jnp.where(probabilities_BxV >= middle, probabilities_BxV, 0), axis=-1, keepdims=True)
        enough = mass >= top_p
        return jnp.where(enough, middle, low), jnp.where(enough, high, middle)

    most = jnp.max(probabilities_BxV, axis=-1, keepdims=True)
    low, _ = jax.lax.fori_loop(0, NUCLEUS_BISECTIONS, halve, (jnp.zeros_like(most), most))
    # At least the likeliest: where it alone has the mass, the bounds meet at its probability from below.
    return probabilities_BxV >= jnp.minimum(low, most)


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
