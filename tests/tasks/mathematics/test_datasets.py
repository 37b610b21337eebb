"""Every format is read as its authors wrote it, and what is not of it is refused with its place."""

import json

import pytest

from mass_jax.tasks.mathematics import datasets
from mass_jax.tasks.mathematics.answers import final_answer
from mass_jax.tasks.mathematics.datasets import Row, read, read_ids
from tests.tasks.mathematics import miniature
from tests.tasks.mathematics.miniature import lines, write


def read_one(tmp_path, dataset, record) -> Row:
    (row,) = read(dataset, [write(tmp_path / "train.jsonl", lines([record]))])
    return row


def test_gsm8k(tmp_path):
    row = read_one(tmp_path, "gsm8k", miniature.gsm8k_records(5, 1)[0])
    solution = "Bought are 5+2=7.\nIn all 5+7=12.\nThe answer is \\boxed{12}."
    assert row == Row("Flo has 5 cups and buys 7 more. How many cups?", solution, 2, "", "")


def test_math(tmp_path):
    folder = miniature.math(tmp_path)
    rows = read("math", sorted((folder / "test").rglob("*.json")))
    assert len(rows) == 14 and rows[3] == Row(
        "In test counting_and_probability, what is $1 + 2$?",
        "We add: $1+2=\\boxed{3}$.",
        2,
        "counting_and_probability",
        "test/counting_and_probability/1.json",
    )
    assert [row.difficulty for row in rows] == [0, 2] * 7


def test_math_in_one_file_has_the_ids_of_its_records(tmp_path):
    record = miniature.math_record("algebra", 3) | {"unique_id": "test/algebra/7.json"}
    assert read_one(tmp_path, "math", record).id == "test/algebra/7.json"
    del record["unique_id"]
    assert read_one(tmp_path, "math", record).id == ""


def test_svamp(tmp_path):
    row = read_one(tmp_path, "svamp", miniature.svamp_records(3, 1)[0])
    prompt = "Di had 12 figs and ate 3 of them. How many figs are left?"
    assert row == Row(prompt, "12 - 3 = 9\nThe answer is \\boxed{9}.", 1, "", "chal-3")


def test_svamp_without_an_equation_and_with_a_nested_one(tmp_path):
    record = miniature.svamp_records(3, 1)[0] | {"Equation": "( ( 2.0 + 10.0 ) / 4.5 )", "Answer": "2.5"}
    row = read_one(tmp_path, "svamp", record)
    assert row.solution == "( ( 2 + 10 ) / 4.5 ) = 2.5\nThe answer is \\boxed{2.5}." and row.difficulty == 2
    del record["Equation"]
    row = read_one(tmp_path, "svamp", record)
    assert row.solution == "The answer is \\boxed{2.5}." and row.difficulty == 0


@pytest.mark.parametrize(
    ("record", "row"),
    [
        ({"prompt": "p", "answer": 5}, Row("p", "The answer is \\boxed{5}.", 0, "", "")),
        ({"question": "p", "solution": "s", "answer": "5"}, Row("p", "s\nThe answer is \\boxed{5}.", 0, "", "")),
        ({"problem": "p", "solution": "so \\boxed{5}"}, Row("p", "so \\boxed{5}", 0, "", "")),
        ({"prompt": "p", "solution": "s\n#### 5"}, Row("p", "s\nThe answer is \\boxed{5}.", 0, "", "")),
        (
            {"prompt": "p", "solution": "\\boxed{5}", "answer": "5", "difficulty": 3, "family": "f", "id": 7},
            Row("p", "\\boxed{5}", 3, "f", "7"),
        ),
        ({"prompt": "p", "solution": "s", "answer": ""}, Row("p", "s\nThe answer is \\boxed{s}.", 0, "", "")),
    ],
)
def test_jsonl(tmp_path, record, row):
    assert read_one(tmp_path, "jsonl", record) == row


def test_every_solution_ends_in_a_readable_answer(tmp_path):
    for dataset in ("gsm8k", "svamp"):
        records = getattr(miniature, f"{dataset}_records")(0, 20)
        for row in read(dataset, [write(tmp_path / f"{dataset}.json", json.dumps(records))]):
            assert final_answer(row.solution) == row.solution.rpartition("{")[2].rstrip("}.")


