"""Obtain practice, weigh it, adapt, answer: what happens at test time, on one batch of problems.

Tables, gate, harness and a loaded model all come here; nothing else adapts a model in order to answer.
"""

import dataclasses
from collections.abc import Collection, Sequence
from typing import Literal, NamedTuple

import jax
import numpy as np

from mass_jax.adapt import unadapted
from mass_jax.adapt.likeliest import likeliest
from mass_jax.adapt.sources import SOURCES, Need
from mass_jax.adapt.weights import WEIGHTS, Unweighed, weighed
from mass_jax.errors import InputError, not_one_of
from mass_jax.mass import attribution
from mass_jax.mass.actor import Actor
from mass_jax.mass.episodes import solved
from mass_jax.mass.generator import solving
from mass_jax.mass.packing import fits
from mass_jax.mass.practice import PracticeSets, each_example
from mass_jax.mass.scorer import Scores
from mass_jax.parallel import hosts
from mass_jax.tasks.base import (
    KnowsFamily,
    OffersChoices,
    OffersTopics,
    Practice,
    Problem,
    ReadsOff,
    ShowsExamples,
    StatesAnswer,
    Task,
)
from mass_jax.types import Array, Params, PyTree

USES = ("adapter", "prompt", "read_off")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What a model does before it answers.

    Attributes:
      practice: where practice comes from, of `SOURCES`; None: it answers at once.
      weights: how its examples are weighed, of `WEIGHTS`.
      strict: examples that mention what the problem asks for count for nothing.
      use: ``adapter``: gradient steps on the practice; ``prompt``: the model reads it, solved, before the problem;
        ``read_off``: it answers what the heaviest example says, see `unadapted.read_off`.
      votes: without practice, how one of several sampled solutions is chosen, see `unadapted.voted`; None: it answers
        greedily.

    Raises:
      InputError: a name is none of the registered ones.
    """

    practice: str | None = None
    weights: str = "uniform"
    strict: bool = False
    use: Literal["adapter", "prompt", "read_off"] = "adapter"
    votes: Literal["majority", "check"] | None = None

    def __post_init__(self) -> None:
        names: list[tuple[str, str | None, Collection[str]]] = [
            ("practice", self.practice, SOURCES),
            ("weights", self.weights, WEIGHTS),
            ("use", self.use, USES),
            ("votes", self.votes, unadapted.VOTES),
        ]
        for field, value, valid in names:
            if value is not None and value not in valid:
                raise InputError(f"{field} = {value!r} {not_one_of(valid, value)}")
        if self.practice is not None and self.votes is not None:
            raise InputError(f"votes = {self.votes!r} are of answers without practice: leave out practice or votes.")
        if self.practice is None and dataclasses.replace(self, votes=None, practice="own") != Recipe("own"):
            raise InputError("weights, strict and use say what becomes of practice, and there is none: name a source.")

    @property
    def needs(self) -> frozenset[Need]:
        """What it needs beside a problem's prompt."""
        return frozenset() if self.practice is None else SOURCES[self.practice].needs | WEIGHTS[self.weights].needs

    @property
    def has_likelihood(self) -> bool:
        """Whether a text has a log-likelihood by it: none where answers are chosen among samples, or read off."""
        return self.votes is None and self.use != "read_off"

    def lack(self, task: Task) -> str | None:
        """Why problems of the domain make it impossible, such as "show no solved examples"; None where they do not."""
        asked: list[tuple[bool, type, str]] = [
            ("family" in self.needs, KnowsFamily, "have no hidden family that is known"),
            ("topics" in self.needs, OffersTopics, "leave no topic open"),
            ("shown" in self.needs, ShowsExamples, "show no solved examples"),
            (self.use == "read_off", ReadsOff, "are not answered by what practice says"),
            (self.votes == "majority", StatesAnswer, "have no answers that can be counted"),
        ]
        return next((words for needed, kind, words in asked if needed and not isinstance(task, kind)), None)

    def possible(self, task: Task) -> bool:
        """Whether the domain has what it needs."""
        return self.lack(task) is None


class Ready(NamedTuple):
    """A model that is adapted to P problems and has not answered them yet.

    Attributes:
      prompts: what it reads, P texts.
      prompt_limit: the most tokens that they may have.
      adapters: one a problem; None without an update.
      scores: weights and gates; None without an update.
      answers: P answers, where they are chosen already.
      choices: of every problem the solutions of which the likeliest is its answer; None where they are written.
    """

    prompts: list[str]
    prompt_limit: int
    adapters: PyTree
    scores: Scores | None
    answers: list[str] | None = None
    choices: list[tuple[str, ...]] | None = None


