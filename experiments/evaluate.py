"""Evaluate trained arms, baselines and controls on test families, and write results.json.

    python -m experiments.evaluate --config=configs/demo.py --workdir=runs/demo

Every arm of `mass_jax.mass.arms` answers the same problems; arms that use the same model and the same kind of practice
share the very same practice sets, so that differences between them are paired.
"""

import dataclasses
import json
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from numpy.typing import ArrayLike

from mass_jax.mass import arms, attribution
from mass_jax.mass.arms import CONTROLS, METHODS, Arm, Outcome, Ready, WrittenPractice
from mass_jax.mass.generator import share
from mass_jax.mass.method import Method
from mass_jax.mass.outer import TrainState
from mass_jax.models import processes
from mass_jax.reporting import stats
from mass_jax.tasks.base import Problem
from mass_jax.training import config as command_line
from mass_jax.training.compilation import enable_compilation_cache
from mass_jax.training.progress import Progress
from mass_jax.training.study import Study, open_study, train_arm
from mass_jax.training.workdir import write_atomically
from mass_jax.types import Params

CHECKED_RATES = {"sgd": 0.5, "adam": 0.02}
"""Inner optimisers for which attributions are compared with differences, at rates at which each is used."""
SHOWN = 5
"""Problems that the report shows in full."""


class Evaluator:
    """Answers arms on one list of problems, keeping practice sets so that arms are paired."""

    def __init__(self, study: Study, problems: list[Problem], seed: int):
        """Take note of what to evaluate; nothing is computed yet."""
        self.study, self.problems = study, problems
        self.families = np.array([problem.family for problem in problems])
        self._key = jax.random.key(seed)
        self._practice: dict[tuple[str, str, Method], list[WrittenPractice]] = {}
        self._outcomes: dict[tuple[Arm, Method], list[Outcome]] = {}
        self._attributions: dict[str, list[np.ndarray]] = {}

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
        method = method or self.study.method
        if (arm, method) not in self._outcomes:
            self._outcomes[arm, method] = [
                _whole(arms.answer(self.study.domain, method, params, batch, ready))
                for batch, ready in self.adapted(arm, params, eta, method)
            ]
        return self._outcomes[arm, method]

    def attributions(self, model: str, state: TrainState) -> list[np.ndarray]:
        """What the gold outer loss says of a model's own practice, tau [P, M] of every batch."""
        if model not in self._attributions:
            sets = self.practice(model, state.params, "own", self.study.method)
            self._attributions[model] = [
                _attributions(self.study, state, batch, practice)
                for batch, practice in zip(self.batches(), sets, strict=True)
            ]
        return self._attributions[model]

    def correct(self, outcomes: list[Outcome]) -> np.ndarray:
        """Verdicts in the order of the problems, without the filling."""
        return self.unfilled([outcome.correct_P for outcome in outcomes])

    def unfilled(self, columns: list[np.ndarray]) -> np.ndarray:
        """A column [P] of every batch as one in the order of the problems, without the filling."""
        return np.concatenate(columns)[: len(self.problems)]


def evaluate(study: Study, states: dict[str, TrainState], evaluator: Evaluator) -> tuple[dict, dict[str, np.ndarray]]:
    """Run all arms whose model is at hand.

    Returns:
      The parts of results.json that are about accuracy, and the verdicts of every arm.
    """
    kept: dict[str, dict] = {}
    skip, task = study.config.evaluate.skip, study.domain.task
    todo = {
        name: arm
        for name, arm in (METHODS | CONTROLS).items()
        if arm.model in states and name not in skip and arm.possible(task)
    }
    with Progress(len(todo), label="evaluate", show=["accuracy"]) as progress:
        for name, arm in todo.items():
            kept[name] = _measured(study.workdir / "evaluation" / f"{name}.json", evaluator, arm, states[arm.model])
            progress.update(len(kept), {"accuracy": float(np.mean(kept[name]["correct"]))})
    verdicts = {name: np.array(row["correct"]) for name, row in kept.items()}
    likelihoods = {name: np.array(row["log_likelihood"]) for name, row in kept.items()}
    table = {name: stats.accuracy(v, evaluator.families) for name, v in verdicts.items()}
    pairs = [("mass", other) for other in verdicts if other != "mass"]
    pairs += [("mass_gold", other) for other in ("base", "base_ttt", "ttt_nn", "tt_ss", "solver_grpo")]
    over_base = ("base_ttt", "ttt_nn", "tt_ss", "ttt_shown", "mass_no_update", *(c for c in CONTROLS if "oracle" in c))
    pairs += [(other, "base") for other in over_base]

    def differences(columns: dict[str, np.ndarray], pairs: Iterable[tuple[str, str]]) -> dict[str, stats.Difference]:
        return {
            f"{a}-{b}": stats.paired_difference(columns[a], columns[b], evaluator.families)
            for a, b in pairs
            if a in columns and b in columns
        }

    results = {
        "methods": {name: table[name] for name in METHODS if name in table},
        "controls": {name: table[name] for name in CONTROLS if name in table},
        "paired": differences(verdicts, pairs),
        "log_likelihood": {name: float(column.mean()) for name, column in likelihoods.items()},
        "paired_log_likelihood": differences(likelihoods, ((name, "base") for name in likelihoods if name != "base")),
        "cost": {f"evaluate/{name} (s)": row["seconds"] for name, row in kept.items()},
    }
    return results, verdicts


