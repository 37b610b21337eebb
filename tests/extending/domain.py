"""A domain of one's own, as a project beside the package would have it: sums of two digits, modulo 10."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

from mass_jax.fields import Count
from mass_jax.tasks.base import MALFORMED, Check, Domain, Practice, Problem, Verdict
from mass_jax.tasks.domain import OwnWords
from mass_jax.tasks.registry import register
from mass_jax.types import Tokenizer


@dataclasses.dataclass(frozen=True)
class SumsTask:
    check_names = ("problem | practice",)

    def problem(self, prompt: str) -> Problem:
        return Problem(prompt, "", (), -1, -1)

    def solve_prompt(self, prompt: str, shown: Sequence[Practice] = ()) -> str:
        return " ".join([*(f"{e.prompt} = {e.solution} ;" for e in shown), prompt, "="])

    def synthesis_prompt(self, problem: Problem) -> str:
        return ""  # what it is pretrained on are sums: it begins one

    def written(self, problem: Problem, practice: Practice) -> str:
        return f"{practice.prompt} = {practice.solution}"

    def parse(self, problem: Problem, text: str) -> Practice:
        prompt, found, solution = text.partition(" = ")
        return Practice(prompt, solution, True) if found else MALFORMED

    def grade(self, problems: Sequence[Problem], texts: Sequence[str]) -> list[Verdict]:
        return [Verdict(p.solution == text, "compared") for p, text in zip(problems, texts, strict=True)]

    def checks(self, problem: Problem, practice: Practice) -> tuple[Check, ...]:
        return (Check(f"{practice.prompt} = {practice.solution} ;", problem.prompt),)

    def leaks(self, problem: Problem, practice: Practice) -> bool:
        return practice.prompt == problem.prompt


@register
class Sums(OwnWords):
    name: Literal["sums"]
    count: Count

    def vocabulary(self) -> Sequence[str]:
        return [*map(str, range(10)), *"+=;"]

    def make(self, tokenizer: Tokenizer) -> Domain:
        return Domain(SumsTask(), tokenizer)

    def load(self, split: str) -> Sequence[Problem]:
        digit = len(split) % 10  # each split has a summand of its own
        return [Problem(f"{digit} + {i % 10}", str((digit + i) % 10), (), 0, i % 10) for i in range(self.count)]
