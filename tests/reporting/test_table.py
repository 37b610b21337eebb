"""The Markdown tables."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from mass_jax.reporting import table
from mass_jax.reporting.run import RunError
from mass_jax.results import Results


def test_methods_come_in_the_paper_order_with_their_gain(run_files: dict[str, str]):
    results = json.loads(run_files["results.json"])
    results["methods"]["base"]["not_judged"], results["methods"]["mass"]["not_judged"] = 3, 0
    results["methods"] = dict(reversed(results["methods"].items())) | {"another_idea": {"accuracy": 0.1}}
    rows = table.methods_table(Results(**results)).rows
    assert [row[0] for row in rows] == [
        "Base", "Base TTT", "TT-SS", "TT-SS, majority", "Solver GRPO", "MASS-gold", "MASS", "another idea",
    ]  # fmt: skip
    assert rows[6][2:] == ("62.0", "57.0 to 67.0", "+16.0", "400")
    assert rows[0][5] == "400 (3 not judged, taken as wrong)"
    assert rows[1][4] == "−1.0"
    assert rows[7][2:] == ("10.0", "–", "−36.0", "–")


def test_differences_name_both_sides(run_files: dict[str, str]):
    rows = {row[0]: row[1:] for row in table.paired_table(Results(**json.loads(run_files["results.json"]))).rows}
    assert rows["MASS − Solver GRPO"] == ("+12.0", "+9.0 to +15.0")


def test_longest_phase_first(run_files: dict[str, str]):
    results = json.loads(run_files["results.json"])
    results["timing"]["phases"]["report"] = 0.01  # the phase that writes the table has only begun
    rows = table.time_table(Results(**results)).rows
    assert rows == [("train MASS", "402.1"), ("pretrain", "310.5"), ("evaluate", "200.9"), ("whole run", "1,075.2")]


def test_shares_of_practice_are_called_by_words(run_files: dict[str, str]):
    rows = table.synthesis_table(Results(**json.loads(run_files["results.json"]))).rows
    assert rows == [
        ("Well formed", "99.0", "100.0"),
        ("On topic", "97.0", "98.0"),
        ("Right", "41.0", "55.0"),
        ("Mention what the problem asks for", "2.0", "–"),
        ("Distinct pairs of words", "50.0", "–"),
    ]


@pytest.mark.parametrize("name", ["report", "table", "pages", "pareto"])
def test_help_names_the_command(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--help"])
    with pytest.raises(SystemExit):
        importlib.import_module(f"mass_jax.reporting.{name}").main()
    assert f"usage: python -m mass_jax.reporting.{name} " in capsys.readouterr().out


def test_markdown_is_aligned_and_escaped():
    text = table.to_markdown(table.Table(("a", "b"), "lr", [("x|y", "1")]))
    assert text == "| a | b |\n| --- | ---: |\n| x\\|y | 1 |"


def test_empty_results_make_empty_tables():
    for build in (
        table.methods_table,
        table.controls_table,
        table.paired_table,
        table.log_likelihood_table,
        table.synthesis_table,
        table.time_table,
    ):
        assert build(Results()).rows == []


def test_command_line(workdir: Path):
    command = [sys.executable, "-m", "mass_jax.reporting.table", f"--workdir={workdir}"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "| MASS | meta-trained with the verifier's verdicts | 62.0 | 57.0 to 67.0 | +16.0 | 400 |" in printed
    assert "| train MASS | 402.1 |" in printed

    (workdir / "results.json").unlink()
    failed = subprocess.run(command, capture_output=True, text=True)
    assert failed.returncode == 2 and "': results.json is not in this run" in failed.stderr


def test_a_run_without_tables_says_so(tmp_path: Path):
    (tmp_path / "results.json").write_text('{"gate": {"base": {"accuracy": 0.5}}}')
    with pytest.raises(RunError, match="' has no tables yet, .* evaluate what is trained by python -m experiments.ev"):
        table.print_tables(str(tmp_path))


def test_log_likelihoods_have_their_difference_to_base():
    results = {
        "labels": {"base": "Base", "tt_ss": "TT-SS", "best_of_n": "Best of N"},
        "log_likelihood": {"base": -1.5, "tt_ss": -1.25, "best_of_n": None},
        "paired_log_likelihood": {"tt_ss-base": {"diff": 0.25, "ci95": [-0.1, 0.6]}},
    }
    rows = table.log_likelihood_table(Results(**results)).rows
    assert rows == [
        ("Base", "−1.500", "–", "–"),
        ("TT-SS", "−1.250", "+0.250", "−0.100 to +0.600"),
        ("Best of N", "–", "–", "–"),
    ]


def test_an_arm_of_ones_own_has_its_label_everywhere(run_files: dict[str, str]):
    results = json.loads(run_files["results.json"])
    results["methods"]["mine"] = {"accuracy": 0.5, "ci95": [0.4, 0.6], "n": 400}
    results["paired"]["mine-base"] = {"diff": 0.04, "ci95": [-0.01, 0.09]}
    results["log_likelihood"] = {"mine": -1.5}
    results["timing"]["phases"]["train/mine"] = 3.0
    row = table.methods_table(Results(**results)).rows[-1]
    assert row[:3] == ("My own", "trained with train.mode = gold, inner.steps = 4", "50.0")
    assert table.paired_table(Results(**results)).rows[-1][0] == "My own − Base"
    assert table.log_likelihood_table(Results(**results)).rows[0][0] == "My own"
    assert ("train My own", "3.0") in table.time_table(Results(**results)).rows
    assert table.cost_table(Results(**results)).rows == [("answer as My own", "12.5 s")]
    assert table.overrides_table(Results(**results)).rows == [("My own", "train.mode = gold, inner.steps = 4")]


def test_what_made_a_run_is_shown(run_files: dict[str, str]):
    results = json.loads(run_files["results.json"])
    rows = dict(table.environment_table(Results(**results)).rows)
    assert rows["Commit"] == "0123456789" * 4 + " with uncommitted changes"
    assert rows["Devices"] == "16 × TPU v5e, 4 processes" and rows["Processor"] == "A CPU @ 2 GHz, 8 cores"
    assert rows["jax"] == "0.10.2"
    assert table.invocations_table(Results(**results)).rows[1] == ("evaluate", "2026-01-02", "b" * 12, "75.2")
    results["timing"]["invocations"].pop()
    assert table.invocations_table(Results(**results)).rows == [], "one program did it all: the phases say everything"


def test_the_gate_is_a_table_and_checks_have_words(run_files: dict[str, str]):
    results = json.loads(run_files["results.json"])
    assert table.gate_table(Results(**results)).rows == [
        ("Base", "45.0 %", "40.0 to 50.0", "400"),
        ("Oracle", "62.0 %", "57.0 to 67.0", "400"),
        ("Oracle − Base", "+17.0 points", "+10.0 to +24.0", ""),
    ]
    assert table.checks_table(Results(**results)).rows[0] == (
        "Attribution against finite differences: correlation, sgd", "0.9991"
    )  # fmt: skip
