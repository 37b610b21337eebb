"""How the un-adapted model goes on after a text, and how likely every token is: what ``echo`` and ``logprobs`` show."""

import dataclasses
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mass_jax.errors import InputError
from mass_jax.mass.actor import Actor
from mass_jax.mass.packing import encode_prompt
from mass_jax.models import decoder
from mass_jax.models.sampling import Prompts, SamplingSpec, bucket, sample
from mass_jax.types import Array, Tokenizer

TOP = 5
"""Likeliest tokens that are told at every place; the most that OpenAI's interface can ask for."""


@dataclasses.dataclass(frozen=True)
class Continue:
    """A text to go on after.

    Attributes:
      ids: of its tokens, at least one.
      new: the most tokens to write; 0 for none.
      padded: lengths that ``ids`` and ``new`` are padded to.
      scored: tell how likely every token is.
    """

    ids: tuple[int, ...]
    new: int
    padded: tuple[int, int]
    scored: bool

    @property
    def together(self) -> Hashable:
        """Those of one batch have the same shapes, so that each comes out the same, whatever it is asked with."""
        return Continue, self.padded, self.scored


class Continued(NamedTuple):
    """What came of it.

    Attributes:
      ids: what was written, a token that ended it not included.
      ended: by such a token; else it had as many as were asked for.
      log_probs: of every token of text and continuation; None of the first, which nothing predicts. Empty where it was
        not asked for.
      top: the likeliest tokens of each place with their log-probabilities, best first.
    """

    ids: tuple[int, ...]
    ended: bool
    log_probs: tuple[float | None, ...] = ()
    top: tuple[tuple[tuple[int, float], ...], ...] = ()


def asked(actor: Actor, prompt: str | tuple[int, ...], new: int | None, scored: bool) -> Continue:
    """What a request asks for.

    Args:
      actor: the model.
      prompt: a text, which is read after the BOS token where the model has one; or ids, which are read as they are.
      new: the most tokens to write; None for as many as answers have, or as the context leaves.
      scored: tell how likely every token is.

    Raises:
      InputError: the model cannot read it, or its context does not hold it.
    """
    tokenizer, context = actor.tokenizer, actor.method.model.context
    try:
        ids = tuple(encode_prompt(tokenizer, prompt) if isinstance(prompt, str) else prompt)
    except ValueError as error:
        raise InputError(f"the prompt cannot be read: {error}") from None
    ids = ids or (tokenizer.eos_id,)  # a model has to read something
    if max(ids) >= tokenizer.vocab_size:
        raise InputError(f"the prompt has token {max(ids)}: give ids from 0 to {tokenizer.vocab_size - 1}.")
    room = context - len(ids)
    chosen = max(0, min(actor.method.lengths.solution, room)) if new is None else new
    if room < chosen or (chosen == 0 and not scored):
        raise InputError(
            f"the prompt has {len(ids)} tokens and max_tokens = {chosen}, but the model's context holds {context}: "
            "shorten the prompt, or ask for fewer."
            if room < chosen
            else f"max_tokens = {chosen} asks for nothing: give 1 or more, or echo with logprobs."
        )
    return Continue(ids, chosen, _padded(len(ids), chosen, context), scored)


def _padded(length: int, new: int, context: int) -> tuple[int, int]:
    written = bucket(new, context - length) if new else 0
    return bucket(length, context - written), written


def continued(actor: Actor, rows: Sequence[Continue], size: int) -> list[Continued]:
    """Goes on after every text, greedily.

    Args:
      actor: the un-adapted model.
      rows: what goes together, at most ``size``.
      size: rows of a batch, which is filled up.
    """
    filled = [*rows, *[rows[0]] * (size - len(rows))]
    written = _written(actor, filled) if rows[0].padded[1] else [((), False)] * size
    found = [Continued(*_cut(ids, ended, row.new)) for row, (ids, ended) in zip(filled, written, strict=True)]
    if rows[0].scored:
        found = _scored(actor, filled, found)
    return found[: len(rows)]


def _cut(ids: tuple[int, ...], ended: bool, new: int) -> tuple[tuple[int, ...], bool]:
    """The first ``new`` tokens: a greedy text is the same, whatever more is written."""
    return ids[:new], ended and len(ids) < new


def _written(actor: Actor, rows: Sequence[Continue]) -> list[tuple[tuple[int, ...], bool]]:
    tokenizer, (length, new) = actor.tokenizer, rows[0].padded
    tokens_PxT = _filled([row.ids for row in rows], length, tokenizer.pad_id)
    prompts = Prompts(tokens_PxT, np.array([len(row.ids) for row in rows], np.int32))
    spec = SamplingSpec(1, new, 0.0, stop_ids=tokenizer.stop_ids, pad_id=tokenizer.pad_id)
    drawn = sample(actor.method.model, actor.params, None, prompts, jax.random.key(0), spec, adapter_per_problem=False)
    found = []
    for tokens_T, mask_T in zip(np.asarray(drawn.tokens_PxSxT)[:, 0], np.asarray(drawn.mask_PxSxT)[:, 0], strict=True):
        ids = tokens_T[mask_T].tolist()
        ended = bool(ids) and ids[-1] in tokenizer.stop_ids
        found.append((tuple(ids[:-1] if ended else ids), ended))
    return found


def _scored(actor: Actor, rows: Sequence[Continue], found: Sequence[Continued]) -> list[Continued]:
    whole = [row.ids + each.ids for row, each in zip(rows, found, strict=True)]
    tokens_PxT = _filled(whole, sum(rows[0].padded), actor.tokenizer.pad_id)
    scores = [np.asarray(each) for each in _scores(actor, jnp.asarray(tokens_PxT))]
    told = []
    for each, ids, chosen_T, values_TxN, top_TxN in zip(found, whole, *scores, strict=True):
        end = len(ids) - 1
        top = [tuple(zip(*pair, strict=True)) for pair in zip(top_TxN.tolist(), values_TxN.tolist(), strict=True)]
        told.append(each._replace(log_probs=(None, *chosen_T[:end].tolist()), top=((), *top[:end])))
    return told


@jax.jit
def _scores(actor: Actor, tokens_PxT: Array) -> tuple[Array, Array, Array]:
    """Log-probabilities of all tokens but the first, [P, T - 1]; the largest of each place, and whose they are."""
    model = actor.method.model
    hidden_PxTxD, _ = decoder.forward(model, actor.params, None, tokens_PxT[:, :-1])

    def one(given: tuple[Array, Array]) -> tuple[Array, Array, Array]:
        hidden_TxD, next_T = given
        log_probs_TxV = jax.nn.log_softmax(decoder.logits(model, actor.params, hidden_TxD).astype(jnp.float32))
        chosen_T = jnp.take_along_axis(log_probs_TxV, next_T[:, None], axis=-1)[:, 0]
        return chosen_T, *jax.lax.top_k(log_probs_TxV, min(TOP, log_probs_TxV.shape[-1]))

    return jax.lax.map(one, (hidden_PxTxD, tokens_PxT[:, 1:]))  # one by one: logits of all would be large


def _filled(rows: Sequence[Sequence[int]], length: int, pad_id: int) -> np.ndarray:
    tokens = np.full((len(rows), length), pad_id, np.int32)
    for i, row in enumerate(rows):
        tokens[i, : len(row)] = row
    return tokens


def piece(tokenizer: Tokenizer, before: int | None, token: int) -> str:
    """What a token adds to a text that ends with the token before it: a space between words is part of it."""
    if before is None:
        return tokenizer.decode([token])
    return tokenizer.decode([before, token])[len(tokenizer.decode([before])) :]