def _measured(path: Path, evaluator: Evaluator, arm: Arm, state: TrainState) -> dict[str, Any]:
    """What one arm did on every problem; from ``path`` where an interrupted evaluation has left it, else into it."""
    if path.exists():
        return json.loads(path.read_text(encoding="utf-8"))
    start = time.perf_counter()
    outcomes = evaluator.run(arm, state.params, state.eta)
    row = {
        "correct": evaluator.correct(outcomes).tolist(),
        "log_likelihood": evaluator.unfilled([outcome.log_likelihood_P for outcome in outcomes]).tolist(),
        "answers": [text for outcome in outcomes for text in outcome.texts][: len(evaluator.problems)],
        "seconds": time.perf_counter() - start,
    }
    if processes.first():
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, json.dumps(row))
    return row


def _whole(outcome: Outcome) -> Outcome:
    """What all processes' problems came to."""
    return Outcome(processes.whole_list(outcome.texts), *processes.whole(tuple(outcome[1:])))


def scorer_view(study: Study, state: TrainState, model: str, evaluator: Evaluator) -> dict[str, list]:
    """Scores, weights, attributions and correctness of every practice example on the evaluator's problems."""
    columns: dict[str, list] = {name: [] for name in ("scores", "weights", "attributions", "correct", "task")}
    own = evaluator.practice(model, state.params, "own", study.method)
    outcomes = evaluator.run(Arm(model, "own", "scorer"), state.params, state.eta)
    found = evaluator.attributions(model, state)
    for i, (batch, practice, outcome, tau) in enumerate(zip(evaluator.batches(), own, outcomes, found, strict=True)):
        tau, valid, correct = processes.whole(
            (
                tau,
                practice.sets.valid_PxM,
                share(study.domain.task.is_correct, batch, practice.sets),
            )
        )
        task = np.broadcast_to(i * len(valid) + np.arange(len(valid))[:, None], valid.shape)
        keep = valid & (task < len(evaluator.problems))
        assert outcome.scores is not None
        rows = (outcome.scores.logits_PxM, outcome.scores.weights_PxM, tau, correct, task)
        for name, row in zip(columns, rows, strict=True):
            columns[name] += np.asarray(row)[keep].tolist()
    return columns


def examples(study: Study, state: TrainState, model: str, evaluator: Evaluator) -> list[dict]:
    """A few problems with their practice, weights and answers before and after."""
    batch = evaluator.batches()[0]
    practice = evaluator.practice(model, state.params, "own", study.method)[0]
    before = evaluator.run(Arm(model, "none"), state.params, state.eta)[0]
    after = evaluator.run(Arm(model, "own", "scorer"), state.params, state.eta)[0]
    tau = processes.whole(evaluator.attributions(model, state)[0])
    task = study.domain.task
    assert after.scores is not None
    weights = after.scores.weights_PxM * after.scores.gate_P[:, None]
    written = [
        [
            {
                "text": task.written(problem, e) if e.well_formed else "(malformed)",
                "correct": task.is_correct(problem, e) if task.privileged else None,
                "on_family": task.is_on_family(problem, e) if task.privileged else None,
            }
            for e in row
        ]
        for problem, row in zip(batch, practice.sets.examples, strict=True)
    ]
    written, shown = processes.whole_list(written), evaluator.problems[: len(tau)]
    # One problem a difficulty first, then more, whatever became of them.
    order = sorted(range(len(shown)), key=lambda i: ([p.difficulty for p in shown[:i]].count(shown[i].difficulty), i))
    return [
        {
            "prompt": shown[i].prompt,
            "reference": shown[i].solution,
            "family": shown[i].family,
            "difficulty": shown[i].difficulty,
            "answer_before": before.texts[i],
            "answer_after": after.texts[i],
            "correct_before": bool(before.correct_P[i]),
            "correct_after": bool(after.correct_P[i]),
            "practice": [
                example | {"weight": float(weights[i, j]), "attribution": float(tau[i, j])}
                for j, example in enumerate(written[i])
            ],
        }
        for i in order[:SHOWN]
    ]


def synthesis_quality(study: Study, params: Params, model: str, evaluator: Evaluator) -> dict[str, float]:
    """Shares of well-formed, on-family, correct and leaking examples among the practice that a model writes."""
    task = study.domain.task
    own = evaluator.practice(model, params, "own", study.method)
    pairs = list(zip(evaluator.batches(), own, strict=True))
    predicates = {"leak": task.leaks}
    if task.privileged:
        predicates |= {"on_family": task.is_on_family, "correct": task.is_correct}
    columns = {name: [share(predicate, batch, p.sets) for batch, p in pairs] for name, predicate in predicates.items()}
    columns = {"well_formed": [p.sets.valid_PxM for _, p in pairs]} | columns
    return {name: float(np.mean([processes.whole(batch) for batch in column])) for name, column in columns.items()}


