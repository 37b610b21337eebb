"""A whole tiny run, as `make smoke` makes it: every phase, every arm, a valid results.json and a report."""

import json
import subprocess
from pathlib import Path

import pytest

from configs import smoke
from mass_jax import records
from mass_jax.study.arms import ARMS
from tests import programs

METHODS, CONTROLS = ({name for name, arm in ARMS.items() if arm.control == control} for control in (False, True))


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a finished smoke run."""
    workdir = tmp_path_factory.mktemp("runs") / "smoke"
    words = ["--config=configs/smoke.py", f"--workdir={workdir}", "--profile=1"]
    words.append(f"--config.task.data_dir={workdir.parent / 'data'}")
    command = programs.python("experiments.demo", *words)
    done = subprocess.run(command, cwd=programs.ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return workdir


def test_results_have_every_method_control_and_check(workdir: Path):
    results = json.loads((workdir / "results.json").read_text())
    problems, skipped = smoke.get_config().task.test_problems, set(smoke.get_config().evaluate.skip)
    assert set(results["methods"]) == METHODS - skipped
    skipped |= {"ttt_shown"}  # these problems show no examples
    trained = {name for name, arm in ARMS.items() if arm.model in ("base", *results["config"]["arms"])}
    assert set(results["controls"]) == (CONTROLS - skipped) & trained
    assert set(results["log_likelihood"]) == trained - skipped
    for name, mean in results["log_likelihood"].items():
        assert (mean is not None) == ARMS[name].recipe.has_likelihood, name
    for row in (results["methods"] | results["controls"]).values():
        low, high = row["ci95"]
        assert row["n"] == problems
        assert 0 <= low <= row["accuracy"] <= high <= 1
    for pair in ("mass-base", "mass-tt_ss", "mass-solver_grpo", "mass-mass_no_update", "mass-mass_shuffled_weights"):
        a, _, b = pair.partition("-")
        table = results["methods"] | results["controls"]
        assert results["paired"][pair]["diff"] == pytest.approx(table[a]["accuracy"] - table[b]["accuracy"])
    assert {"attribution_fd_correlation", "scorer_auc_within_task", "oracle_gain_recovered"} <= set(results["checks"])
    assert set(results["checks"]["attribution_fd_correlation"]) == {"sgd", "adam"}
    for when in ("before", "after"):
        assert all(0 <= share <= 1 for share in results["synthesis"][when].values())
    gate = records.loads((workdir / "gate.json").read_text())
    assert gate.pop(records.MADE_WITH) and gate == {"gate": results["gate"]}
    assert results["timing"]["total_seconds"] == pytest.approx(sum(results["timing"]["phases"].values()))
    assert {"pretrain", "gate", "train/mass", "evaluate", "report"} <= set(results["timing"]["phases"])
    assert [row["program"] for row in results["timing"]["invocations"]] == ["demo"]
    rows = set(results["methods"] | results["controls"])
    assert set(results["labels"]) == set(results["meanings"]) == rows and all(results["meanings"].values())
    assert set(results["arms"]) == set(smoke.get_config().arms) and results["headline"] == "mass"
    assert results["environment"]["packages"]["jax"]


def test_every_arm_has_its_metrics_and_every_view_its_file(workdir: Path):
    config = smoke.get_config()
    for arm in config.arms:
        rows = [json.loads(line) for line in (workdir / arm / "metrics.jsonl").read_text().splitlines()]
        assert [row["step"] for row in rows] == list(range(config.train.steps))
        assert list((workdir / arm / "profile").rglob("*.xplane.pb")), "asked for by --profile"
    assert len((workdir / "examples.jsonl").read_text().splitlines()) == 5
    page = (workdir / "report.html").read_text()
    assert "mass_gold" in page or "MASS-gold" in page


def test_models_are_adapted_to_what_they_wrote(workdir: Path):
    # An equality of two runs, or of two programs, would say nothing of adaptation where there is none.
    for arm in ("mass_gold", "mass", "first_order"):
        rows = [json.loads(line) for line in (workdir / arm / "metrics.jsonl").read_text().splitlines()]
        assert all(row["synthesis/well_formed"] > 0.3 for row in rows), arm
        assert all(row["outer/loss_post"] != row["outer/loss_pre"] for row in rows), arm
        assert any(row["attribution/std"] > 0 and row["grad_norm/scorer"] > 0 for row in rows), arm
