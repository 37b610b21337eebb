"""The page of several runs: seeds are one column, and what differs is said."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mass_jax.reporting import comparison, plots
from mass_jax.reporting.run import RunError, load_run
from mass_jax.reporting.table import Table


@pytest.fixture
def runs(tmp_path: Path, run_files: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Two seeds of one configuration and one of another, without the drawing."""
    monkeypatch.setattr(plots, "_figure", lambda draw, title, size: f'<svg aria-label="{title}"></svg>')
    return [
        _run(tmp_path / "first", run_files, 0, 0.60, 128),
        _run(tmp_path / "wide", run_files, 0, 0.70, 256),
        _run(tmp_path / "second", run_files, 1, 0.64, 128),
    ]


def _run(folder: Path, files: dict[str, str], seed: int, mass: float, width: int) -> Path:
    results: dict[str, Any] = json.loads(files["results.json"])
    results["seed"] = results["config"]["seed"] = seed
    results["config"]["model"]["width"] = width
    results["methods"]["mass"]["accuracy"] = mass
    results["paired"]["mass-base"]["diff"] = mass - 0.46
    for name, text in (files | {"results.json": json.dumps(results)}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def _columns(runs: list[Path]) -> list[comparison.Column]:
    return comparison.columns([load_run(run) for run in runs])


def _row(table: Table, name: str) -> tuple[str, ...]:
    return next(row for row in table.rows if row[0] == name)


def test_seeds_are_one_column_with_an_interval_over_them(runs: list[Path]):
    found = _columns(runs)
    assert [each.name for each in found] == ["first, 2 seeds", "wide"]
    # Student's t with one degree of freedom: 12.706 standard errors of 2 points.
    table = comparison.accuracies(found, lambda results: results.methods, "Method")
    assert _row(table, "MASS") == ("MASS", "62.0 (36.6 to 87.4)", "70.0 (57.0 to 67.0)")
    assert _row(comparison.differences(found), "MASS − Base")[1] == "+16.0 (−9.4 to +41.4)"


def test_a_row_that_one_seed_lacks_says_so(runs: list[Path]):
    path = runs[2] / "results.json"
    results = json.loads(path.read_text())
    del results["methods"]["tt_ss"]
    path.write_text(json.dumps(results))
    table = comparison.accuracies(_columns(runs), lambda found: found.methods, "Method")
    assert _row(table, "TT-SS")[1] == "47.0 (42.0 to 52.0, of 1)"


def test_fields_that_differ_are_named(runs: list[Path]):
    table = comparison.settings(_columns(runs))
    assert table.rows == [("seed", "0, 1", "0"), ("model.width", "128", "256")]


def test_the_same_seed_again_is_no_other_draw(runs: list[Path], run_files: dict[str, str]):
    again = _run(runs[0].parent / "elsewhere" / "first", run_files, 0, 0.61, 128)
    found = _columns([runs[0], again])
    assert [len(each.runs) for each in found] == [1, 1]
    assert [each.name for each in found] == [str(runs[0]), str(again)], "folders of one name are told apart"


def test_the_page_has_every_section_and_escapes_names(runs: list[Path]):
    odd = runs[1].rename(runs[1].with_name("<b>wide"))
    page = comparison.page([load_run(run) for run in (runs[0], odd)])
    for name in ("methods", "controls", "paired", "generator", "settings"):
        assert f'<section id="{name}">' in page and f'href="#{name}"' in page
    assert "<b>wide" not in page and "&lt;b&gt;wide" in page
    assert 'aria-label="Right practice, of all texts"' in page and "over families." in page


def test_what_cannot_be_compared_is_a_sentence(runs: list[Path]):
    with pytest.raises(RunError, match="is given twice"):
        _columns([runs[0], runs[0]])
    results = json.loads((runs[1] / "results.json").read_text())
    (runs[1] / "results.json").write_text(json.dumps(results | {"config": "wide"}))
    with pytest.raises(RunError, match=r"wide': results\.json does not fit in config"):
        _columns(runs)  # without its config it would be a seed of another column
    (runs[1] / "results.json").unlink()
    with pytest.raises(RunError, match=r"wide': results\.json is not in this run"):
        _columns(runs)


def test_runs_that_do_not_say_their_config_are_columns_of_their_own(runs: list[Path]):
    for path in (run / "results.json" for run in runs):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"config": {}}))
    assert [each.name for each in _columns(runs)] == ["first", "wide", "second"]


def test_the_folder_that_it_is_called_in_has_a_name(runs: list[Path], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(runs[0])
    assert [each.name for each in _columns([Path(), Path("../wide")])] == ["first", "wide"]


def test_a_page_is_a_file(runs: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def told(out: str) -> str:
        monkeypatch.setattr(sys, "argv", ["comparison", str(runs[0]), f"--out={out}"])
        with pytest.raises(SystemExit) as ended:
            comparison.main()
        assert ended.value.code == 2
        return capsys.readouterr().err

    assert "--out: it is empty: give a name" in told("")
    assert "(Is a directory): make room, or give another path that you may read and write" in told(str(runs[1]))
    pipe = runs[0].parent / "pipe"
    os.mkfifo(pipe)
    assert "it is no file of data" in told(str(pipe)) and pipe.is_fifo()


def test_command_line(runs: list[Path]):
    command = [sys.executable, "-m", "mass_jax.reporting.comparison", str(runs[0]), str(runs[2]), "--out", "page.html"]
    done = subprocess.run(command, cwd=runs[0].parent, capture_output=True, text=True, check=True)
    assert done.stdout == "page.html\n"
    text = (runs[0].parent / "page.html").read_text()
    assert "first, 2 seeds" in text and "<svg" in text
    command[3] = "nowhere"
    done = subprocess.run(command, cwd=runs[0].parent, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("There is no run directory 'nowhere'")