def attribution_check(study: Study, state: TrainState, model: str, evaluator: Evaluator) -> dict[str, float | None]:
    """Correlation of exact attributions with float64 central differences on the trained model, SGD and Adam."""
    count = len(processes.rows(study.config.evaluate.checked))  # of every process's problems the first
    batch = evaluator.batches()[0][:count]
    own = evaluator.practice(model, state.params, "own", study.method)[0]
    written, checks, practice = jax.tree.map(
        lambda leaf: leaf[:count], (own.written, own.sets.checks, own.sets.sequences)
    )
    valid = own.sets.valid_PxM[:count]
    found = {}
    for optimizer, rate in CHECKED_RATES.items():
        inner = dataclasses.replace(study.method.inner, optimizer=optimizer, learning_rate=rate)
        method = dataclasses.replace(study.method, inner=inner)
        tau, oracle = attribution.compare_with_differences(
            study.domain, method, state.params, state.eta, batch, written, checks, practice, valid
        )
        tau, oracle, counts = processes.whole((tau, oracle, valid))
        found[optimizer] = _or_none(stats.correlation, tau[counts], oracle[counts])
    return found


def _or_none(statistic: Callable[..., float], *columns: ArrayLike) -> float | None:
    """The statistic, or None where there is nothing to compute it from (a generator that writes only garbage)."""
    try:
        value = statistic(*columns)
    except ValueError:
        return None
    return None if np.isnan(value) else value


def _attributions(study: Study, state: TrainState, batch: list[Problem], practice: WrittenPractice) -> np.ndarray:
    adapter, sets = attribution.fresh_adapter(study.method, state.params, jax.random.key(0)), practice.sets
    gold = attribution.references(study.domain, study.method, batch)
    written, checks, trained_on, valid, *asked = processes.share(
        (practice.written, sets.checks, sets.sequences, sets.valid_PxM, gold.sequences, gold.coefficients_PxS)
    )
    adapted = attribution.score_and_adapt(
        study.method, state.params, state.eta, adapter, written, checks, trained_on, valid
    )
    return processes.local(attribution.attribute(study.method, state.params, adapted, trained_on, *asked).tau_PxM)


def write_results(study: Study, states: dict[str, TrainState], extra: dict) -> Path:
    """Evaluate on the test split and write results.json, scorer.json and examples.jsonl into the workdir."""
    start = time.perf_counter()
    evaluator = Evaluator(study, list(study.splits.test), study.config.seed + 1)
    results, verdicts = evaluate(study, states, evaluator)
    trained = "mass" if "mass" in states else "mass_gold"
    mass = states[trained]
    results["checks"], view = {}, {}
    if study.domain.task.privileged:
        view = scorer_view(study, mass, trained, evaluator)
        gains = {name: verdicts[name].mean() - verdicts["base"].mean() for name in (trained, "oracle_gold_family")}
        results["checks"] = {
            "attribution_fd_correlation": attribution_check(study, mass, trained, evaluator),
            "scorer_auc_within_task": _or_none(stats.within_task_auc, view["scores"], view["correct"], view["task"]),
            "oracle_gain_recovered": float(gains[trained] / gains["oracle_gold_family"])
            if gains["oracle_gold_family"]
            else None,
        }
    results["synthesis"] = {
        "before": synthesis_quality(study, states["base"].params, "base", evaluator),
        "after": synthesis_quality(study, mass.params, trained, evaluator),
    }
    results |= {"config": study.config.to_dict(), "seed": study.config.seed}
    results |= {name: value for name, value in extra.items() if name != "timing"}
    phases = extra.get("timing", {}) | {"evaluate": time.perf_counter() - start}
    results["timing"] = {"total_seconds": sum(phases.values()), "phases": phases}
    shown = examples(study, mass, trained, evaluator)
    for name, text in (
        ("results.json", json.dumps(results, indent=2)),
        ("scorer.json", json.dumps(view)),
        ("examples.jsonl", "\n".join(map(json.dumps, shown)) + "\n"),
    ):
        if processes.first():
            write_atomically(study.workdir / name, text)
    return study.workdir / "results.json"


def main(config: ConfigDict, workdir: Path) -> None:
    """Finish whatever training is unfinished, then evaluate."""
    enable_compilation_cache(workdir.parent / ".jax_cache")
    study = open_study(config, workdir)
    states = {"base": base_state(study)} | {name: trained_state(study, name) for name in config.arms}
    print(write_results(study, states, {}))


def trained_state(study: Study, name: str) -> TrainState:
    """An arm after its training, without its optimisers' moments: they are twice the model, and answers need none."""
    return train_arm(study, name)._replace(opt_state=None, eta_opt_state=None)


def base_state(study: Study) -> TrainState:
    """The pretrained model as a state, without a scorer."""
    return TrainState(study.base, None, {}, None, jax.random.key(study.config.seed))


if __name__ == "__main__":
    command_line.run(main)
