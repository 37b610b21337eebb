"""A metric is declared once: its name stands in one file, and its curve in one figure."""

import ast
from pathlib import Path

from mass_jax import quantities
from mass_jax.quantities import Figure, Metric, figure

ROOT = Path(quantities.__file__).parents[1]


def test_no_other_file_has_a_name_of_a_metric():
    files = [file for top in ("mass_jax", "experiments") for file in (ROOT / top).rglob("*.py")]
    found = {
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for file in files
        if file != Path(quantities.__file__)
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in NAMES
    }
    assert not found


NAMES = {str(metric) for metric in Metric if "/" in metric}


def test_every_metric_has_a_name_a_figure_and_a_meaning_of_its_own():
    assert len(Metric.__members__) == len(set(Metric)) == len({metric.meaning for metric in Metric}), "no aliases"
    assert {metric.figure for metric in Metric} == set(Figure)
    assert [figure(name) for name in ("grad_norm/base", "grad_norm/mine", "machine/fan_speed", "learning_rate")] == [
        "Gradient norms", "Grad norm", "Fan speed", "Learning rate",
    ]  # fmt: skip
