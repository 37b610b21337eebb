"""Evaluate trained arms, baselines and controls on test families, and write results.json.

Every row of `study.table` answers the same problems; arms that use the same model and the same source of practice share
the very same practice sets, so that differences between them are paired. Nothing is trained: an arm that is not
finished is a sentence.
"""

import json
import time
from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mass_jax import records
from mass_jax.mass.state import Trained
from mass_jax.parallel import hosts
from mass_jax.reporting import stats
from mass_jax.runtime import array_tree, environment
from mass_jax.runtime.checksum import checksums
from mass_jax.runtime.configs import fingerprint
from mass_jax.runtime.progress import Progress
from mass_jax.runtime.results import merge
from mass_jax.runtime.workdir import write_atomically
from mass_jax.study import plugins
from mass_jax.study.arms import Arm, pairs
from mass_jax.study.decomposition import decomposition, generator
from mass_jax.study.evaluator import Evaluator
from mass_jax.study.schema import Config
from mass_jax.study.study import Study, overrides, table
from mass_jax.study.targets import targets
from mass_jax.study.views import attribution_check, examples, or_none, scorer_view
from mass_jax.tasks.base import KnowsFamily


def rows(study: Study, trained: Container[str]) -> dict[str, Arm]:
    """The rows that the config asks for, whose model is at hand, and that the domain makes possible."""
    asked = {name: arm for name, arm in table(study.config).items() if arm.model in trained}
    skip, task = study.config.evaluate.skip, study.domain.task
    return {name: arm for name, arm in asked.items() if name not in skip and arm.possible(task)}


def headline(rows: Mapping[str, Arm]) -> str | None:
    """The row that the report is about: MASS, else MASS-gold, else the first trained one that writes practice."""
    able = [name for name, arm in rows.items() if arm.model == name and arm.recipe.practice == "own"]
    return next((name for name in ("mass", "mass_gold", *able) if name in able), None)


def evaluate(evaluator: Evaluator, progress: Progress) -> dict[str, dict]:
    """Answer every row of the tables.

    Returns:
      What each row did, by its name.
    """
    measured: dict[str, dict] = {}
    for name, arm in rows(evaluator.study, evaluator.states).items():
        progress.doing(name)
        measured[name] = _measured(evaluator, arm)
        progress.update(len(measured), {"accuracy": float(np.mean(measured[name]["correct"]))})
    return measured


def compare(config: Config, measured: Mapping[str, Mapping[str, Any]], families: np.ndarray) -> dict[str, Any]:
    """The parts of results.json that are about accuracy.

    Args:
      config: the study's.
      measured: what each row of the tables did.
      families: of the problems.
    """
    verdicts = {name: np.array(row["correct"]) for name, row in measured.items()}
    found = {name: row["log_likelihood"] for name, row in measured.items()}
    likelihoods = {name: np.array(column) for name, column in found.items() if column is not None}
    accuracies = {
        name: dict(stats.accuracy(verdict, families)) | {"not_judged": measured[name]["not_judged"]}
        for name, verdict in verdicts.items()
    }
    known = table(config)

    def differences(columns: dict[str, np.ndarray], of: Iterable[tuple[str, str]]) -> dict[str, stats.Difference]:
        return {f"{a}-{b}": stats.paired_difference(columns[a], columns[b], families) for a, b in of}

    return {
        "methods": {name: row for name, row in accuracies.items() if not known[name].control},
        "controls": {name: row for name, row in accuracies.items() if known[name].control},
        "paired": differences(verdicts, pairs(known, measured)),
        "log_likelihood": {name: float(likelihoods[name].mean()) if name in likelihoods else None for name in found},
        "paired_log_likelihood": differences(likelihoods, ((name, "base") for name in likelihoods if name != "base")),
        "cost": {f"evaluate/{name} (s)": row["seconds"] for name, row in measured.items()},
    }


def described(config: Config, names: Iterable[str]) -> dict[str, Any]:
    """The parts of results.json that say what ran, and with what."""
    made, known = environment.describe(), table(config)
    return {
        "labels": {name: known[name].label for name in names},
        "meanings": {name: known[name].meaning for name in names},
        "targets": targets(config),
        "arms": {name: {"overrides": overrides(config, name)} for name in config.arms},
        "commit": made["commit"],
        "environment": made,
        "config": config.given,
        "seed": config.seed,
    }


