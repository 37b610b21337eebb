"""The tables of results.json, from what every row of them did."""

import numpy as np
import pytest

from configs import demo
from mass_jax.results import check
from mass_jax.study.config import read
from mass_jax.study.evaluate import compare


def measured(correct: list[bool], not_judged: int = 0) -> dict:
    return {"correct": correct, "log_likelihood": [-1.0] * len(correct), "seconds": 1.0, "not_judged": not_judged}


CONFIG = read(demo.get_config().to_dict() | {"arms": {}})
ROWS = {"base": measured([True, False, False, False], 2), "mass": measured([True, True, False, False])}


def test_what_is_not_judged_is_counted_in_every_row():
    methods = compare(CONFIG, ROWS, np.arange(4))["methods"]
    assert {name: row["not_judged"] for name, row in methods.items()} == {"base": 2, "mass": 0}


def test_a_row_without_a_likelihood_has_none_and_no_difference():
    found = compare(CONFIG, ROWS | {"best_of_n": ROWS["base"] | {"log_likelihood": None}}, np.arange(4))
    assert found["log_likelihood"] == {"base": -1.0, "mass": -1.0, "best_of_n": None}
    assert set(found["paired_log_likelihood"]) == {"mass-base"} and "best_of_n-base" in found["paired"]
    check(found)


@pytest.mark.parametrize(("families", "intervals"), [([-1] * 4, True), ([5] * 4, False)], ids=["unknown", "one"])
def test_few_families_lose_their_intervals_at_most(families: list[int], intervals: bool):
    found = compare(CONFIG, ROWS, np.array(families))
    entries = [*found["methods"].values(), *found["paired"].values(), found["paired_log_likelihood"]["mass-base"]]
    assert [entry["ci95"] is not None for entry in entries] == [intervals] * len(entries)
    assert found["paired"]["mass-base"]["diff"] == 0.25
    if intervals:
        assert found["paired"] == compare(CONFIG, ROWS, np.arange(4))["paired"]
