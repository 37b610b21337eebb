"""The gates of a choice: what is counted, and what is kept of them."""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mass_jax import records
from mass_jax.models.tokenizer import WordTokenizer
from mass_jax.reporting.labels import GATES, label
from mass_jax.reporting.table import choice_rows_table, choice_table
from mass_jax.results import Results
from mass_jax.runtime.results import merge
from mass_jax.study import choice_gate
from mass_jax.study.gate import bring_back, opened
from mass_jax.study.views import synthesis_quality
from mass_jax.tasks.base import MALFORMED, Domain, Problem
from mass_jax.tasks.candidates import documents
from mass_jax.tasks.candidates.task import CandidatesTask
from mass_jax.tasks.domain import Splits
from tests.mass import tiny
from tests.mass.conftest import quick_compilation  # noqa: F401 (fixture)
from tests.models import tiny as models
from tests.tasks.candidates.test_candidates import PROBLEM, RULES, TASK


def test_shares_of_what_is_written():
    written = [
        "f2,0,5 10>7 4>4 ? 2 7 = 2>2 7>4",  # right
        "f2,0,5 10>7 4>4 ? 2 7 = 2>2 7>5",  # on topic
        "f7,1,3 10>7 4>4 ? 2 7 = 2>2 7>4",  # off topic
        "f2,0,5 10>7 3>1 ? 2 7 = 2>2 7>4",  # malformed
    ]
    row = [TASK.parse(PROBLEM, text) for text in written]
    rows = [row, [row[0], *[MALFORMED] * 3]]
    sets = [
        ([PROBLEM], SimpleNamespace(texts=[row], arrays=SimpleNamespace(valid_PxM=[[e.well_formed for e in row]])))
        for row in rows
    ]
    study = SimpleNamespace(domain=SimpleNamespace(task=TASK))
    found = synthesis_quality(SimpleNamespace(study=study, own_practice=lambda model: sets), "base")  # type: ignore[arg-type]
    words = found.pop("distinct_2")
    assert found == {"well_formed": 0.5, "leak": 0.0, "on_family": 0.375, "correct": 0.25, "distinct": 1.0}
    sets[1][1].texts[0][1] = row[0]
    again = synthesis_quality(SimpleNamespace(study=study, own_practice=lambda model: sets), "base")  # type: ignore[arg-type]
    assert again["distinct"] == 0.8, "one of five says what another one of its problem does"
    assert 0 < again["distinct_2"] < words < 1, "all examples begin with the names of the rules"


PRACTICE = {"well_formed": 0.8, "on_family": 0.28, "correct": 0.25}
ROWS = {
    f"{name}-base": {"diff": diff, "ci95": [diff - 0.02, diff + 0.02]}
    for name, diff in {
        "oracle_gold_family": 0.3,
        "oracle_strict": 0.2,
        "base_ttt": 0.01,
        "read_off_right": 0.09,
        "read_off_check": -0.1,
        "read_off_gold": 0.5,
    }.items()
}
SHUT = {
    "a": [(PRACTICE, "on_family", 0.33), (PRACTICE, "on_family", 0.07), (PRACTICE, "correct", 0.16)],
    "b": [(ROWS, "oracle_strict-base", {"diff": 0.07, "ci95": [0, 1]})],
    "c": [(ROWS, "base_ttt-base", {"diff": diff, "ci95": sorted([diff / 2, 2 * diff])}) for diff in (0.04, -0.04)],
    "e": [(ROWS, "read_off_check-base", {"diff": 0.11, "ci95": [0, 1]})],
}


def test_a_gate_is_shut_by_what_it_is_about_alone():
    found = choice_gate.gates(ROWS, PRACTICE)
    assert {name: gate["open"] for name, gate in found.items()} == dict.fromkeys("abce", True)
    assert found["a"]["found"] == pytest.approx({"on topic": 0.35, "right of those": 25 / 28})
    for name, faults in SHUT.items():
        for part, key, value in faults:
            rows, practice = (given | {key: value} if given is part else given for given in (ROWS, PRACTICE))
            found = choice_gate.gates(rows, practice)
            assert [each for each, gate in found.items() if not gate["open"]] == [name], (key, value)


