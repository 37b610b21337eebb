"""Cost against accuracy: which ways are compared, and which of them nothing cheaper equals."""

from pathlib import Path

import numpy as np
import pytest

from experiments.benchmarks import cost_accuracy
from mass_jax.inference.adapter import MassAdapter
from mass_jax.mass.generator import Completions
from mass_jax.study.load import read_config
from mass_jax.types import Sequences

RUN = Path(__file__).parents[1] / "study" / "earlier" / "run"


def test_the_front_has_what_nothing_cheaper_equals():
    rows = [
        {"tokens": 1.0, "accuracy": 0.5},
        {"tokens": 2.0, "accuracy": 0.5},
        {"tokens": 3.0, "accuracy": 0.7},
        {"tokens": 4.0, "accuracy": 0.6},
        {"tokens": 3.0, "accuracy": 0.7},
    ]
    assert cost_accuracy.front(rows, "tokens") == [True, False, True, False, True]


@pytest.fixture(scope="module")
def adapter() -> MassAdapter:
    return MassAdapter.load(RUN, batch=2)


def test_every_way_is_measured_by_its_own_tokens(adapter: MassAdapter, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cost_accuracy, "EXAMPLES", (2, 4))
    monkeypatch.setattr(cost_accuracy, "STEPS", (1, 2))
    monkeypatch.setattr(cost_accuracy, "VOTES", (3,))
    problems = list(read_config(RUN).task.load("test"))[:3]
    rows = {way.label: cost_accuracy.measured(way, adapter, problems) for way in cost_accuracy.ways(adapter)}
    most, steps = adapter.learner.actor.method.generator.examples, adapter.learner.actor.method.inner.steps
    assert {"greedy, no update", "likeliest of 3, no update", f"update, m = 2, K = {steps}"} <= rows.keys()
    assert rows["greedy, no update"]["tokens"] <= rows["likeliest of 3, no update"]["tokens"] / 2
    assert (
        rows[f"update, m = 2, K = {steps}"]["tokens"] < rows[f"update, m = {most}, uniform weights, no gate"]["tokens"]
    )
    assert all(0 <= row["accuracy"] <= 1 and row["seconds"] > 0 for row in rows.values())
    assert len(cost_accuracy.table(list(rows.values())).rows) == len(rows)


def test_the_likeliest_is_the_most_probable_a_token(adapter: MassAdapter, monkeypatch: pytest.MonkeyPatch):
    mask = np.array([[[1, 1, 1, 1], [1, 0, 0, 0]], [[1, 1, 0, 0], [1, 1, 1, 1]]], bool)
    made = Completions([["a", "b"], ["c", "d"]], Sequences(mask * 0, mask), np.array([[-2.0, -1.0], [-3.0, -4.0]]))
    monkeypatch.setattr(cost_accuracy, "solved", lambda *_: made)
    problems = list(read_config(RUN).task.load("test"))[:2]
    # A token: -0.5 against -1 of the first, -1.5 against -1 of the second.
    assert cost_accuracy.likeliest(adapter.learner.actor, 2, problems) == (["a", "d"], [5, 6])
