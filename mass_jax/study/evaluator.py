"""Answers recipes on problems, and keeps what they have in common, so that their differences are paired."""

import dataclasses
from collections.abc import Mapping, Sequence

import jax
import numpy as np

from mass_jax.adapt.learner import Learner
from mass_jax.adapt.run import Outcome, Recipe, measure
from mass_jax.mass import attribution
from mass_jax.mass.actor import Actor
from mass_jax.mass.practice import PracticeSets, on_devices
from mass_jax.mass.state import Trained
from mass_jax.parallel import hosts
from mass_jax.study.study import Study, make_learner
from mass_jax.tasks.base import Problem
from mass_jax.types import Params


class Evaluator:
    """Answers on one list of problems by the models of one study, each adapted as a recipe says.

    Recipes that use the same model and the same source share the very same practice sets.
    """

    def __init__(self, study: Study, states: Mapping[str, Trained], problems: Sequence[Problem], seed: int):
        """Take note of what to evaluate; nothing is computed yet.

        Args:
          study: to which the models belong.
          states: the models and their scorers, by name.
          problems: to answer.
          seed: of practice, fresh adapters and shuffles.
        """
        self.study, self.states, self.problems = study, dict(states), list(problems)
        self.families = np.array([problem.family for problem in self.problems])
        self._key = jax.random.key(seed)
        self._learners: dict[str, Learner] = {}
        self._practice: dict[tuple[str, str], list[PracticeSets]] = {}
        self._outcomes: dict[tuple[str, Recipe], list[Outcome]] = {}
        self._attributions: dict[str, list[np.ndarray]] = {}

    def learner(self, model: str, recipe: Recipe) -> Learner:
        """A model that is adapted as the recipe says."""
        if model not in self._learners:
            self._learners[model] = make_learner(self.study, model, self.states[model], recipe, self._key)
        return dataclasses.replace(self._learners[model], recipe=recipe)

    def batches(self, model: str) -> list[list[Problem]]:
        """The problems in the batches in which a model answers them."""
        return self.learner(model, Recipe()).batches(self.problems)

    def practice(self, model: str, recipe: Recipe) -> list[PracticeSets] | None:
        """The practice sets of every batch; None where the recipe has none."""
        if recipe.practice is None:
            return None
        if (model, recipe.practice) not in self._practice:
            sets = self.learner(model, recipe).practice(self.problems)
            assert sets is not None
            self._practice[model, recipe.practice] = sets
        return self._practice[model, recipe.practice]

    def run(self, model: str, recipe: Recipe) -> list[Outcome]:
        """What came of every batch, on all processes' problems."""
        if (model, recipe) not in self._outcomes:
            learner = self.learner(model, recipe)
            prepared = learner.ready(self.problems, self.practice(model, recipe))
            self._outcomes[model, recipe] = [_whole(measure(learner.actor, batch, ready)) for batch, ready in prepared]
        return self._outcomes[model, recipe]

    def own_practice(self, model: str) -> list[tuple[list[Problem], PracticeSets]]:
        """Every batch with what a model writes for it."""
        sets = self.practice(model, Recipe("own"))
        assert sets is not None
        return list(zip(self.batches(model), sets, strict=True))

    def attributions(self, model: str) -> list[np.ndarray]:
        """What the gold outer loss says of a model's own practice, tau [P, M] of every batch."""
        if model not in self._attributions:
            learner = self.learner(model, Recipe())
            self._attributions[model] = [
                _attributions(learner.actor, learner.eta, batch, sets) for batch, sets in self.own_practice(model)
            ]
        return self._attributions[model]

    def correct(self, outcomes: list[Outcome]) -> np.ndarray:
        """Verdicts in the order of the problems, without the filling."""
        return self.unfilled([outcome.correct_P for outcome in outcomes])

    def unfilled(self, columns: list[np.ndarray]) -> np.ndarray:
        """A column [P] of every batch as one in the order of the problems, without the filling."""
        return np.concatenate(columns)[: len(self.problems)]


def _whole(outcome: Outcome) -> Outcome:
    """What all processes' problems came to."""
    return Outcome(hosts.whole_list(outcome.texts), *hosts.whole(tuple(outcome[1:])))


def _attributions(actor: Actor, eta: Params, batch: list[Problem], sets: PracticeSets) -> np.ndarray:
    adapter, practice = attribution.fresh_adapter(actor, jax.random.key(0)), on_devices(sets)
    asked = hosts.share(attribution.references(actor, batch).weighed)
    adapted = attribution.score_and_adapt(actor, eta, adapter, practice)
    return hosts.local(attribution.attribute(actor, adapted, practice.examples, asked).tau_PxM)
