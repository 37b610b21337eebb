"""The generator (docs/method.md, step 1): the model reads a problem and writes M practice examples, each on its own."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from mass_jax.mass.actor import Actor
from mass_jax.mass.packing import join, pack_prompts
from mass_jax.mass.practice import PracticeSets, fitting, pack_practice
from mass_jax.models.sampling import Prompts, SamplingSpec, sample
from mass_jax.tasks.base import Problem
from mass_jax.types import AnyArray, Array, PyTree, Sequences

Told = Callable[[list[list[str]]], None]
"""Hears the texts that are being written, P lists of S, each as far as it is."""
ATTEMPTED_AT = 1.0
"""The temperature of solutions that are sampled to learn from them."""


class Completions(NamedTuple):
    """S completions of each of P prompts, on the host.

    Attributes:
      texts: P lists of S, each up to its first stop string.
      sequences: prompt and completion, [P, S, T]; the target is the completion.
      log_probs_PxS: float, log-probability of each completion where it was drawn from.
    """

    texts: list[list[str]]
    sequences: Sequences
    log_probs_PxS: np.ndarray


def complete(
    actor: Actor,
    adapters: PyTree,
    prompts: Sequence[str],
    key: Array,
    spec: SamplingSpec,
    identities_P: np.ndarray | None = None,
    prompt_limit: int | None = None,
) -> Completions:
    """Sample completions of every prompt; a text ends before the first of the task's stop strings.

    Args:
      actor: the model, its tokenizer and its task.
      adapters: one a prompt, or None for the un-adapted model.
      prompts: P texts.
      key: PRNG key.
      spec: how many, how long, and how they are drawn.
      identities_P: see `Prompts`.
      prompt_limit: the most tokens of a prompt; ``method.lengths.prompt`` where not given.

    Raises:
      ValueError: a prompt is longer than that.
    """
    tokenizer, stops = actor.tokenizer, actor.domain.stops
    tokens, lengths = pack_prompts(tokenizer, prompts, prompt_limit or actor.method.lengths.prompt)

    def reached_stop(ids: Sequence[int]) -> bool:
        text = tokenizer.decode(ids)
        return any(stop in text for stop in stops)

    spec = dataclasses.replace(spec, stops=reached_stop if stops else None)
    read = Prompts(tokens, lengths, identities_P)
    raw = sample(actor.method.model, actor.params, adapters, read, key, spec, adapter_per_problem=adapters is not None)

    written, mask = np.asarray(raw.tokens_PxSxT), np.asarray(raw.mask_PxSxT)
    texts = [_texts(actor, *rows) for rows in zip(written, mask, strict=True)]
    log_probs = np.asarray(raw.log_probs_PxSxT).sum(axis=-1)
    return Completions(texts, join(tokens, lengths, written, mask), log_probs)


def _texts(actor: Actor, tokens_SxT: AnyArray, mask_SxT: AnyArray) -> list[str]:
    """Completions, each up to its first stop string."""
    rows = zip(np.asarray(tokens_SxT), np.asarray(mask_SxT), strict=True)
    written = [actor.tokenizer.decode(tokens_T[mask_T]) for tokens_T, mask_T in rows]
    stops = actor.domain.stops
    return [text[: min((at for stop in stops if (at := text.find(stop)) >= 0), default=None)] for text in written]


def writing(actor: Actor) -> SamplingSpec:
    """How practice is sampled."""
    settings = actor.method.generator
    return _spec(actor, settings.examples, actor.method.lengths.synthesis, settings.temperature, settings.top_p)


def attempting(actor: Actor, samples: int) -> SamplingSpec:
    """How solutions are sampled that are learned from."""
    return solving(actor, samples, ATTEMPTED_AT)


def solving(actor: Actor, samples: int, temperature: float) -> SamplingSpec:
    """How solutions are sampled."""
    return _spec(actor, samples, actor.method.lengths.solution, temperature, 1.0)


def _spec(actor: Actor, samples: int, max_new_tokens: int, temperature: float, top_p: float) -> SamplingSpec:
    ends = (actor.tokenizer.stop_ids, actor.tokenizer.pad_id) if actor.domain else ((), 0)
    return SamplingSpec(samples, max_new_tokens, temperature, top_p, *ends)


def write_practice(
    actor: Actor,
    problems: Sequence[Problem],
    key: Array,
    identities_P: np.ndarray | None = None,
    told: Told | None = None,
) -> tuple[PracticeSets, np.ndarray]:
    """Write M practice examples for every problem with the un-adapted model, all side by side.

    Args:
      actor: the model.
      problems: P problems.
      key: PRNG key.
      identities_P: see `Prompts`.
      told: is told now and then how far the texts are.

    Returns:
      The practice, and the log-probability of each text when it was sampled, float [P, M].
    """

    def hear(tokens_BxT: AnyArray, mask_BxT: AnyArray) -> None:
        assert told is not None
        each, samples = _texts(actor, tokens_BxT, mask_BxT), spec.samples
        told([each[start : start + samples] for start in range(0, len(each), samples)])

    spec = writing(actor)
    prompts = [actor.task.synthesis_prompt(problem) for problem in problems]
    found = complete(actor, None, prompts, key, dataclasses.replace(spec, told=hear if told else None), identities_P)
    texts = [
        [fitting(actor, problem, actor.task.parse(problem, text)) for text in row]
        for problem, row in zip(problems, found.texts, strict=True)
    ]
    return pack_practice(actor, problems, texts, found.sequences), found.log_probs_PxS