class LenientTask(CandidatesTask):
    """The real task, whose parser a random model can please: what it writes is right, of one candidate or another."""

    def parse(self, problem, text):
        seed = len(text)
        return MALFORMED if seed % 4 == 0 else self.any_practice(problem, 1, np.random.default_rng(seed))[0]


@pytest.fixture
def study(tmp_path: Path) -> SimpleNamespace:
    """A study of candidates with a tiny random base."""
    rng = np.random.default_rng(0)
    drawn = [documents.draw_problem(RULES, i % 4, [j for j in range(4) if j != i % 4], rng) for i in range(10)]
    problems: list[Problem] = [problem for problem in drawn]
    task = LenientTask(RULES)
    domain = Domain(task, WordTokenizer(task.vocabulary))
    model = dataclasses.replace(tiny.MODEL, vocab_size=domain.tokenizer.vocab_size)
    lengths = dataclasses.replace(tiny.LENGTHS, prompt=11, practice=16, check=16)
    method = dataclasses.replace(tiny.make_method(scorer="uniform", gate=False), model=model, lengths=lengths)
    base = models.make_params(model, 0)
    gate = SimpleNamespace(problems=6, oracle_gain=-1.0, strict_gain=-1.0)
    config = SimpleNamespace(seed=0, gate=gate, arms={}, plugins=(), given={"a": 1}, evaluate=SimpleNamespace(batch=4))
    (tmp_path / "run").mkdir()
    splits = Splits((), problems[6:], problems[:6], ())
    actor = tiny.make_actor(method, domain, base)
    return SimpleNamespace(
        config=config, workdir=tmp_path / "run", domain=domain, method=method, splits=splits, base=base, actor=actor
    )


def test_the_gates_of_a_domain_with_a_choice_are_measured_once_and_kept(study: SimpleNamespace):
    found = opened(study)
    assert set(found) == {"gate", "choice"} and set(found["choice"]["gates"]) == set("abce")
    rows, count = found["choice"]["rows"], len(study.splits.validation)
    assert {"base", "any_topic", "best_of_n", "read_off_right", "read_off_gold-base"} <= set(rows)
    assert all(row["n"] == count for name, row in rows.items() if not name.endswith("-base"))
    assert found["gate"]["oracle_strict"] == rows["oracle_strict"], "the same answers"
    written = found["choice"]["practice"]
    assert 0 < written["on_family"] == written["correct"] < written["well_formed"]
    study.splits = None  # what is kept is not measured again
    assert opened(study) == found
    results = Results.model_validate(json.loads((study.workdir / "results.json").read_text()))
    assert results.choice.gates["a"].open == found["choice"]["gates"]["a"]["open"]
    table = choice_table(results)
    assert [row[0] for row in table.rows] == ["(a)", "(b)", "(c)", "(e)"] and {row[3] for row in table.rows} <= {
        "open",
        "shut",
    }
    assert len(choice_rows_table(results).rows) == len(rows)


def test_rows_of_the_gate_alone_have_words():
    assert set(GATES) == set(choice_gate.ROWS) - set(choice_gate.COMPARED)
    assert label("read_off_right", Results()) == "Own practice, read off by a perfect scorer"


def test_results_that_were_damaged_get_their_gates_back(study: SimpleNamespace, caplog: pytest.LogCaptureFixture):
    found = opened(study)
    results = study.workdir / "results.json"
    study.splits = None  # nothing is measured
    for text in ('{"gate": ', None):
        results.write_text(text) if text else results.unlink()
        merge(study.workdir, methods={"base": {"accuracy": 0.5}})  # what an evaluation does
        bring_back(study)
        kept = records.loads(results.read_text())
        assert {"gate": kept["gate"], "choice": kept["choice"]} == found and "methods" in kept
    before = results.read_bytes()
    bring_back(study)
    assert results.read_bytes() == before and "has no headroom gate" not in caplog.text
    results.unlink()
    (study.workdir / "gate.json").unlink()
    bring_back(study)
    assert "has no headroom gate: python -m experiments.gate with the same" in caplog.text and not results.exists()
