"""Evaluate trained arms, baselines and controls on test families, and write results.json.

    python -m experiments.evaluate --config=configs/demo.py --workdir=runs/demo

Every arm of `mass_jax.mass.arms` answers the same problems; arms that use the same model and the same kind of practice
share the very same practice sets, so that differences between them are paired.
"""

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from experiments.evaluator import Evaluator
from experiments.views import attribution_check, examples, or_none, scorer_view, synthesis_quality
from mass_jax import records
from mass_jax.mass.arms import CONTROLS, METHODS, Arm
from mass_jax.mass.outer import TrainState
from mass_jax.models import processes
from mass_jax.reporting import stats
from mass_jax.training import array_tree
from mass_jax.training import config as command_line
from mass_jax.training.checksum import checksums
from mass_jax.training.compilation import enable_compilation_cache
from mass_jax.training.progress import Progress
from mass_jax.training.study import Study, open_study, train_arm
from mass_jax.training.workdir import fingerprint, write_atomically


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
    origin = made_with(evaluator.study, state)
    found = records.read(path, origin)
    if not processes.largest(found is None):  # all processes compute, or none does
        assert found is not None
        return found
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
            "scorer_auc_within_task": or_none(stats.within_task_auc, view["scores"], view["correct"], view["task"]),
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
        ("results.json", records.dumps(results, indent=2)),
        ("scorer.json", records.dumps(view)),
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
