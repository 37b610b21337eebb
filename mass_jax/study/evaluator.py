"""Answers arms on problems, and keeps what they have in common, so that their differences are paired."""

import dataclasses
from collections.abc import Iterator

import jax
import numpy as np

from mass_jax.mass import arms, attribution
from mass_jax.mass.actor import Actor
from mass_jax.mass.arms import Arm, Outcome, Ready
from mass_jax.mass.method import Method
from mass_jax.mass.practice import PracticeSets, on_devices
from mass_jax.mass.state import TrainState
from mass_jax.parallel import hosts
from mass_jax.study import setup
from mass_jax.study.schema import arm_config
from mass_jax.study.study import Study
from mass_jax.tasks.base import Problem
from mass_jax.types import Params


class Evaluator:
    """Answers arms on one list of problems, keeping practice sets so that arms are paired."""

    def __init__(self, study: Study, problems: list[Problem], seed: int):
        """Take note of what to evaluate; nothing is computed yet."""
        self.study, self.problems = study, problems
        self.families = np.array([problem.family for problem in problems])
        self._key = jax.random.key(seed)
        self._practice: dict[tuple[str, str, Method], list[PracticeSets]] = {}
        self._outcomes: dict[tuple[Arm, Method], list[Outcome]] = {}
        self._methods: dict[str, Method] = {}
        self._attributions: dict[str, list[np.ndarray]] = {}

    def method(self, model: str) -> Method:
        """What a model is tested with: the study's method, and the scorer that the model was trained with."""
        if model not in self._methods:
            self._methods[model] = self.study.method
            if model in self.study.config.arms:
                own = setup.make_method(arm_config(self.study.config, model), self.study.domain)
                self._methods[model] = dataclasses.replace(self.study.method, scorer=own.scorer)
        return self._methods[model]

    def batches(self) -> list[list[Problem]]:
        """The problems in equal batches, so that every phase compiles once; the last is filled up from the front.

        With several processes, this process's problems of every batch.
        """
        size = min(self.study.config.evaluate.batch, arms.divisible(len(self.problems)))
        places = np.arange(-(-len(self.problems) // size) * size).reshape(-1, size) % len(self.problems)
        return [[self.problems[i] for i in hosts.mine(row)] for row in places]

    def actor(self, model: str, params: Params, method: Method | None = None) -> Actor:
        """A model as it is tested, or with a method of one's own."""
        return Actor(params, method or self.method(model), self.study.domain)

    def practice(self, model: str, actor: Actor, source: str) -> list[PracticeSets]:
        """The practice sets of every batch."""
        key = (model, source, actor.method)
        if key not in self._practice:
            pool = self.study.splits.train
            vectors = arms.embed_pool(actor, pool) if source == "nearest" else None
            self._practice[key] = [
                arms.obtain_practice(actor, batch, source, jax.random.fold_in(self._key, i), pool, vectors)
                for i, batch in enumerate(self.batches())
            ]
        return self._practice[key]

    def adapted(self, arm: Arm, actor: Actor, eta: Params) -> Iterator[tuple[list[Problem], Ready]]:
        """Every batch with the models that are adapted to it."""
        sets = None if arm.practice == "none" else self.practice(arm.model, actor, arm.practice)
        for i, batch in enumerate(self.batches()):
            key = jax.random.fold_in(self._key, 10_000 + i)
            practice = None if sets is None else sets[i]
            yield batch, arms.adapt(actor, eta, batch, arm, practice, key)

    def run(self, arm: Arm, params: Params, eta: Params, method: Method | None = None) -> list[Outcome]:
        """One arm on every batch, on all processes' problems; kept, for an arm's name says which model it has."""
        actor = self.actor(arm.model, params, method)
        if (arm, actor.method) not in self._outcomes:
            self._outcomes[arm, actor.method] = [
                _whole(arms.answer(actor, batch, ready)) for batch, ready in self.adapted(arm, actor, eta)
            ]
        return self._outcomes[arm, actor.method]

    def attributions(self, model: str, state: TrainState) -> list[np.ndarray]:
        """What the gold outer loss says of a model's own practice, tau [P, M] of every batch."""
        if model not in self._attributions:
            actor = self.actor(model, state.params)
            sets = self.practice(model, actor, "own")
            self._attributions[model] = [
                _attributions(actor, state.eta, batch, practice)
                for batch, practice in zip(self.batches(), sets, strict=True)
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
