"""The benchmark of sessions: what its streams are made of, what a row has, and its tables."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from experiments.benchmarks import sessions
from mass_jax.guard.calibration import Calibration
from mass_jax.guard.guard import Guard
from mass_jax.guard.thresholds import Thresholds
from mass_jax.inference.adapter import MassAdapter
from mass_jax.study.load import read_config
from mass_jax.tasks.domain import Drawn

RUN = Path(__file__).parents[1] / "study" / "earlier" / "run"


@pytest.fixture(scope="module")
def adapter() -> MassAdapter:
    problems = read_config(RUN).task.load("test")
    # This model solves next to nothing: canaries of likelihood alone.
    held = tuple(dataclasses.replace(problem, solution="") for problem in problems[:2])
    loaded = MassAdapter.load(RUN, batch=2)
    return dataclasses.replace(
        loaded, guard=Guard(Calibration(Thresholds(norm=0.2), problems[2:4], held, (-9.0, -9.0), ""))
    )


def drawn(adapter: Any, length: int = 8, many: int = 6, seed: int = 0) -> dict[str, sessions.Stream]:
    task = read_config(RUN).task
    assert isinstance(task, Drawn)
    return {each.name: each for each in sessions.streams(task, adapter.guard.calibration, length, many, seed)}


def test_streams_are_of_the_families_that_they_say(adapter: MassAdapter):
    found = drawn(adapter)
    families = {name: [problem.family for problem in each.problems] for name, each in found.items()}
    validation = set(read_config(RUN).task.data().families("validation"))
    assert set().union(*families.values()) <= validation
    assert len(set(families["related"])) == 1 and found["related"].asked["earlier"] == []
    one, other, *rest = families["alternating"]
    assert one != other and rest == [one, other] * 3
    shifts = sum(x != y for x, y in zip(families["shifting"], families["shifting"][1:], strict=False))
    assert shifts == len(set(families["shifting"])) - 1 > 0, "a family that is left does not come back"
    for name in sessions.STREAMS:
        asked = {problem.family for problem in found[name].asked["held"]}
        assert len(validation) <= len(set(families[name])) or not asked & set(families[name])
        assert {problem.family for problem in found[name].asked["last"]} == {families[name][-1]}
    again, other = drawn(adapter), drawn(adapter, seed=1)
    assert again == found and other["related"].problems != found["related"].problems


def test_a_row_has_every_problem_and_every_mark(adapter: MassAdapter, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sessions, "HELD", 2)
    monkeypatch.setattr(sessions, "EARLIER", 2)
    monkeypatch.setattr(sessions, "MARKS", (1, 50))
    stream = drawn(adapter, length=4, many=2)["many"]
    rows = [sessions.measured(adapter, policy, stream) for policy in ("carry 1", sessions.CONTROL)]
    for row in rows:
        assert set(sessions.KEYS) <= row.keys()
        assert len(row["right"]) == len(row["base"]) == len(row["outcomes"]) == 2
        assert [mark["after"] for mark in row["marks"]] == [0, 1, 2] and row["marks"][0]["norm"] == 0
    guarded, free = rows
    assert guarded["marks"][-1]["norm"] <= 0.4 * 1.001 < free["marks"][-1]["norm"]
    assert guarded["outcomes"].count("scaled") + guarded["outcomes"].count("refused") > 0


def row(policy: str, stream: str, seed: int, right: list[int], marks: list[dict[str, Any]]) -> dict[str, Any]:
    named = {"policy": policy, "stream": stream, "seed": seed, "length": len(right)}
    return named | {"base": [0] * len(right), "right": right, "outcomes": ["scaled", "accepted"] * 3, "marks": marks}


def test_tables_are_means_over_seeds_and_dashes_for_the_rest():
    marks = [{"after": 0, "norm": 0.0, "held": 0.5, "last": 0.25}, {"after": 5, "norm": 1.5, "held": 0.25, "last": 0.5}]
    rows = [row("carry 0.5", "related", seed, [0, 0, 0, 1, 1, 1], marks) for seed in range(2)]
    rows += [row("carry 1", "many", 0, [0] * 6, marks)]
    found = sessions.tables(rows)
    gains = {each[:2]: each[2:] for each in found["gains"].rows}
    assert [each.split(" ")[0] for each in gains["related", "carry 0.5"]] == ["0.0", "+0.0", "+50.0", "+100.0", "50"]
    assert set(gains["related", "reset"]) == {"–"} and len(gains) == len(sessions.STREAMS) * len(sessions.POLICIES)
    forgotten = {each[:2]: each[2:] for each in found["forgotten"].rows}["related", "carry 0.5"]
    assert [each.split(" ")[0] for each in forgotten] == ["−25.0", "–", "–", "+25.0", "1.50"]
    collapse = {each[0]: each[1:] for each in found["collapse"].rows}["carry 1"]
    assert collapse == ("50.0", "–", "25.0", "–", "–", "–", "–", "–")