def _measured(evaluator: Evaluator, arm: Arm) -> dict[str, Any]:
    """What one arm did on every problem; from its file where an interrupted evaluation has left it, else into it."""
    path = evaluator.study.workdir / "evaluation" / f"{arm.name}.json"
    origin = made_with(evaluator.study, evaluator.states[arm.model])
    found = records.read(path, origin)
    if not hosts.largest(found is None):  # all processes compute, or none does
        assert found is not None
        return found
    start = time.perf_counter()
    outcomes = evaluator.run(arm.model, arm.recipe)
    likelihoods = [outcome.log_likelihood_P for outcome in outcomes if outcome.log_likelihood_P is not None]
    row = {
        "correct": evaluator.correct(outcomes).tolist(),
        "not_judged": int((~evaluator.unfilled([outcome.judged_P for outcome in outcomes])).sum()),
        "log_likelihood": evaluator.unfilled(likelihoods).tolist() if likelihoods else None,
        "answers": [text for outcome in outcomes for text in outcome.texts][: len(evaluator.problems)],
        "seconds": time.perf_counter() - start,
    }
    if hosts.first():
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, records.dumps(row, origin))
    return row


def made_with(study: Study, state: Trained) -> dict[str, str]:
    """What an arm's answers depend on: the config, the model's parameters, the code of the method and of plugins."""
    leaves = checksums(array_tree.encode((state.params, state.eta)))
    origin = {
        "config": fingerprint(study.config.given),
        "parameters": records.checksum(leaves),
        "code": records.method_version(),
    }
    named = study.config.plugins
    return origin | ({"plugins": plugins.version(named)} if named else {})


def write_results(study: Study, states: Mapping[str, Trained]) -> Path:
    """Evaluate on the test split; write problems.json, scorer.json, examples.jsonl and our part of results.json."""
    evaluator = Evaluator(study, states, study.splits.test, study.config.seed + 1)
    with Progress(len(rows(study, states)) + 1, label="evaluate", show=["accuracy"]) as progress:
        measured = evaluate(evaluator, progress)
        results = compare(study.config, measured, evaluator.families)
        found, view, shown = inspect(evaluator, results, progress)
        progress.update(len(measured) + 1)
    results |= found | described(study.config, measured)
    if hosts.first():
        asked = {"family": evaluator.families.tolist(), "difficulty": [each.difficulty for each in evaluator.problems]}
        write_atomically(study.workdir / "problems.json", records.dumps(asked))
        write_atomically(study.workdir / "scorer.json", records.dumps(view))
        write_atomically(study.workdir / "examples.jsonl", "".join(json.dumps(each) + "\n" for each in shown))
    return merge(study.workdir, **results)


def inspect(
    evaluator: Evaluator, results: Mapping[str, Any], progress: Progress
) -> tuple[dict[str, Any], dict[str, list], list[dict]]:
    """What the report shows beside the tables: further parts of results.json, scorer.json and examples.jsonl."""
    main = headline(rows(evaluator.study, evaluator.states))
    checks: dict[str, Any] = {}
    found: dict[str, Any] = {}
    view: dict[str, list] = {}
    shown: list[dict] = []
    progress.doing("what every model writes and solves")
    parts = decomposition(evaluator)
    quality = {"before": parts["base"]["practice"]}
    if main is not None:
        if isinstance(evaluator.study.domain.task, KnowsFamily):
            progress.doing("scores and attributions")
            view = scorer_view(evaluator, main)
            progress.doing("attribution check")
            checks = {
                "attribution_fd_correlation": attribution_check(evaluator, main),
                "scorer_auc_within_task": or_none(stats.within_task_auc, view["scores"], view["correct"], view["task"]),
                "oracle_gain_recovered": _recovered(results, main),
            }
        progress.doing("examples")
        quality["after"] = parts[main]["practice"]
        found["generator"] = generator(parts, main, evaluator.study.workdir)
        shown = examples(evaluator, main)
    found |= {"headline": main, "checks": checks, "synthesis": quality, "decomposition": parts}
    return found, view, shown


def _recovered(results: Mapping[str, Any], main: str) -> float | None:
    """The share of the oracle's gain over the base that an arm has; None where one of them was not measured."""
    table = results["methods"] | results["controls"]
    if not {"base", "oracle_gold_family"} <= table.keys():
        return None
    gains = [table[name]["accuracy"] - table["base"]["accuracy"] for name in (main, "oracle_gold_family")]
    return gains[0] / gains[1] if gains[1] else None


def base_state(study: Study) -> Trained:
    """The pretrained model, without a scorer."""
    return Trained(study.base, {})
