"""Texts to padded arrays, and the log-probabilities of what stands in them."""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import chex
import jax
import jax.numpy as jnp
import numpy as np

from mass_jax.errors import InputError
from mass_jax.models import decoder
from mass_jax.models.config import ModelConfig
from mass_jax.models.cross_entropy import OWN, Draw
from mass_jax.models.sampling import bucket
from mass_jax.parallel import hosts
from mass_jax.tasks.base import Piece, Task, UsesTools
from mass_jax.types import AnyArray, Array, Params, PyTree, Sequences, Tokenizer

Continuation: TypeAlias = str | Sequence[Piece]
"""What stands behind a context: the model's own text, or a text of which parts are not."""


class PracticeArrays(NamedTuple):
    """What compiled programs read of the practice of P problems.

    Attributes:
      written: what the generator read and wrote, [P, M, T]; the target is what it wrote. All padding where nobody did.
      checks: verification questions with their targets, [P, M, C, T].
      examples: what the inner update trains on, [P, M, T].
      valid_PxM: bool; False for malformed examples, which count for nothing.
    """

    written: Sequences
    checks: Sequences
    examples: Sequences
    valid_PxM: AnyArray


def solution(task: Task, text: str) -> Continuation:
    """A solution as `pack` takes it: where tools wrote parts of it, in pieces."""
    return task.pieces(text) if isinstance(task, UsesTools) else text


def pack(
    tokenizer: Tokenizer, texts: Sequence[tuple[str, Continuation]], length: int, what: str, *, end: bool = True
) -> Sequences:
    """BOS (if there is one), context, target, EOS, for every (context, target); arrays [B, T] on the host.

    Args:
      tokenizer: turns words to ids.
      texts: pairs of context and target; of a target in pieces, those that are not the model's own are not predicted.
      length: T.
      what: the name of ``length`` for the error.
      end: whether the target ends with EOS.

    Raises:
      InputError: if a sequence is longer than ``length``.
    """
    tokens = np.full((len(texts), length), tokenizer.pad_id, np.int32)
    target = np.zeros((len(texts), length), bool)
    for row, (context, continuation) in enumerate(texts):
        head, tail, own = _encode(tokenizer, context, continuation, end)
        ids = head + tail
        if len(ids) > length:
            text = continuation if isinstance(continuation, str) else "".join(piece.text for piece in continuation)
            raise InputError(
                f"{context!r} followed by {text!r} takes {len(ids)} tokens, but {what} = {length}: raise "
                "it, or leave such problems out."
            )
        tokens[row, : len(ids)] = ids
        target[row, len(head) : len(ids)] = own
    return Sequences(tokens, target)


def fits(tokenizer: Tokenizer, context: str, continuation: Continuation, length: int, *, end: bool = True) -> bool:
    """Whether `pack` would take the pair."""
    return taken(tokenizer, context, continuation, end=end) <= length


def taken(tokenizer: Tokenizer, context: str, continuation: Continuation, *, end: bool = True) -> int:
    """How many tokens `pack` would fill with the pair."""
    head, tail, _ = _encode(tokenizer, context, continuation, end)
    return len(head) + len(tail)


def pack_prompts(tokenizer: Tokenizer, prompts: Sequence[str], limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Prompts to int32 [B, T] and their lengths [B]; T is the smallest `bucket` that holds them. Errors as `pack`."""
    lengths = np.array([len(encode_prompt(tokenizer, prompt)) for prompt in prompts], np.int32)
    length = min(bucket(hosts.largest(lengths.max()), limit), limit)
    packed = pack(tokenizer, [(prompt, "") for prompt in prompts], length, "lengths.prompt", end=False)
    return np.asarray(packed.tokens), lengths


def join(prompts: np.ndarray, lengths: np.ndarray, completions: np.ndarray, mask: np.ndarray) -> Sequences:
    """Prompts [P, T] with sampled completions [P, S, T'] as sequences [P, S, T + T'] whose target is the completion."""
    problems, samples, new = completions.shape
    tokens = np.zeros((problems, samples, prompts.shape[1] + new), np.int32)
    target = np.zeros(tokens.shape, bool)
    tokens[:, :, : prompts.shape[1]] = prompts[:, None]
    for i, start in enumerate(lengths):
        # Directly behind the prompt's last real token, over its padding, as the model wrote it.
        tokens[i, :, start : start + new] = completions[i]
        target[i, :, start : start + new] = mask[i]
    return Sequences(tokens, target)


def target_log_probs(
    config: ModelConfig, params: Params, adapter: PyTree, sequences: Sequences, draw: Draw = OWN
) -> tuple[Array, Array]:
    """Sum of log p(token | before) over each sequence's target, and the number of target tokens; both float [B].

    The probabilities are those that tokens have if they are drawn as ``draw`` says.
    """
    chex.assert_rank(sequences.tokens, 2)
    chex.assert_equal_shape(sequences)
    log_probs = decoder.token_log_probs(config, params, adapter, jnp.asarray(sequences.tokens), draw)
    # Log-probabilities begin at the second token: nothing predicts the first.
    target = sequences.target[:, 1:].astype(log_probs.dtype)
    return jnp.sum(log_probs * target, axis=-1), jnp.sum(target, axis=-1)


def completion_log_probs(
    config: ModelConfig, params: Params, sequences: Sequences, new: int, draw: Draw = OWN
) -> Array:
    """`target_log_probs` of sequences [P, S, T] whose S rows continue one prompt, which is read once; float [P, S].

    Args:
      config: the architecture.
      params: its parameters.
      sequences: as `join` makes them.
      new: T' there, the tokens that a target may have at most.
      draw: how tokens are drawn.
    """
    chex.assert_rank(sequences.tokens, 3)
    chex.assert_equal_shape(sequences)
    tokens, target = jax.tree.map(jnp.asarray, sequences)
    lengths_P = jnp.argmax(jnp.any(target, axis=1), axis=-1).astype(jnp.int32)
    behind = (lengths_P[:, None] + jnp.arange(new))[:, None]
    tokens_PxSxN, target_PxSxN = (jnp.take_along_axis(leaf, behind, axis=-1) for leaf in (tokens, target))
    prompts = tokens[:, 0, : tokens.shape[-1] - new]
    log_probs = decoder.completion_log_probs(config, params, prompts, lengths_P, tokens_PxSxN, draw)
    return jnp.sum(log_probs * target_PxSxN, axis=-1)


def mean_log_probs(config: ModelConfig, params: Params, adapter: PyTree, sequences: Sequences) -> Array:
    """Mean log-probability of each sequence's target tokens, float [B]; 0 where there is no target."""
    total, count = target_log_probs(config, params, adapter, sequences)
    return total / jnp.maximum(count, 1)


def encode_prompt(tokenizer: Tokenizer, text: str) -> list[int]:
    """The ids of what a model reads: BOS (if there is one), and the text."""
    return ([] if tokenizer.bos_id is None else [tokenizer.bos_id]) + tokenizer.encode(text)


def _encode(
    tokenizer: Tokenizer, context: str, continuation: Continuation, end: bool
) -> tuple[list[int], list[int], list[bool]]:
    """The ids of the context and of what follows it, and which of the latter are the model's own."""
    pieces = [Piece(continuation, True)] if isinstance(continuation, str) else continuation
    encoded = [(tokenizer.encode(text), own) for text, own in pieces] + [([tokenizer.eos_id] * end, True)]
    tail = [(token, own) for ids, own in encoded for token in ids]
    return encode_prompt(tokenizer, context), [token for token, _ in tail], [own for _, own in tail]
