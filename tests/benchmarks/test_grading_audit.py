"""The audit finds nothing in our grader on a reference of every kind, and finds what a worse one gets wrong."""

import json
import re

import pytest

from experiments.benchmarks import grading_audit, paraphrases
from mass_jax.errors import InputError
from mass_jax.tasks.mathematics.grading import Grader

REFERENCES = {
    "18": "number",
    "-1205": "number",
    "1200": "number",
    r"6\pi": "expression",
    r"\frac{9}{4}": "number",
    "0.75": "number",
    r"2\sqrt{3}": "expression",
    "2+3i": "expression",
    "(2,5)": "pair",
    r"[0,\infty)": "pair",
    "(0,3]": "pair",
    "(1,2,3)": "tuple",
    "4, -2": "list",
    r"\text{even}": "words",
    r"\text{(B)}": "words",
    "52_8": "base",
    "y = 2x + 3": "equation",
    r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}": "matrix",
}


@pytest.fixture(scope="module")
def found():
    """All of it by our own grader, which counts what it did."""
    with Grader(workers=1, time_limit=30) as grader:
        return grading_audit.audit(list(REFERENCES), grading_audit.own_judge(grader))


@pytest.mark.parametrize("reference", REFERENCES)
def test_kinds(reference):
    assert paraphrases.classify(reference).kind == REFERENCES[reference]


@pytest.mark.parametrize("side", ["right", "wrong"])
def test_our_grader_makes_no_mistake(found, side):
    assert {name: row["examples"] for name, row in found[side].items() if row["failed"]} == {}


def test_every_way_applies_to_something(found):
    for side, ways in (("right", paraphrases.RIGHT), ("wrong", paraphrases.WRONG)):
        assert {*ways} - {*found[side]} == set()


def last_number(pairs):
    """A common grader: the last number of the text."""
    number = re.compile(r"-?\d+")
    return [number.findall(reference)[-1:] == number.findall(text)[-1:] for reference, text in pairs]


def test_a_worse_grader_is_found_out():
    found = grading_audit.audit(["18"], last_number)
    failed = {side: {name for name, row in found[side].items() if row["failed"]} for side in found}
    assert {"another number denied", "magnitude in words", "decimal zeros"} & failed["right"] == {
        "another number denied",
        "decimal zeros",
    }
    assert {"x thousand", "not x", "x denied", "an open thought"} <= failed["wrong"]
    assert "box" not in failed["right"] and "x + 1" not in failed["wrong"]
    sums = grading_audit.totals(found)
    assert 0 < sums["right_failed"] < sums["right_tried"] and 0 < sums["wrong_failed"] < sums["wrong_tried"]


@pytest.mark.parametrize(("verdict", "side"), [(True, "wrong"), (False, "right")])
def test_all_and_nothing(verdict, side):
    sums = grading_audit.totals(grading_audit.audit(["18"], lambda pairs: [verdict] * len(pairs)))
    assert sums[f"{side}_failed"] == sums[f"{side}_tried"] > 20
    assert sums[f"{'right' if side == 'wrong' else 'wrong'}_failed"] == 0


def test_an_answer_of_equal_value_is_not_counted_as_wrong():
    names = {name for side, name, _ in grading_audit.cases(["0"]) if side == "wrong"}
    assert "x + 1" in names and not {"-x", "-x, written out", "10x", "x thousand", "x^2", "figure doubled"} & names
    assert "figures turned" not in {name for *_, (name, _) in grading_audit.cases(["11"])}


def test_files_are_read_and_results_written(tmp_path):
    gsm8k = [{"question": "?", "answer": f"#### {n}"} for n in (3, 4, 3)]
    (tmp_path / "gsm8k_test.jsonl").write_text("".join(json.dumps(record) + "\n" for record in gsm8k))
    assert grading_audit.references(tmp_path / "gsm8k_test.jsonl") == ["3", "4"]
    results = grading_audit.run(tmp_path, tmp_path / "run", last_number, limit=1)
    written = json.loads((tmp_path / "run" / grading_audit.RESULTS).read_text())
    assert written["totals"] == {"gsm8k_test": grading_audit.totals(results["gsm8k_test"])}
    assert results["gsm8k_test"]["right"]["box"]["tried"] == 1
    assert grading_audit.table(results).rows[0][0] == "gsm8k_test"


def test_what_cannot_be_read_is_a_sentence(tmp_path):
    with pytest.raises(InputError, match="has no gsm8k.* give such a folder"):
        grading_audit.run(tmp_path, tmp_path, last_number)
    (tmp_path / "math.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match=r"--data: line 1 of .*math.jsonl is not a math problem"):
        grading_audit.run(tmp_path, tmp_path, last_number)
    with pytest.raises(InputError, match="has no .* of the name svamp"):
        grading_audit.run(tmp_path, tmp_path, last_number, files=["svamp"])
    with pytest.raises(InputError, match="--grader=json:no_such"):
        grading_audit.named_judge("json:no_such")
    assert grading_audit.named_judge("tests.benchmarks.test_grading_audit:last_number")
