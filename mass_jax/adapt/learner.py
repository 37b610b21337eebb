"""A trained model that adapts to problems before it answers them: what the tables evaluate, and what a user loads."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias

import jax
import numpy as np
from jax.sharding import Mesh

from mass_jax.adapt.neighbours import Pool, divisible
from mass_jax.adapt.run import Ready, Recipe, prepare, solve
from mass_jax.adapt.sources import SOURCES, Request
from mass_jax.errors import InputError
from mass_jax.mass.actor import Actor
from mass_jax.mass.packing import fits
from mass_jax.mass.practice import PracticeSets
from mass_jax.parallel import hosts
from mass_jax.parallel.mesh import entered
from mass_jax.tasks.base import Practice, Problem
from mass_jax.types import Array, Params

Batch: TypeAlias = tuple[list[Problem], Ready]


class Answer(NamedTuple):
    """What a learner makes of one problem.

    Attributes:
      text: the greedy answer, after the update.
      practice: the M examples that it practised on; empty where it did not.
      weights: how much each counted, the gate included, float [M]; None without an update.
    """

    text: str
    practice: list[Practice]
    weights: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class Learner:
    """A model, its scorer and a recipe. All of it is deterministic by the key.

    Attributes:
      actor: the un-adapted model.
      eta: its scorer.
      recipe: what it does before it answers.
      pool: training problems, for recipes that practise on them.
      key: PRNG key.
      batch: the most problems at once.
      mesh: over which problems are spread; None for one device, or for the mesh that is set already.
    """

    actor: Actor
    eta: Params
    recipe: Recipe
    pool: Pool
    key: Array
    batch: int
    mesh: Mesh | None = None

    def answer(self, problem: str | Problem) -> str:
        """Adapt to one problem, given as a text or whole, and answer it greedily.

        Raises:
          InputError: the domain cannot read the text, or it is too long.
        """
        return self.answers([problem])[0].text

    def answers(self, problems: Sequence[str | Problem]) -> list[Answer]:
        """Adapt to each of several problems by itself, and answer it greedily.

        Raises:
          InputError: the domain cannot read a text, or it is too long.
        """
        if isinstance(problems, str):
            raise InputError(f"the text {problems[:40]!r} is one problem: give a list, or ask `answer`.")
        read = [self.read(problem) if isinstance(problem, str) else problem for problem in problems]
        if not read:
            return []
        with entered(self.mesh):
            practice = self.practice(read)
            found: list[Answer] = []
            for i, (_, ready) in enumerate(self.ready(read, practice)):
                texts = solve(self.actor, ready)
                examples = [[]] * len(texts) if practice is None else practice[i].texts
                found += _whole(texts, examples, ready)
        return found[: len(read)]

    def read(self, text: str) -> Problem:
        """A problem of which only the prompt is known.

        Raises:
          InputError: the domain cannot read it, or it is too long.
        """
        try:
            problem = self.actor.task.problem(text)
            prompts = [self.actor.task.solve_prompt(text), self.actor.task.synthesis_prompt(problem)]
            limit = self.actor.method.lengths.prompt
            short = all(fits(self.actor.tokenizer, prompt, "", limit, end=False) for prompt in prompts)
        except (ValueError, LookupError) as error:  # a domain of a fixed form meets a text of another
            raise InputError(f"the problem {text[:80]!r} cannot be read: {str(error).rstrip('.')}.") from None
        if not short:
            raise InputError(f"the problem {text[:80]!r} takes more than lengths.prompt = {limit} tokens: shorten it.")
        return problem

    def batches(self, problems: Sequence[Problem]) -> list[list[Problem]]:
        """The problems in equal batches, so that every phase compiles once; the last is filled up from the front.

        With several processes, this process's problems of every batch.
        """
        size = min(self.batch, divisible(len(problems)))
        places = np.arange(-(-len(problems) // size) * size).reshape(-1, size) % len(problems)
        return [[problems[i] for i in hosts.mine(row)] for row in places]

    def practice(self, problems: Sequence[Problem]) -> list[PracticeSets] | None:
        """The practice of every batch; None where the recipe has none."""
        if self.recipe.practice is None:
            return None
        obtain = SOURCES[self.recipe.practice].obtain
        return [
            obtain(Request(self.actor, batch, jax.random.fold_in(self.key, i), self.pool))
            for i, batch in enumerate(self.batches(problems))
        ]

    def ready(self, problems: Sequence[Problem], practice: list[PracticeSets] | None) -> Iterator[Batch]:
        """Every batch with the models that are adapted to it.

        Args:
          problems: as given to `practice`.
          practice: what that made.
        """
        for i, batch in enumerate(self.batches(problems)):
            key = jax.random.fold_in(self.key, 10_000 + i)
            sets = None if practice is None else practice[i]
            yield batch, prepare(self.actor, self.eta, batch, self.recipe, sets, key)


def _whole(texts: list[str], examples: list[list[Practice]], ready: Ready) -> list[Answer]:
    """The answers to all processes' problems of a batch."""
    rows = [(text, [dataclasses.astuple(e) for e in row]) for text, row in zip(texts, examples, strict=True)]
    answers = [(text, [Practice(*e) for e in row]) for text, row in hosts.whole_list(rows)]
    if ready.scores is None:
        return [Answer(*each, None) for each in answers]
    weights_PxM = hosts.whole(np.asarray(ready.scores.weights_PxM * ready.scores.gate_P[:, None]))
    return [Answer(*each, weights) for each, weights in zip(answers, weights_PxM, strict=True)]
