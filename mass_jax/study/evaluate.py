"""Evaluate trained arms, baselines and controls on test families, and write results.json.

Every row of `mass_jax.mass.arms`, and every arm of ``config.arms`` that is none of them, answers the same problems;
arms that use the same model and the same kind of practice share the very same practice sets, so that differences
between them are paired. Nothing is trained: an arm that is not finished is a sentence.
"""

import json
import time
from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from mass_jax import records
from mass_jax.mass.arms import CONTROLS, METHODS, Arm
from mass_jax.mass.state import TrainState
from mass_jax.parallel import hosts
from mass_jax.reporting import labels, stats
from mass_jax.runtime import array_tree, environment
from mass_jax.runtime.checksum import checksums
from mass_jax.runtime.configs import fingerprint
from mass_jax.runtime.progress import Progress
from mass_jax.runtime.results import merge
from mass_jax.runtime.workdir import write_atomically
from mass_jax.study.evaluator import Evaluator
from mass_jax.study.study import Study, methods, overrides
from mass_jax.study.views import attribution_check, examples, or_none, scorer_view, synthesis_quality
from mass_jax.tasks.base import KnowsFamily


def rows(study: Study, trained: Container[str]) -> dict[str, Arm]:
    """The methods and controls that the config asks for, whose model is at hand, and that the domain makes possible."""
    asked = {name: arm for name, arm in (methods(study.config) | CONTROLS).items() if arm.model in trained}
    skip, task = study.config.evaluate.skip, study.domain.task
    return {name: arm for name, arm in asked.items() if name not in skip and arm.possible(task)}


def headline(rows: Mapping[str, Arm]) -> str | None:
    """The row that the report is about: MASS, else MASS-gold, else the first trained one that writes practice."""
    able = [name for name, arm in rows.items() if arm.model == name and arm.practice == "own"]
    return next((name for name in ("mass", "mass_gold", *able) if name in able), None)


def evaluate(study: Study, states: Mapping[str, TrainState], evaluator: Evaluator, progress: Progress) -> dict:
    """Answer every row of the tables.

    Returns:
      What each row did, by its name.
    """
    measured: dict[str, dict] = {}
    for name, arm in rows(study, states).items():
        progress.doing(name)
        path = study.workdir / "evaluation" / f"{name}.json"
        measured[name] = _measured(path, evaluator, arm, states[arm.model])
        progress.update(len(measured), {"accuracy": float(np.mean(measured[name]["correct"]))})
    return measured


def compare(config: ConfigDict, measured: Mapping[str, Mapping[str, Any]], families: np.ndarray) -> dict[str, Any]:
    """The parts of results.json that are about accuracy.

    Args:
      config: the study's.
      measured: what each row of the tables did.
      families: of the problems.
    """
    verdicts = {name: np.array(row["correct"]) for name, row in measured.items()}
    likelihoods = {name: np.array(row["log_likelihood"]) for name, row in measured.items()}
    table = {
        name: dict(stats.accuracy(verdict, families)) | {"not_judged": measured[name]["not_judged"]}
        for name, verdict in verdicts.items()
    }
    own = [name for name in methods(config) if name not in METHODS]
    pairs = [("mass", other) for other in verdicts if other != "mass"]
    baselines = ("base", "base_ttt", "ttt_nn", "tt_ss", "solver_grpo")
    pairs += [(name, other) for name in ("mass_gold", *own) for other in baselines]
    over_base = ("base_ttt", "ttt_nn", "tt_ss", "ttt_shown", "mass_no_update", *(c for c in CONTROLS if "oracle" in c))
    pairs += [(other, "base") for other in over_base]

    def differences(columns: dict[str, np.ndarray], pairs: Iterable[tuple[str, str]]) -> dict[str, stats.Difference]:
        return {
            f"{a}-{b}": stats.paired_difference(columns[a], columns[b], families)
            for a, b in pairs
            if a in columns and b in columns
        }

    return {
        "methods": {name: row for name, row in table.items() if name not in CONTROLS},
        "controls": {name: row for name, row in table.items() if name in CONTROLS},
        "paired": differences(verdicts, pairs),
        "log_likelihood": {name: float(column.mean()) for name, column in likelihoods.items()},
        "paired_log_likelihood": differences(likelihoods, ((name, "base") for name in likelihoods if name != "base")),
        "cost": {f"evaluate/{name} (s)": row["seconds"] for name, row in measured.items()},
    }


