"""The comparison of estimators at its smallest: rows, files, resume, and what a person can get wrong."""

import json
from pathlib import Path

import pytest

from experiments.benchmarks import estimators, problems
from mass_jax.reporting import estimators as reporting

ROOT = Path(__file__).resolve().parents[2]
FIELDS = {
    "estimator", "options", "size", "optimizer", "K", "rel_err", "cosine", "seconds", "ratio_to_plain", "temp_bytes",
    "plain_temp_bytes", "compile_seconds",
}  # fmt: skip


def test_rows_have_their_fields_and_are_not_measured_twice(tmp_path, monkeypatch):
    cells = [("tiny", "sgd", 2)]
    results = estimators.run(tmp_path, cells, ["mixed_mode", "evolution"], 1, 60.0, False)
    rows = results["rows"]
    assert all(set(row) >= FIELDS for row in rows)
    exact = [row for row in rows if row["exact"]]
    assert exact and all(row["rel_err"] < 1e-4 and row["cosine"] > 0.99999 for row in exact)
    assert all(row["seconds"] > 0 and row["ratio_to_plain"] > 0 and row["temp_bytes"] > 0 for row in rows)
    assert any(row["rel_err"] > 1e-3 for row in rows if not row["exact"])
    assert json.loads((tmp_path / "results.json").read_text()) == results
    assert {path.name for path in tmp_path.iterdir()} == {
        "results.json", "table.json", "table.md", "memory.png", "time.png", "error.png"
    }  # fmt: skip

    def never(*_):
        raise AssertionError("measured again")

    monkeypatch.setattr(estimators.Bench, "measure", never)
    assert estimators.run(tmp_path, cells, ["mixed_mode", "evolution"], 1, 60.0, False)["rows"] == rows
    with pytest.raises(AssertionError, match="measured again"):
        estimators.run(tmp_path, cells, ["mixed_mode"], 1, 60.0, True)


def test_a_row_that_would_take_too_long_is_compiled_and_not_run():
    bench = estimators.Bench("tiny", "sgd", 2)
    row = bench.measure(estimators.Entry("adjoint", {}), 5, 0.0)
    assert row["seconds"] is None and row["temp_bytes"] > 0
    assert row["note"].startswith("not run: ")
    assert reporting.table([row]).rows[0][4:6] == ("–", "–")


def test_the_data_are_the_same_in_float64():
    """Else a reference in float64 would be of another problem."""
    import jax
    import numpy as np

    narrow = problems.arrays(problems.SIZES["tiny"], 2)
    with jax.enable_x64(True):
        wide = problems.arrays(problems.SIZES["tiny"], 2)
    for one, other in zip(jax.tree.leaves(narrow), jax.tree.leaves(wide), strict=True):
        np.testing.assert_array_equal(one, other)