class Outcome(NamedTuple):
    """What came of P problems.

    Attributes:
      texts: the answers.
      correct_P: bool; False where it is not judged.
      judged_P: bool; see `Verdict`.
      log_likelihood_P: float, mean log-probability of the reference solution's tokens; None where the
        recipe gives none, see `Recipe.has_likelihood`.
      scores: weights and gates; None without an update.
    """

    texts: list[str]
    correct_P: np.ndarray
    judged_P: np.ndarray
    log_likelihood_P: np.ndarray | None
    scores: Scores | None


def prepare(
    actor: Actor, eta: Params, problems: Sequence[Problem], recipe: Recipe, practice: PracticeSets | None, key: Array
) -> Ready:
    """Make a model ready for every problem, as the recipe says.

    Args:
      actor: the un-adapted model.
      eta: its scorer.
      problems: P problems; with several processes, this process's of a batch.
      recipe: what to do with the practice.
      practice: of the problems, from the recipe's source; None where it has none.
      key: PRNG key, of the fresh adapter and of what weights draw.
    """
    prompts = [actor.task.solve_prompt(problem.prompt) for problem in problems]
    direct = Ready(prompts, actor.method.lengths.prompt, None, None, choices=offered(actor.task, problems))
    if practice is None:
        return direct._replace(answers=unadapted.voted(actor, problems, recipe.votes, key)) if recipe.votes else direct
    if recipe.use == "prompt":
        limit = actor.method.model.context - actor.method.lengths.solution
        rows = zip(problems, practice.texts, strict=True)
        return direct._replace(
            prompts=[_with_shown(actor, problem, row, limit) for problem, row in rows], prompt_limit=limit
        )
    adapter_key, weights_key = jax.random.split(key)
    counts_PxM = np.asarray(practice.arrays.valid_PxM)
    if recipe.strict:
        counts_PxM = counts_PxM & ~each_example(actor.task.leaks, problems, practice.texts)
    unweighed = Unweighed(actor, eta, problems, practice, counts_PxM, weights_key)
    scores = weighed(recipe.weights, unweighed)
    if recipe.use == "read_off":
        return direct._replace(answers=unadapted.read_off(actor, problems, practice, scores))
    fresh = attribution.fresh_adapter(actor, adapter_key)
    adapters = attribution.adapt(actor, fresh, *hosts.share((scores, practice.arrays.examples)))
    return direct._replace(adapters=adapters, scores=scores)


def offered(task: Task, problems: Sequence[Problem]) -> list[tuple[str, ...]] | None:
    """The choices of every problem; None where the domain has none."""
    found = [task.choices(problem) for problem in problems] if isinstance(task, OffersChoices) else []
    return found if all(found) and found else None


def solve(actor: Actor, problems: Sequence[Problem], ready: Ready) -> list[str]:
    """An answer to every problem by the model that was adapted to it: the likeliest choice where there are choices.

    Else it is greedy, where none is chosen already.
    """
    if ready.answers is not None:
        return ready.answers
    if ready.choices is not None:
        return likeliest(actor, ready.adapters, ready.prompts, ready.choices)
    no_noise = jax.random.key(0)
    spec = solving(actor, samples=1, temperature=0.0)
    asked = (problems, ready.prompts)
    found = solved(actor, ready.adapters, *asked, no_noise, spec, prompt_limit=ready.prompt_limit)
    return [row[0] for row in found.texts]


def measure(actor: Actor, problems: Sequence[Problem], ready: Ready) -> Outcome:
    """`solve`, graded, and how likely the references are."""
    answers = solve(actor, problems, ready)
    graded = attribution.as_graded(actor.task.grade(problems, answers), samples=1)
    likelihood_P = None
    if ready.answers is None:
        asked = hosts.share(attribution.references(actor, problems, ready.prompts).weighed)
        likelihood_P = -hosts.local(attribution.outer_losses(actor, ready.adapters, asked))
    return Outcome(answers, graded.correct_PxS[:, 0], graded.judged_PxS[:, 0], likelihood_P, ready.scores)


def _with_shown(actor: Actor, problem: Problem, examples: Sequence[Practice], limit: int) -> str:
    """The solve prompt after as many of the well-formed examples as fit."""
    task, shown = actor.task, [example for example in examples if example.well_formed]
    while shown and not fits(actor.tokenizer, task.solve_prompt(problem.prompt, shown), "", limit, end=False):
        shown.pop()
    return task.solve_prompt(problem.prompt, shown)
