"""Answers of problems that name their possible solutions: the likeliest one, as harnesses of benchmarks choose."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from mass_jax.mass import inner
from mass_jax.mass.actor import Actor
from mass_jax.mass.packing import pack, taken, target_log_probs
from mass_jax.models import decoder
from mass_jax.models.cross_entropy import wide
from mass_jax.models.sampling import bucket
from mass_jax.parallel import hosts
from mass_jax.types import Array, PyTree, Sequences


def likeliest(actor: Actor, adapters: PyTree, prompts: Sequence[str], choices: Sequence[Sequence[str]]) -> list[str]:
    """The choice with the largest log-probability after each prompt; of equal ones the first.

    Args:
      actor: the model.
      adapters: one a prompt, or None for the un-adapted model.
      prompts: P texts.
      choices: of each, at least one.
    """
    scores = log_probs(actor, adapters, prompts, choices)
    return [row[int(np.argmax(each))] for row, each in zip(choices, scores, strict=True)]


def log_probs(
    actor: Actor, adapters: PyTree, prompts: Sequence[str], choices: Sequence[Sequence[str]]
) -> list[np.ndarray]:
    """The summed log-probability of each choice's tokens after its prompt, without an end; float [S] of P prompts.

    Where every choice is one token, as a letter is, each prompt is read once for all of them.

    Raises:
      InputError: a prompt with a choice is longer than the model's context.
    """
    tokenizer, limit = actor.tokenizer, actor.method.model.context
    most = hosts.largest(max(map(len, choices)))
    # As many of each, so that one program does them all: where there are fewer, the last one again.
    filled = [[row[min(i, len(row) - 1)] for i in range(most)] for row in choices]
    ids = [[tokenizer.encode(choice) for choice in row] for row in filled]
    single = hosts.largest(max(len(each) for row in ids for each in row)) == 1
    pairs = [
        (prompt, each) for prompt, row in zip(prompts, filled, strict=True) for each in row[: 1 if single else None]
    ]
    longest = hosts.largest(max(taken(tokenizer, *pair, end=False) for pair in pairs))
    packed = pack(tokenizer, pairs, min(bucket(longest, limit), limit), "model.context", end=False)
    shaped = jax.tree.map(lambda leaf: leaf.reshape(len(prompts), -1, leaf.shape[-1]), packed)
    if single:
        ids_PxS = np.array(ids, np.int32)[:, :, 0]
        found = _of_tokens(actor, adapters, *hosts.share((shaped, ids_PxS)))
    else:
        found = _of_texts(actor, adapters, hosts.share(shaped))
    return [each[: len(row)] for row, each in zip(choices, hosts.local(found), strict=True)]


@jax.jit
def _of_texts(actor: Actor, adapters: PyTree, sequences_PxSxT: Sequences) -> Array:
    """Of every target, float [P, S]."""

    def one(adapter: PyTree, sequences_SxT: Sequences) -> Array:
        return target_log_probs(actor.method.model, actor.params, adapter, sequences_SxT)[0]

    return inner.over_problems(actor.method.inner, one, adapters, sequences_PxSxT)


@jax.jit
def _of_tokens(actor: Actor, adapters: PyTree, sequences_Px1xT: Sequences, ids_PxS: Array) -> Array:
    """Of tokens in the place of the target's first, float [P, S]."""
    model = actor.method.model

    def one(adapter: PyTree, sequences_1xT: Sequences, ids_S: Array) -> Array:
        hidden, _ = decoder.forward(model, actor.params, adapter, jnp.asarray(sequences_1xT.tokens))
        before = jnp.argmax(sequences_1xT.target[0]) - 1
        logits = decoder.logits(model, actor.params, hidden[:, before][:, None])
        return jax.nn.log_softmax(wide(logits))[0, 0, ids_S]

    return inner.over_problems(actor.method.inner, one, adapters, sequences_Px1xT, ids_PxS)
