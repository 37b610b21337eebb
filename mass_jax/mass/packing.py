"""Texts to padded arrays, and the log-probabilities of what stands in them."""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from mass_jax.models import transformer
from mass_jax.models.tokenizer import WordTokenizer
from mass_jax.models.transformer import ModelConfig
from mass_jax.types import AnyArray, Array, Params, PyTree


class Sequences(NamedTuple):
    """Token sequences, part of which is predicted.

    Attributes:
      tokens: int32 [..., T], padded on the right.
      target: bool [..., T], True for the tokens whose prediction counts; never the first.
    """

    tokens: AnyArray
    target: AnyArray


def pack(
    tokenizer: WordTokenizer, texts: Sequence[tuple[str, str]], length: int, what: str, *, end: bool = True
) -> Sequences:
    """BOS, context, target, EOS, for every (context, target); arrays [B, T] on the host.

    Args:
      tokenizer: turns words to ids.
      texts: pairs of context and target.
      length: T.
      what: the name of ``length`` for the error.
      end: whether the target ends with EOS.

    Raises:
      ValueError: if a sequence is longer than ``length``.
    """
    tokens = np.full((len(texts), length), tokenizer.pad_id, np.int32)
    target = np.zeros((len(texts), length), bool)
    for row, (context, continuation) in enumerate(texts):
        head = [tokenizer.bos_id, *tokenizer.encode(context)]
        ids = head + tokenizer.encode(continuation) + [tokenizer.eos_id] * end
        if len(ids) > length:
            raise ValueError(
                f"{context!r} followed by {continuation!r} takes {len(ids)} tokens, but {what} = {length}: raise "
                "it, or leave such problems out."
            )
        tokens[row, : len(ids)] = ids
        target[row, len(head) : len(ids)] = True
    return Sequences(tokens, target)


def pack_prompts(tokenizer: WordTokenizer, prompts: Sequence[str], length: int) -> tuple[np.ndarray, np.ndarray]:
    """Prompts to int32 [B, T] and their lengths [B]; errors as `pack`."""
    packed = pack(tokenizer, [(prompt, "") for prompt in prompts], length, "lengths.prompt", end=False)
    return np.asarray(packed.tokens), np.array([1 + len(tokenizer.encode(prompt)) for prompt in prompts], np.int32)


def join(prompts: np.ndarray, lengths: np.ndarray, completions: np.ndarray, mask: np.ndarray) -> Sequences:
    """Prompts [P, T] with sampled completions [P, S, T'] as sequences [P, S, T + T'] whose target is the completion."""
    problems, samples, new = completions.shape
    tokens = np.zeros((problems, samples, prompts.shape[1] + new), np.int32)
    target = np.zeros(tokens.shape, bool)
    tokens[:, :, : prompts.shape[1]] = prompts[:, None]
    for i, start in enumerate(lengths):
        tokens[i, :, start : start + new] = completions[i]
        target[i, :, start : start + new] = mask[i]
    return Sequences(tokens, target)


def target_log_probs(config: ModelConfig, params: Params, adapter: PyTree, sequences: Sequences) -> tuple[Array, Array]:
    """Sum of log p(token | before) over each sequence's target, and the number of target tokens; both float [B]."""
    log_probs = transformer.token_log_probs(config, params, adapter, jnp.asarray(sequences.tokens))
    target = sequences.target[:, 1:].astype(log_probs.dtype)
    return jnp.sum(log_probs * target, axis=-1), jnp.sum(target, axis=-1)


def mean_log_probs(config: ModelConfig, params: Params, adapter: PyTree, sequences: Sequences) -> Array:
    """Mean log-probability of each sequence's target tokens, float [B]; 0 where there is no target."""
    total, count = target_log_probs(config, params, adapter, sequences)
    return total / jnp.maximum(count, 1)
