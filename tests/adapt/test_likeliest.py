"""The likeliest choice is the one whose tokens have the largest summed log-probability after the prompt."""

import dataclasses

import numpy as np
import pytest

from mass_jax.adapt import run
from mass_jax.adapt.likeliest import likeliest, log_probs
from mass_jax.adapt.run import Recipe
from mass_jax.mass.packing import pack
from mass_jax.tasks.base import Problem
from tests.adapt.tiny import ACTOR, KEY, PROBLEMS, once
from tests.mass import tiny
from tests.models import tiny as models

CHOICES = [tuple(f"{i}>{j} {j}>{i}" for j in range(2 + i)) for i in range(len(PROBLEMS))]
"""Of different numbers."""
PROMPTS = [ACTOR.task.solve_prompt(problem.prompt) for problem in PROBLEMS]


WORDS = [tuple(choice.split()[0] for choice in row) for row in CHOICES]
"""Of one token each."""


@pytest.mark.parametrize("choices", [CHOICES, WORDS], ids=["texts", "tokens"])
def test_log_probabilities_are_of_all_tokens_and_no_end(choices: list[tuple[str, ...]]):
    found = log_probs(ACTOR, None, PROMPTS, choices)
    assert [len(each) for each in found] == [len(row) for row in choices]
    for prompt, row, each in zip(PROMPTS, choices, found, strict=True):
        for choice, score in zip(row, each, strict=True):
            packed = pack(tiny.DOMAIN.tokenizer, [(prompt, choice)], 32, "x", end=False)
            told = models.token_log_probs(tiny.MODEL, tiny.make_params(), None, packed.tokens)
            assert score == pytest.approx(float((told * packed.target[:, 1:]).sum()), rel=1e-4)
    chosen = [row[int(np.argmax(each))] for row, each in zip(choices, found, strict=True)]
    assert likeliest(ACTOR, None, PROMPTS, choices) == chosen


class Choosing(type(ACTOR.task)):
    """The tiny task, whose problems have choices."""

    def choices(self, problem: Problem) -> tuple[str, ...]:
        return CHOICES[PROBLEMS.index(problem)]


def test_a_domain_with_choices_is_answered_by_them_before_and_after_an_update():
    task = ACTOR.task
    chooses = Choosing(**{field.name: getattr(task, field.name) for field in dataclasses.fields(task)})
    actor = ACTOR.replace(domain=dataclasses.replace(ACTOR.domain, task=chooses))
    eta = tiny.make_eta(actor.method)
    direct = run.prepare(actor, eta, PROBLEMS, Recipe(), None, KEY)
    adapted = run.prepare(actor, eta, PROBLEMS, Recipe("gold"), once("gold"), KEY)
    shown = run.prepare(actor, eta, PROBLEMS, Recipe("gold", use="prompt"), once("gold"), KEY)
    for ready in (direct, adapted, shown):
        texts = run.solve(actor, PROBLEMS, ready)
        assert texts == likeliest(actor, ready.adapters, ready.prompts, CHOICES)
        assert run.measure(actor, PROBLEMS, ready).texts == texts
    for choices in (CHOICES, WORDS):
        before, after = (log_probs(actor, each.adapters, each.prompts, choices) for each in (direct, adapted))
        assert not np.allclose(before[0], after[0])
