"""What an update takes, before it is begun; and how much of it a budget allows."""

import dataclasses
import time
from collections.abc import Sequence

from mass_jax.errors import InputError
from mass_jax.inference.options import Options
from mass_jax.mass.method import GeneratorConfig, InnerConfig, Method, contradictions


def tokens(method: Method, options: Options) -> int:
    """The most tokens that one problem takes: written as practice and answers, and learned from in every step."""
    lengths, examples, inner = method.lengths, method.generator.examples, method.inner
    answers = lengths.solution * (1 + options.votes)
    learned = examples * lengths.practice * (inner.steps if inner.schedule == "same" else 1)
    return answers + options.sets * examples * lengths.synthesis + learned


def chosen(method: Method, options: Options) -> Method | None:
    """The method with the practice and steps that are asked for, on as much practice as the tokens allow.

    Practice is halved until it fits: few sizes are compiled.

    Returns:
      The method; None where the tokens allow no update.

    Raises:
      InputError: practice cannot be split over the steps.
    """
    generator = dataclasses.replace(method.generator, examples=options.examples or method.generator.examples)
    inner = dataclasses.replace(method.inner, steps=options.steps or method.inner.steps)
    _check(method, generator, inner)
    found = dataclasses.replace(method, generator=generator, inner=inner)
    while options.tokens is not None and tokens(found, options) > options.tokens:
        half = found.generator.examples // 2
        if half < 1 or (inner.schedule == "fresh" and half % inner.steps):
            return None
        found = dataclasses.replace(found, generator=dataclasses.replace(found.generator, examples=half))
    return found


def too_few(method: Method, options: Options) -> str:
    """Why the tokens allow no update."""
    fewest = options.steps or method.inner.steps if method.inner.schedule == "fresh" else 1
    smallest = dataclasses.replace(method, generator=dataclasses.replace(method.generator, examples=fewest))
    return (
        f"a budget of {options.tokens} tokens allows none: the smallest update takes up to {tokens(smallest, options)}"
    )


def _check(method: Method, generator: GeneratorConfig, inner: InnerConfig) -> None:
    for fault in contradictions(generator, inner, method.lengths, method.model.context):
        raise InputError(fault)


class Clock:
    """The time of one batch of problems, and how long each phase took the last time.

    Attributes:
      seconds: that are left at the start; None for no limit.
      known: the seconds of each phase of an earlier batch of the same programs, which is updated.
    """

    def __init__(self, seconds: float | None, known: dict[str, float]) -> None:
        """The time begins."""
        self.seconds, self.known = seconds, known
        self.spent: dict[str, float] = {}
        self._begun = self._last = time.monotonic()

    def done(self, phase: str) -> float:
        """A phase has ended; its seconds."""
        now = time.monotonic()
        self.spent[phase] = self.known[phase] = now - self._last
        self._last = now
        return self.spent[phase]

    def short_of(self, phases: Sequence[str]) -> str:
        """Why there is no time for the phases; empty where there is, as far as it is known."""
        if self.seconds is None:
            return ""
        left = self.seconds - (time.monotonic() - self._begun)
        need = sum(self.known.get(phase, 0.0) for phase in phases)
        if left > need:
            return ""
        return (
            f"{max(left, 0):.1f} of {self.seconds:g} seconds were left, and what was left to do takes "
            f"{f'about {need:.1f}' if need else 'longer'}"
        )