def described(config: ConfigDict, names: Iterable[str]) -> dict[str, Any]:
    """The parts of results.json that say what ran, and with what."""
    given = {name: config.arms[name].get("label") for name in config.arms}
    made = environment.describe()
    return {
        "labels": {name: given.get(name) or labels.label(name) for name in names},
        "arms": {name: {"overrides": overrides(config, name)} for name in config.arms},
        "commit": made["commit"],
        "environment": made,
        "config": config.to_dict(),
        "seed": config.seed,
    }


def _measured(path: Path, evaluator: Evaluator, arm: Arm, state: TrainState) -> dict[str, Any]:
    """What one arm did on every problem; from ``path`` where an interrupted evaluation has left it, else into it."""
    origin = made_with(evaluator.study, state)
    found = records.read(path, origin)
    if not hosts.largest(found is None):  # all processes compute, or none does
        assert found is not None
        return found
    start = time.perf_counter()
    outcomes = evaluator.run(arm, state.params, state.eta)
    row = {
        "correct": evaluator.correct(outcomes).tolist(),
        "not_judged": int((~evaluator.unfilled([outcome.judged_P for outcome in outcomes])).sum()),
        "log_likelihood": evaluator.unfilled([outcome.log_likelihood_P for outcome in outcomes]).tolist(),
        "answers": [text for outcome in outcomes for text in outcome.texts][: len(evaluator.problems)],
        "seconds": time.perf_counter() - start,
    }
    if hosts.first():
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, records.dumps(row, origin))
    return row


def made_with(study: Study, state: TrainState) -> dict[str, str]:
    """What an arm's answers depend on: the config, the model's parameters, and the code of the method."""
    leaves = checksums(array_tree.encode((state.params, state.eta)))
    return {
        "config": fingerprint(study.config),
        "parameters": records.checksum(leaves),
        "code": records.method_version(),
    }


def write_results(study: Study, states: Mapping[str, TrainState]) -> Path:
    """Evaluate on the test split; write scorer.json, examples.jsonl and the evaluation's part of results.json."""
    evaluator = Evaluator(study, list(study.splits.test), study.config.seed + 1)
    with Progress(len(rows(study, states)) + 1, label="evaluate", show=["accuracy"]) as progress:
        measured = evaluate(study, states, evaluator, progress)
        results = compare(study.config, measured, evaluator.families)
        found, view, shown = inspect(study, states, evaluator, results, progress)
        progress.update(len(measured) + 1)
    results |= found | described(study.config, measured)
    if hosts.first():
        write_atomically(study.workdir / "scorer.json", records.dumps(view))
        write_atomically(study.workdir / "examples.jsonl", "".join(json.dumps(each) + "\n" for each in shown))
    return merge(study.workdir, **results)


def inspect(
    study: Study, states: Mapping[str, TrainState], evaluator: Evaluator, results: dict[str, Any], progress: Progress
) -> tuple[dict[str, Any], dict[str, list], list[dict]]:
    """What the report shows beside the tables: further parts of results.json, scorer.json and examples.jsonl."""
    main = headline(rows(study, states))
    checks: dict[str, Any] = {}
    view: dict[str, list] = {}
    shown: list[dict] = []
    progress.doing("practice of the base")
    quality = {"before": synthesis_quality(study, states["base"].params, "base", evaluator)}
    if main is not None:
        state = states[main]
        if isinstance(study.domain.task, KnowsFamily):
            progress.doing("scores and attributions")
            view = scorer_view(study, state, main, evaluator)
            progress.doing("attribution check")
            checks = {
                "attribution_fd_correlation": attribution_check(study, state, main, evaluator),
                "scorer_auc_within_task": or_none(stats.within_task_auc, view["scores"], view["correct"], view["task"]),
                "oracle_gain_recovered": _recovered(results, main),
            }
        progress.doing("practice and examples")
        quality["after"] = synthesis_quality(study, state.params, main, evaluator)
        shown = examples(study, state, main, evaluator)
    return {"headline": main, "checks": checks, "synthesis": quality}, view, shown


def _recovered(results: Mapping[str, Any], main: str) -> float | None:
    """The share of the oracle's gain over the base that an arm has; None where one of them was not measured."""
    table = results["methods"] | results["controls"]
    if not {"base", "oracle_gold_family"} <= table.keys():
        return None
    gains = [table[name]["accuracy"] - table["base"]["accuracy"] for name in (main, "oracle_gold_family")]
    return gains[0] / gains[1] if gains[1] else None


def for_answers(state: TrainState) -> TrainState:
    """The state without its optimisers' moments: they are twice the model, and answers need none."""
    return state._replace(opt_state=None, eta_opt_state=None)


def base_state(study: Study) -> TrainState:
    """The pretrained model as a state, without a scorer."""
    return TrainState(study.base, None, {}, None, jax.random.key(study.config.seed))
