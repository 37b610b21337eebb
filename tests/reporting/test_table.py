"""The Markdown tables."""

import json
import subprocess
import sys
from pathlib import Path

from mass_jax.reporting import table


def test_methods_come_in_the_paper_order_with_their_gain(run_files: dict[str, str]):
    results = json.loads(run_files["results.json"])
    results["methods"] = dict(reversed(results["methods"].items())) | {"another_idea": {"accuracy": 0.1}}
    rows = table.methods_table(results).rows
    assert [row[0] for row in rows] == [
        "Base", "Base TTT", "TT-SS", "TT-SS, majority", "Solver GRPO", "MASS-gold", "MASS", "another idea",
    ]  # fmt: skip
    assert rows[6][2:] == ("62.0", "57.0 to 67.0", "+16.0", "400")
    assert rows[1][4] == "−1.0"
    assert rows[7][2:] == ("10.0", "–", "−36.0", "–")


def test_differences_name_both_sides(run_files: dict[str, str]):
    rows = {row[0]: row[1:] for row in table.paired_table(json.loads(run_files["results.json"])).rows}
    assert rows["MASS − Solver GRPO"] == ("+12.0", "+9.0 to +15.0")


def test_longest_phase_first(run_files: dict[str, str]):
    rows = table.time_table(json.loads(run_files["results.json"])).rows
    assert rows == [("mass", "402.1"), ("pretrain", "310.5"), ("evaluate", "200.9"), ("whole run", "1,075.2")]


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
        assert build({}).rows == []


def test_command_line(workdir: Path):
    command = [sys.executable, "-m", "mass_jax.reporting.table", f"--workdir={workdir}"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "| MASS | meta-trained with the verifier's verdicts | 62.0 | 57.0 to 67.0 | +16.0 | 400 |" in printed
    assert "| mass | 402.1 |" in printed

    (workdir / "results.json").unlink()
    failed = subprocess.run(command, capture_output=True, text=True)
    assert failed.returncode == 1 and "results.json is not in this run" in failed.stderr


def test_log_likelihoods_have_their_difference_to_base():
    results = {
        "log_likelihood": {"base": -1.5, "tt_ss": -1.25},
        "paired_log_likelihood": {"tt_ss-base": {"diff": 0.25, "ci95": [-0.1, 0.6]}},
    }
    rows = table.log_likelihood_table(results).rows
    assert rows == [("Base", "−1.500", "–", "–"), ("TT-SS", "−1.250", "+0.250", "−0.100 to +0.600")]
