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
        # GSM8K's own layout, and other worked answers in one field
        (
            {"question": "p", "answer": "2+3=<<2+3=5>>5\nso 5\n#### 5"},
            Row("p", "2+3=5\nso 5\nThe answer is \\boxed{5}.", 0, "", ""),
        ),
        ({"problem": "p", "answer": "#### 1,000"}, Row("p", "The answer is \\boxed{1,000}.", 0, "", "")),
        ({"problem": "p", "answer": "so \\boxed{5}"}, Row("p", "so \\boxed{5}", 0, "", "")),
        (
            {"problem": "p", "answer": "We add.\nThe answer is 5"},
            Row("p", "We add.\nThe answer is 5\nThe answer is \\boxed{5}.", 0, "", ""),
        ),
        (
            {"prompt": "p", "solution": "#### Step 1\n2+3=5", "answer": 5},
            Row("p", "#### Step 1\n2+3=5\nThe answer is \\boxed{5}.", 0, "", ""),
        ),
        # What may be absent may be null.
        (
            {"prompt": "p", "answer": 2.5, "solution": None, "difficulty": None, "family": None, "id": None},
            Row("p", "The answer is \\boxed{2.5}.", 0, "", ""),
        ),
        (
            {"prompt": "p", "answer": "5", "difficulty": 3.0, "family": 7},
            Row("p", "The answer is \\boxed{5}.", 3, "7", ""),
        ),
    ],
)
def test_jsonl(tmp_path, record, row):
    assert read_one(tmp_path, "jsonl", record) == row


def test_one_file_of_gsm8k_reads_alike_in_both_formats(tmp_path):
    path = write(tmp_path / "mine.jsonl", lines(miniature.gsm8k_records(0, 5)))
    assert [row.solution for row in read("jsonl", [path])] == [row.solution for row in read("gsm8k", [path])]


UNREADABLE = [
    ("null", "null"),
    ("[4]", "a list"),
    ('{"value": 4}', "an object"),
    ("true", "true or false"),
    ("1e999", "not a finite number"),
]


@pytest.mark.parametrize(("value", "kind"), UNREADABLE)
@pytest.mark.parametrize(("dataset", "field"), [("jsonl", "answer"), ("jsonl", "prompt"), ("gsm8k", "question")])
def test_what_is_no_text_is_refused_with_its_line(tmp_path, dataset, field, value, kind):
    fields = {"prompt": '"p"', "question": '"q"', "answer": '"#### 5"'} | {field: value}
    bad = "{" + ", ".join(f'"{name}": {text}' for name, text in fields.items()) + "}"
    good = json.dumps({"prompt": "p", "question": "q", "answer": "#### 5"})
    path = write(tmp_path / "a.jsonl", f"{good}\n\n{bad}\n")
    with pytest.raises(
        ValueError, match=f"line 3 of .*a.jsonl is not a {dataset} problem: its {field} is {kind}: give"
    ):
        read(dataset, [path])


def test_what_pandas_writes_for_nothing_is_refused_in_parquet(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    records = [{"prompt": "p", "answer": 1.5}, {"prompt": "p", "answer": float("nan")}]
    parquet.write_table(pytest.importorskip("pyarrow").Table.from_pylist(records), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="record 2 of .*its answer is not a finite number"):
        read("jsonl", [tmp_path / "a.parquet"])


@pytest.mark.parametrize("suffix", ["jsonl", "json"])
def test_a_byte_order_mark_is_skipped(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps({"prompt": "p", "answer": 5}).encode())
    assert [row.prompt for row in read("jsonl", [path])] == ["p"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.jsonl", '{"prompt": "p", "answer": 5}\n\n{"prompt": }\n', r"line 3 is not JSON: .* \(column 12\)"),
        ("a.jsonl", '{"prompt": "p", "answer": NaN}\n', "line 1 is not JSON: NaN is not a JSON value"),
        ("a.jsonl", "[" * 100_000, "line 1 is not JSON: it is nested too deeply"),
        ("a.json", '[\n{"prompt": }]', r"cannot be read: .* \(line 2, column 12\)"),
        ("a.jsonl", "\n \n", "a.jsonl has no problem in it"),
        ("a.json", "[]", "a.json has no problem in it"),
    ],
)
def test_bad_json_is_named_by_its_place(tmp_path, name, text, message):
    with pytest.raises(ValueError, match=message):
        read("jsonl", [write(tmp_path / name, text)])


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
            "line 2 of .*train.jsonl is not a gsm8k problem: it has no field 'answer' but question",
        ),
        ("gsm8k", {"question": "q", "answer": "5"}, "has no '####'"),
        ("gsm8k", {"question": "q", "answer": "a #### "}, "line 2 of .* has no final answer"),
        ("gsm8k", {"question": " ", "answer": "#### 5"}, "line 2 of .* has no problem text"),
        ("gsm8k", [1, 2], "line 2 of .* is not a gsm8k problem"),
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
            "line 2 of .* is not a jsonl problem: .*'hard'",
        ),
        *(
            ("jsonl", {"prompt": "p", "answer": "6", "difficulty": value}, f"its difficulty is '{value}': give a whole")
            for value in (-1, 1.5, 10**30)
        ),
        ("jsonl", {"prompt": "p", "answer": "6", "difficulty": [1]}, "its difficulty is a list"),
        ("jsonl", {"prompt": "p", "answer": "We add 2 and 3.\nThat makes 5."}, "several lines and does not mark"),
        ("jsonl", {"prompt": "half a pair \ud800", "answer": "6"}, "its prompt cannot be written as text"),
        ("jsonl", "p", "it is str, not an object"),
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
