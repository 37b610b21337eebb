"""Answers arms on problems, and keeps what they have in common, so that their differences are paired."""

import dataclasses
from collections.abc import Iterator

import jax
import numpy as np

from mass_jax.mass import arms, attribution
from mass_jax.mass.arms import Arm, Outcome, Ready, WrittenPractice
from mass_jax.mass.generator import Domain
from mass_jax.mass.method import Method
from mass_jax.mass.outer import TrainState
from mass_jax.models import processes
from mass_jax.tasks.base import Problem
from mass_jax.training import setup
from mass_jax.training.schema import arm_config
from mass_jax.training.study import Study
from mass_jax.types import Params


class Evaluator:
    """Answers arms on one list of problems, keeping practice sets so that arms are paired."""

    def __init__(self, study: Study, problems: list[Problem], seed: int):
        """Take note of what to evaluate; nothing is computed yet."""
        self.study, self.problems = study, problems
        self.families = np.array([problem.family for problem in problems])
        self._key = jax.random.key(seed)
        self._practice: dict[tuple[str, str, Method], list[WrittenPractice]] = {}
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
        return [[self.problems[i] for i in processes.mine(row)] for row in places]

    def practice(self, model: str, params: Params, source: str, method: Method) -> list[WrittenPractice]:
        """The practice sets of every batch."""
        key = (model, source, method)
        if key not in self._practice:
            domain, pool = self.study.domain, self.study.splits.train
            vectors = arms.embed_pool(domain, method, params, pool) if source == "nearest" else None
            self._practice[key] = [
                arms.obtain_practice(
                    domain, method, params, batch, source, jax.random.fold_in(self._key, i), pool, vectors
                )
                for i, batch in enumerate(self.batches())
            ]
        return self._practice[key]

    def adapted(self, arm: Arm, params: Params, eta: Params, method: Method) -> Iterator[tuple[list[Problem], Ready]]:
        """Every batch with the models that are adapted to it."""
        sets = None if arm.practice == "none" else self.practice(arm.model, params, arm.practice, method)
        for i, batch in enumerate(self.batches()):
            key = jax.random.fold_in(self._key, 10_000 + i)
            practice = None if sets is None else sets[i]
            yield batch, arms.adapt(self.study.domain, method, params, eta, batch, arm, practice, key)

    def run(self, arm: Arm, params: Params, eta: Params, method: Method | None = None) -> list[Outcome]:
        """One arm on every batch, on all processes' problems; kept, for an arm's name says which model it has."""
        method = method or self.method(arm.model)
        if (arm, method) not in self._outcomes:
            self._outcomes[arm, method] = [
                _whole(arms.answer(self.study.domain, method, params, batch, ready))
                for batch, ready in self.adapted(arm, params, eta, method)
            ]
        return self._outcomes[arm, method]

    def attributions(self, model: str, state: TrainState) -> list[np.ndarray]:
        """What the gold outer loss says of a model's own practice, tau [P, M] of every batch."""
        if model not in self._attributions:
            method = self.method(model)
            sets = self.practice(model, state.params, "own", method)
            self._attributions[model] = [
                _attributions(self.study.domain, method, state, batch, practice)
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
    return Outcome(processes.whole_list(outcome.texts), *processes.whole(tuple(outcome[1:])))


def _attributions(
    domain: Domain, method: Method, state: TrainState, batch: list[Problem], practice: WrittenPractice
) -> np.ndarray:
    adapter, sets = attribution.fresh_adapter(method, state.params, jax.random.key(0)), practice.sets
    gold = attribution.references(domain, method, batch)
    written, checks, trained_on, valid, *asked = processes.share(
        (practice.written, sets.checks, sets.sequences, sets.valid_PxM, gold.sequences, gold.coefficients_PxS)
    )
    adapted = attribution.score_and_adapt(method, state.params, state.eta, adapter, written, checks, trained_on, valid)
    return processes.local(attribution.attribute(method, state.params, adapted, trained_on, *asked).tau_PxM)
