"""Whether a domain's texts fit ``config.lengths``: looked at before anything is computed, not when the first is met."""

from collections.abc import Iterator

import numpy as np

from mass_jax.errors import InputError
from mass_jax.mass.method import LengthConfig
from mass_jax.mass.packing import solution, taken
from mass_jax.study.data import replayed
from mass_jax.study.schema import Config
from mass_jax.tasks import pipeline
from mass_jax.tasks.base import Domain, KnowsFamily
from mass_jax.tasks.domain import OwnWords, Splits

DRAWN = 1024
"""Documents that are drawn where they are random: each of the longest kind is one in 27."""
LOOKED_AT = 20
"""Problems whose correct practice is looked at."""


def check_lengths(config: Config, domain: Domain, lengths: LengthConfig, splits: Splits) -> None:
    """Hold the texts that a run is sure to meet against the lengths that it has for them.

    Problems that were collected and do not fit were left out already.

    Raises:
      InputError: a problem, a solution or a document is too long, or no correct practice is short enough; it names the
        field, and what is needed.
    """
    declared = config.task
    needs = [] if declared.collected else [*_of_problems(domain, splits)]
    if isinstance(domain.task, KnowsFamily):
        needs += _of_practice(domain, domain.task, splits)
    for field, needed, what in needs:
        if needed > getattr(lengths, field):
            raise InputError(
                f"lengths.{field} = {getattr(lengths, field)}, but {what} takes {needed} tokens: give {needed} or more."
            )
    own_words = isinstance(declared, OwnWords)
    kinds = {"long_document": declared.kinds.long}
    if own_words:
        kinds["short_document"] = declared.kinds.short
    field = replayed(declared)
    kinds[field] = tuple(dict.fromkeys((*kinds[field], *declared.kinds.replay)))
    for field, some in kinds.items():
        problems, write = declared.documents(domain, splits, some)
        if not problems:
            raise InputError(f"{declared.title} has no problems for documents to read as {field}: give it some.")
        rng = np.random.default_rng(0)
        for problem in problems[:DRAWN] if own_words else problems:
            try:
                pipeline.pack(write(problem, rng), domain.tokenizer, getattr(config.lengths, field))
            except ValueError as error:
                raise InputError(f"lengths.{field} = {getattr(config.lengths, field)}: {error}") from None


def _of_problems(domain: Domain, splits: Splits) -> Iterator[tuple[str, int, str]]:
    """The field, the most tokens, and of what."""
    task, tokenizer = domain.task, domain.tokenizer
    problems = [*splits.train, *splits.validation, *splits.test]
    prompts = [text for p in problems for text in (task.solve_prompt(p.prompt), task.synthesis_prompt(p))]
    yield "prompt", max(taken(tokenizer, prompt, "", end=False) for prompt in prompts), "the longest prompt"
    yield "solution", max(len(tokenizer.encode(p.solution)) for p in problems) + 1, "the longest solution"


def _of_practice(domain: Domain, task: KnowsFamily, splits: Splits) -> Iterator[tuple[str, int, str]]:
    """The field, the least tokens that an example of correct practice needs, and of what."""
    tokenizer, rng = domain.tokenizer, np.random.default_rng(0)
    pairs = [
        (p, example)
        for p in splits.validation[:LOOKED_AT]
        for example in task.gold_practice(p, max(len(p.facts), 1), rng, strict=False)
    ]
    if not pairs:
        raise ValueError("gold_practice gives no practice")
    yield (
        "synthesis",
        min(len(tokenizer.encode(task.written(p, e))) for p, e in pairs) + 1,
        "the shortest practice, as it is written,",
    )
    yield (
        "practice",
        min(taken(tokenizer, task.solve_prompt(e.prompt), solution(task, e.solution)) for _, e in pairs),
        "the shortest practice with its solution",
    )
    checks = (max((taken(tokenizer, *c, end=False) for c in task.checks(p, e)), default=0) for p, e in pairs)
    yield "check", min(checks), "the shortest practice's longest check"
