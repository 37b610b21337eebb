"""A trained model that adapts to problems before it answers them: what the tables evaluate, and what a user loads."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import jax
import numpy as np
from jax.sharding import Mesh

from mass_jax.adapt.neighbours import Pool, divisible
from mass_jax.adapt.run import Ready, Recipe, prepare, solve
from mass_jax.adapt.sources import Request, obtained
from mass_jax.errors import InputError
from mass_jax.mass.actor import Actor
from mass_jax.mass.packing import taken
from mass_jax.mass.practice import PracticeSets
from mass_jax.parallel import hosts
from mass_jax.parallel.mesh import entered
from mass_jax.tasks.base import Practice, Problem
from mass_jax.types import Array, Params

Batch: TypeAlias = tuple[list[Problem], Ready]

SHOWN = 80
"""Characters that a sentence shows of what was given."""


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
          InputError: it is neither, the domain cannot read it, or it is too long.
        """
        return self.answers([problem])[0].text

    def answers(self, problems: Sequence[str | Problem]) -> list[Answer]:
        """Adapt to each of several problems by itself, and answer it greedily.

        Raises:
          InputError: these are no problems, the domain cannot read one, or it is too long.
        """
        if isinstance(problems, str | bytes | Problem):
            raise InputError(f"{_short(problems)} is one problem: give a list, or ask `answer`.")
        if not isinstance(problems, Iterable):
            raise InputError(f"{_short(problems)} is no list of problems: give one, of texts or of Problem.")
        read = [self.read(problem) for problem in problems]
        with entered(self.mesh):
            practice = self.practice(read)
            found: list[Answer] = []
            for i, (batch, ready) in enumerate(self.ready(read, practice)):
                texts = solve(self.actor, batch, ready)
                examples = [[]] * len(texts) if practice is None else practice[i].texts
                found += _whole(texts, examples, ready)
        return found[: len(read)]

    def read(self, given: str | Problem) -> Problem:
        """A problem that can be answered: a text, of which only the prompt is then known, or one that is whole.

        Raises:
          InputError: it is neither, the domain cannot read it, or it is too long.
        """
        if not isinstance(given, str | Problem):
            raise InputError(f"{_short(given)} is no problem: give its text, or a Problem.")
        text, task = given.prompt if isinstance(given, Problem) else given, self.actor.task
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"the problem {_short(text)} has no text: give one.")
        try:
            read = task.problem(text)
            problem = read if isinstance(given, str) else given
            prompts = [task.solve_prompt(text), task.synthesis_prompt(problem)]
            longest = max(taken(self.actor.tokenizer, prompt, "", end=False) for prompt in prompts)
        except (ValueError, LookupError) as error:  # a domain of a fixed form meets a text of another
            raise InputError(f"the problem {_short(text)} cannot be read: {str(error).rstrip('.')}.") from None
        if longest > (limit := self.actor.method.lengths.prompt):
            raise InputError(
                f"the problem {_short(text)} takes {longest} tokens, more than lengths.prompt = {limit}: shorten it."
            )
        if read.facts and problem.facts != read.facts:
            raise InputError(
                f"the problem {_short(text)} has facts {_short(problem.facts)} and states {_short(read.facts)}: give "
                "its text alone."
            )
        return problem

    def batches(self, problems: Sequence[Problem]) -> list[list[Problem]]:
        """The problems in equal batches, so that every phase compiles once; the last is filled up from the front.

        With several processes, this process's problems of every batch.
        """
        if not problems:
            return []
        size = min(self.batch, divisible(len(problems)))
        places = np.arange(-(-len(problems) // size) * size).reshape(-1, size) % len(problems)
        return [[problems[i] for i in hosts.mine(row)] for row in places]

    def practice(self, problems: Sequence[Problem]) -> list[PracticeSets] | None:
        """The practice of every batch; None where the recipe has none."""
        if self.recipe.practice is None:
            return None
        return [
            obtained(self.recipe.practice, Request(self.actor, batch, jax.random.fold_in(self.key, i), self.pool))
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


def _short(given: object) -> str:
    """What was given, as a sentence can hold it."""
    text = repr(given)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _whole(texts: list[str], examples: list[list[Practice]], ready: Ready) -> list[Answer]:
    """The answers to all processes' problems of a batch."""
    rows = [(text, [dataclasses.astuple(e) for e in row]) for text, row in zip(texts, examples, strict=True)]
    answers = [(text, [Practice(*e) for e in row]) for text, row in hosts.whole_list(rows)]
    if ready.scores is None:
        return [Answer(*each, None) for each in answers]
    weights_PxM = hosts.whole(np.asarray(ready.scores.weights_PxM * ready.scores.gate_P[:, None]))
    return [Answer(*each, weights) for each, weights in zip(answers, weights_PxM, strict=True)]
