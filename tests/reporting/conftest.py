"""A run directory such as the experiments leave it, with invented numbers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mass_jax.reporting import report

TARGETS = {
    "gains": {"oracle_gold_family": 0.15, "oracle_strict": 0.05},
    "above": ["base", "tt_ss", "solver_grpo", "mass_no_update", "mass_shuffled_weights"],
    "right": 0.25,
    "kept": ["mass_no_update"],
    "checks": {"oracle_gain_recovered": 0.5, "attribution_fd_correlation": 0.99, "scorer_auc_within_task": 0.7},
    "problems": 300,
    "minutes": 20,
}
COMMAND = "python -m experiments.demo --config=configs/demo.py --workdir=runs/demo"
LABELS = {
    "base": "Base",
    "base_ttt": "Base TTT",
    "tt_ss": "TT-SS",
    "tt_ss_majority": "TT-SS, majority",
    "solver_grpo": "Solver GRPO",
    "mass_gold": "MASS-gold",
    "mass": "MASS",
    "oracle_gold_family": "Oracle",
    "mine": "My own",
}


@pytest.fixture(scope="session")
def run_files() -> dict[str, str]:
    """The text of each file of a finished run, by its path in the run directory."""
    rng = np.random.default_rng(0)
    methods = {
        "base": 0.46,
        "base_ttt": 0.45,
        "tt_ss": 0.47,
        "tt_ss_majority": 0.46,
        "solver_grpo": 0.5,
        "mass_gold": 0.6,
        "mass": 0.62,
    }
    controls = {
        "mass_no_update": 0.48,
        "mass_uniform_weights": 0.52,
        "mass_shuffled_weights": 0.53,
        "mass_other_problem": 0.46,
        "mass_strict": 0.57,
        "oracle_gold_family": 0.65,
        "oracle_strict": 0.55,
        "oracle_filter": 0.57,
        "first_order": 0.58,
    }
    paired = {
        f"mass-{name}": {"diff": 0.62 - share, "ci95": [0.59 - share, 0.65 - share]}
        for name, share in (methods | controls).items()
        if name != "mass"
    }
    results = {
        "config": {"seed": 3, "model": {"width": 128, "note": "<b>not markup</b>"}},
        "targets": TARGETS,
        "seed": 3,
        "commit": "0123456789" * 4,
        "environment": {
            "commit": "0123456789" * 4,
            "uncommitted": True,
            "date": "2026-01-02T03:04:05+00:00",
            "python": "3.11.7",
            "packages": {"jax": "0.10.2", "numpy": "2.4.6"},
            "devices": {"platform": "tpu", "kind": "TPU v5e", "count": 16, "processes": 4},
            "cpu": {"model": "A CPU @ 2 GHz", "cores": 8},
        },
        "headline": "mass",
        "labels": LABELS,
        "meanings": {"mass": "meta-trained with the verifier's verdicts"},
        "arms": {"mine": {"overrides": {"train.mode": "gold", "inner.steps": 4}}},
        "methods": {name: _accuracy(share) for name, share in methods.items()},
        "controls": {name: _accuracy(share) for name, share in controls.items()},
        "paired": paired,
        "checks": {
            "attribution_fd_correlation": {"sgd": 0.9991, "adam": 0.995},
            "scorer_auc_within_task": 0.74,
            "oracle_gain_recovered": 0.84,
        },
        "synthesis": {
            "before": {"well_formed": 0.99, "on_family": 0.97, "correct": 0.41, "leak": 0.02, "distinct_2": 0.5},
            "after": {"well_formed": 1.0, "on_family": 0.98, "correct": 0.55},
        },
        "generator": {
            "on_topic": {"before": 0.38, "after": 0.66, "frozen": 0.38},
            "right": {"before": 0.36, "after": 0.63, "frozen": 0.37},
            "d_prime": {"start": 0.85, "end": 0.49},
        },
        "decomposition": {
            "base": {"practice": {"well_formed": 0.99, "on_family": 0.36}, "accuracy": {"un_adapted": 0.46}},
            "mass": {
                "practice": {"well_formed": 0.98, "on_family": 0.63, "distinct": 0.9},
                "accuracy": {"un_adapted": 0.48, "uniform": 0.52, "scorer": 0.62},
            },
        },
        "gate": {
            "base": _accuracy(0.45),
            "oracle_gold_family": _accuracy(0.62),
            "oracle_gold_family-base": {"diff": 0.17, "ci95": [0.1, 0.24]},
        },
        "cost": {"evaluate/mine (s)": 12.5},
        "timing": {
            "total_seconds": 1075.2,
            "phases": {"pretrain": 310.5, "train/mass": 402.1, "evaluate": 200.9},
            "invocations": [
                {"program": "demo", "command": COMMAND, "began": "2026-01-01", "commit": "a" * 40, "seconds": 1000.0},
                {"program": "evaluate", "began": "2026-01-02", "commit": "b" * 40, "seconds": 75.2},
            ],
        },
    }
    metrics = [
        {
            "step": step,
            "phase": "train",
            "outer/loss_pre": 1.2 - step / 150 + 0.05 * rng.normal(),
            "outer/loss_post": 1.1 - step / 110 + 0.05 * rng.normal(),
            "outer/accuracy": 0.4 + step / 500,
            "outer/dead_groups": 0.2,
            "synthesis/well_formed": 0.97,
            "synthesis/correct": 0.4 + step / 700,
            "reward/d_prime": 0.8 - step / 300,
            "scorer/auc": 0.5 + step / 500,
            "attribution/std": 1e-3,
            "grad_norm/generator": float(10 ** rng.normal()),
            "grad_norm/scorer": float(10 ** rng.normal()),
            "learning_rate": 1e-3,
            "machine/peak_host_bytes": 3e9,
            "machine/flops_per_second": 2e12,
            "machine/seconds": 1.5,
            "machine/programs_compiled": 0.0,
            "time/synthesise": 0.4,
        }
        for step in range(100)
    ]
    pretrain = [{"step": step, "pretrain/loss": 3.0 / (1 + step / 30), "accuracy": step / 300} for step in range(200)]
    pairs, tasks = 12, 40
    correct = rng.random(pairs * tasks) < 0.45
    scores = correct + 1.2 * rng.normal(size=pairs * tasks)
    weights = np.exp(scores.reshape(tasks, pairs))
    scorer = {
        "scores": scores.tolist(),
        "weights": (pairs * weights / weights.sum(1, keepdims=True)).ravel().tolist(),
        "attributions": (-1e-3 * (correct + rng.normal(size=pairs * tasks))).tolist(),
        "correct": correct.tolist(),
        "task": np.repeat(np.arange(tasks), pairs).tolist(),
    }
    return {
        "results.json": json.dumps(results),
        "mass/metrics.jsonl": _lines(metrics),
        "pretrain/metrics.jsonl": _lines(pretrain),
        "examples.jsonl": _lines([_example(rng, index) for index in range(5)]),
        "scorer.json": json.dumps(scorer),
    }


@pytest.fixture
def workdir(tmp_path: Path, run_files: dict[str, str]) -> Path:
    """A directory that holds all of those files."""
    return _write(tmp_path, run_files)


@pytest.fixture(scope="session")
def page(tmp_path_factory: pytest.TempPathFactory, run_files: dict[str, str]) -> str:
    """The report of that run, drawn once."""
    directory = _write(tmp_path_factory.mktemp("finished_run"), run_files)
    return report.write_report(directory).read_text(encoding="utf-8")


def _write(directory: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return directory


def _accuracy(share: float) -> dict[str, Any]:
    return {"accuracy": share, "ci95": [share - 0.05, share + 0.05], "n": 400}


def _lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def _example(rng: np.random.Generator, index: int) -> dict[str, Any]:
    return {
        "prompt": f"8 5 1 4 6 {index} -> ",
        "reference": "3 4",
        "family": f"rule {index}",
        "difficulty": 2,
        "answer_before": "3 <7>",
        "answer_after": "3 4",
        "correct_before": False,
        "correct_after": True,
        "practice": [
            {
                "text": f"8 5 1 4 {pair} 2 -> 1 {pair}",
                "weight": float(rng.exponential()),
                "correct": bool(pair % 2),
                "on_family": pair != 3,
                "attribution": float(rng.normal() * 1e-3),
            }
            for pair in range(6)
        ],
    }
