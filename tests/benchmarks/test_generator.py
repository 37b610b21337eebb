"""The arms and tables of the benchmark of rewards."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from configs import demo
from experiments.benchmarks import generator
from mass_jax.study.config import arm_config, read


def test_all_arms_are_sound_and_write_as_many_texts():
    config = read(demo.get_config())
    arms = generator.arms(config.train.problems)
    config = read(config.given | {"arms": arms})
    assert len(arms) == len(generator.SEEDS) * len(generator.ROWS)
    trained = {name: arm_config(config, name) for name in arms}
    assert {each.seed for each in trained.values()} == {*generator.SEEDS}
    assert {each.train.problems * each.train.sets for each in trained.values()} == {config.train.problems}
    assert trained["outcome_3"].train.sets > 1 and trained["frozen_0"].train.generator_rate == 0


def test_tables_are_by_seed_and_over_seeds():
    rows = {
        "base": {"right": 36.0, "un_adapted": 60.0},
        "oracle": {"uniform": 90.0},
        "set_wise_0": {"right": 50.0, "scorer": 80.0, "d_prime": 0.5},
        "set_wise_1": {"right": 54.0, "scorer": 86.0, "d_prime": 0.54},
    }
    columns = [*generator.COLUMNS]
    right, scorer = 2 + columns.index("right"), 2 + columns.index("scorer")
    lines = generator.by_seed(rows).rows
    assert [line[:2] for line in lines] == [("base", ""), ("oracle", ""), ("set_wise", "0"), ("set_wise", "1")]
    assert [(line[right], line[scorer]) for line in lines] == [
        ("36.0", "–"),
        ("–", "–"),
        ("50.0", "80.0"),
        ("54.0", "86.0"),
    ]
    lines = generator.over_seeds(rows).rows
    assert [line[:2] for line in lines] == [("base", "1"), ("oracle", "1"), ("set_wise", "2")]
    assert (lines[2][right], lines[2][scorer], lines[2][-1]) == ("52.0 ± 2.8", "83.0 ± 4.2", "0.52 ± 0.03")
    assert generator.recovered(rows["set_wise_0"], rows) == {"recovered": pytest.approx(100 * 20 / 30)}
    without_scorer = generator.recovered({"uniform": 75.0}, rows)
    assert without_scorer == {"recovered": pytest.approx(50.0)}
    rows["oracle"]["uniform"] = 60.0
    assert generator.recovered(rows["set_wise_0"], rows) == {}, "there is nothing to have a share of"


def test_rewards_are_compared_seed_by_seed():
    rows = {
        "base": {"right": 36.0},
        "scorer_0": {"right": 60.0, "scorer": 90.0},
        "scorer_1": {"right": 62.0, "scorer": 90.0},
        "frozen_0": {"right": 36.0, "scorer": 85.0},
        "frozen_1": {"right": 36.0, "scorer": 87.0},
        "solve_0": {"right": 40.0},
        "solve_4": {"right": 99.0},
    }
    found = generator.paired(rows)
    right, scorer = (2 + generator.COMPARED.index(column) for column in ("right", "scorer"))
    assert [line[:2] for line in found.rows] == [("frozen", "2"), ("solve", "1")], "seed 4 has no partner"
    # Student's t with one degree of freedom: 12.706 standard errors, of a standard deviation of sqrt(2) over sqrt(2).
    assert found.rows[0][right] == "+25.0 (+12.3 to +37.7)"
    assert found.rows[0][scorer] == "+4.0 (−8.7 to +16.7)"
    assert (found.rows[1][right], found.rows[1][scorer]) == ("+20.0", "–")


def test_right_practice_is_split_by_what_the_model_solves(monkeypatch: pytest.MonkeyPatch):
    """Three problems in batches of two, the last one filled up with a fourth that counts for nothing."""
    batches = ["a", "b"], ["c", "filling"]
    right = {"a": [True, True], "b": [True, False], "c": [False, False], "filling": [True, True]}
    monkeypatch.setattr(generator, "each_example", lambda predicate, batch, texts: np.array([right[p] for p in batch]))

    def split(solved: list[float]) -> dict[str, float]:
        evaluator: Any = SimpleNamespace(
            study=SimpleNamespace(domain=SimpleNamespace(task=SimpleNamespace(is_correct=None))),
            own_practice=lambda name: [(batch, SimpleNamespace(texts=None)) for batch in batches],
            unfilled=lambda columns: np.concatenate(columns)[:3],
            run=lambda name, recipe: None,
            correct=lambda outcomes: np.array(solved),
        )
        return generator.by_solved(evaluator, "base")

    assert split([1.0, 0.0, 0.0]) == {"right_solved": 1.0, "right_unsolved": 0.25}
    assert split([1.0, 1.0, 1.0]) == {"right_solved": 0.5}, "nothing is said of no problems"