@pytest.mark.parametrize(
    ("dataset", "record", "message"),
    [
        (
            "gsm8k",
            {"question": "q"},
            "record 2 of .*train.jsonl is not a gsm8k problem: it has no field 'answer' but question",
        ),
        ("gsm8k", {"question": "q", "answer": "5"}, "has no '####'"),
        ("gsm8k", {"question": "q", "answer": "a #### "}, "record 2 of .* has no final answer"),
        ("gsm8k", {"question": " ", "answer": "#### 5"}, "record 2 of .* has no problem text"),
        ("gsm8k", [1, 2], "record 2 of .* is not a gsm8k problem"),
        (
            "math",
            {"problem": "p", "solution": "\\boxed{1}", "type": "Botany"},
            "its type is 'botany', not one of algebra, ",
        ),
        ("math", {"problem": "p", "type": "Algebra"}, "no field 'solution'"),
        ("svamp", {"Question": "q", "Answer": 1}, "no field 'Body'"),
        ("jsonl", {"text": "p"}, "no field 'prompt' but text"),
        ("jsonl", {"prompt": "p"}, "no field 'answer'"),
        ("jsonl", {"prompt": "p", "solution": "\\boxed{5}", "answer": "6"}, "boxes '5' but its answer is '6'"),
        (
            "jsonl",
            {"prompt": "p", "answer": "6", "difficulty": "hard"},
            "record 2 of .* is not a jsonl problem: .*'hard'",
        ),
    ],
)
def test_what_is_not_of_the_format_is_refused(tmp_path, dataset, record, message):
    good = {
        "gsm8k": {"question": "q", "answer": "#### 5"},
        "math": {"problem": "p", "solution": "\\boxed{1}", "type": "Algebra"},
        "svamp": {"Body": "b", "Question": "q", "Answer": 1},
        "jsonl": {"prompt": "p", "answer": "5"},
    }[dataset]
    with pytest.raises(ValueError, match=message):
        read(dataset, [write(tmp_path / "train.jsonl", lines([good, record]))])


@pytest.mark.parametrize(
    ("name", "content"), [("a.jsonl", b'{"a": 1}\n{"a":'), ("a.json", b"[1"), ("a.parquet", b"PAR1")]
)
def test_a_broken_file_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name} cannot be read: "):
        read("jsonl", [tmp_path / name])


def test_a_file_that_is_not_text_is_refused(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="a.jsonl cannot be read: "):
        read("jsonl", [tmp_path / "a.jsonl"])


def test_parquet(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pytest.importorskip("pyarrow").Table.from_pylist(miniature.gsm8k_records(0, 3))
    parquet.write_table(table, tmp_path / "a.parquet")
    expected = read("gsm8k", [write(tmp_path / "a.jsonl", lines(miniature.gsm8k_records(0, 3)))])
    assert read("gsm8k", [tmp_path / "a.parquet"]) == expected


def test_ids_in_three_forms(tmp_path):
    ids = ["test/algebra/1.json", "test/geometry/0.json"]
    records = [{"unique_id": name, "problem": f"p {name}"} for name in ids]
    assert read_ids(write(tmp_path / "a.jsonl", lines(records))) == [(name, f"p {name}") for name in ids]
    assert read_ids(write(tmp_path / "a.json", json.dumps(ids))) == [(name, "") for name in ids]
    assert read_ids(write(tmp_path / "a.txt", "\n".join(ids) + "\n\n")) == [(name, "") for name in ids]
    with pytest.raises(ValueError, match="b.jsonl is not a list of ids"):
        read_ids(write(tmp_path / "b.jsonl", lines([{"id": 1}])))
    with pytest.raises(ValueError, match="none.txt cannot be read"):
        read_ids(tmp_path / "none.txt")


def test_formats_are_those_that_can_be_fetched():
    from mass_jax.tasks.mathematics.fetch import DATASETS

    assert set(datasets._FORMATS) == set(DATASETS)
