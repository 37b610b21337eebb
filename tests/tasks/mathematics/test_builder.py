"""Data on disk: read back as written, free of contamination, counted, one content for one configuration."""

import json
import os
import shutil
import tarfile
from pathlib import Path

import pytest

from mass_jax.tasks.base import Problem
from mass_jax.tasks.mathematics import builder, fetch
from mass_jax.tasks.mathematics.answers import final_answer
from mass_jax.tasks.mathematics.builder import MathematicsConfig, load, metadata
from mass_jax.tasks.mathematics.datasets import Row
from mass_jax.tasks.mathematics.fetch import SUBJECTS, Address
from tests.tasks.mathematics import miniature
from tests.tasks.mathematics.miniature import lines, write

CLEAN = {"train_repeated": 0, "train_in_test": 0, "train_overlapping": 0, "test_repeated": 0}


def row(prompt: str) -> Row:
    return Row(prompt, "\\boxed{1}", 0, "", "")


def config(folder, dataset="gsm8k", **fields) -> MathematicsConfig:
    return MathematicsConfig(dataset=dataset, source=str(folder), **fields)


def test_gsm8k_from_files_to_problems(tmp_path):
    made = config(miniature.gsm8k(tmp_path / "data"))
    train, test = (load(made, split, tmp_path / "tfds") for split in ("train", "test"))
    assert len(train) == 8 and len(test) == 3
    solutions = {p.prompt: p.solution for p in train}
    assert solutions["Flo has 5 cups and buys 7 more. How many cups?"] == (
        "Bought are 5+2=7.\nIn all 5+7=12.\nThe answer is \\boxed{12}."
    )
    assert [problem.family for problem in train] == list(range(8))
    assert {problem.difficulty for problem in train} == {2} and {problem.facts for problem in train} == {()}
    assert metadata(made, tmp_path / "tfds") == {"train_read": 8, "test_read": 3, **CLEAN}
    (folder,) = (tmp_path / "tfds/mass_mathematics").glob("gsm8k_*/1.0.0")
    assert len(list(folder.glob("*.array_record-*"))) == 2


def test_math_has_subjects_as_families_and_levels_as_difficulties(tmp_path):
    problems = load(config(miniature.math(tmp_path / "data"), "math"), "test", tmp_path / "tfds")
    assert len(problems) == 14
    for problem in problems:
        assert problem.prompt.startswith(f"In test {SUBJECTS[problem.family]},")
        assert problem.difficulty == (2 if "$1 + 2$" in problem.prompt else 0)


def test_svamp(tmp_path):
    problems = load(config(miniature.svamp(tmp_path / "data"), "svamp"), "train", tmp_path / "tfds")
    assert len(problems) == 4 and {final_answer(problem.solution) for problem in problems} == {"9"}


def test_ones_own_problems(tmp_path):
    records = [{"prompt": f"p{i}", "answer": str(i), "family": "ba"[i % 2], "difficulty": i} for i in range(4)]
    made = config(write(tmp_path / "mine.jsonl", lines(records)), "jsonl")
    problems = load(made, "test", tmp_path / "tfds")
    assert sorted(problems, key=lambda p: p.prompt) == [
        Problem(f"p{i}", f"The answer is \\boxed{{{i}}}.", (), i, 1 - i % 2) for i in range(4)
    ]
    with pytest.raises(ValueError, match="mine.jsonl' is one file, all of it the test split: set task.held_out"):
        load(made, "train", tmp_path / "tfds")


def test_one_file_is_split_by_the_number_of_test_problems(tmp_path):
    path = write(tmp_path / "mine.jsonl", lines([{"prompt": f"What is {i}?", "answer": i} for i in range(12)]))
    fields = {"validation_problems": 3, "held_out": 5}
    made = config(path, "jsonl", **fields)
    splits = {split: load(made, split, tmp_path / "tfds") for split in ("train", "validation", "test")}
    prompts = {split: {problem.prompt for problem in found} for split, found in splits.items()}
    assert [len(found) for found in prompts.values()] == [4, 3, 5] and len(set.union(*prompts.values())) == 12
    assert {p.prompt for p in load(config(path, "jsonl", held_out=5), "test", tmp_path / "again")} == prompts["test"]
    assert {p.prompt for p in load(config(path, "jsonl", held_out=5, seed=1), "test", tmp_path)} != prompts["test"]
    with pytest.raises(ValueError, match="held_out = 12: .*mine.jsonl has 12 problems, of which at least 1"):
        load(config(path, "jsonl", held_out=12), "test", tmp_path / "tfds")


def test_a_training_split_that_is_all_in_the_test_is_refused(tmp_path):
    for split in ("train", "test"):
        write(tmp_path / f"data/{split}.jsonl", lines([{"prompt": "p", "answer": 1}]))
    with pytest.raises(ValueError, match="every one of the 1 training problems is in the test split"):
        load(config(tmp_path / "data", "jsonl"), "train", tmp_path / "tfds")


def test_the_order_is_a_shuffle_that_the_seed_decides(tmp_path):
    folder = miniature.gsm8k(tmp_path / "data", train=40)
    orders = [
        [problem.prompt for problem in load(config(folder, seed=seed), "train", tmp_path / f"tfds{i}")]
        for i, seed in enumerate((0, 0, 1))
    ]
    assert orders[0] == orders[1] != orders[2] and sorted(orders[0]) == sorted(orders[2])
    assert orders[0] != [record["question"] for record in miniature.gsm8k_records(0, 40)]


def test_validation_problems_are_taken_from_the_training_split(tmp_path):
    made = config(miniature.gsm8k(tmp_path / "data"), validation_problems=3)
    splits = {
        split: {p.prompt for p in load(made, split, tmp_path / "tfds")} for split in ("train", "validation", "test")
    }
    assert [len(each) for each in splits.values()] == [5, 3, 3] and len(set.union(*splits.values())) == 11
    with pytest.raises(ValueError, match="validation_problems = 8: the training split has 8 problems and must keep"):
        load(config(tmp_path / "data", validation_problems=8), "train", tmp_path / "tfds")


@pytest.mark.parametrize("form", ["ids", "texts"])
def test_a_test_split_chosen_by_ids(tmp_path, form):
    folder = miniature.math(tmp_path / "data")
    wanted = ["test/geometry/1.json", "test/algebra/0.json"]
    records = [{"unique_id": name} for name in wanted]
    if form == "texts":  # data without ids, as on the hub
        for split in ("train", "test"):
            found = [json.loads(path.read_text()) for path in sorted((folder / split).rglob("*.json"))]
            write(tmp_path / f"flat/{split}.jsonl", lines(found))
        records = [
            {"unique_id": name, "problem": json.loads((folder / name).read_text())["problem"].upper()}
            for name in wanted
        ]
        folder = tmp_path / "flat"
    made = config(folder, "math", test_ids=str(write(tmp_path / "ids.jsonl", lines(records))))
    prompts = {problem.prompt for problem in load(made, "test", tmp_path / "tfds")}
    assert prompts == {"In test geometry, what is $1 + 2$?", "In test algebra, what is $0 + 1$?"}


def test_math_500_is_fetched_from_the_hub(tmp_path, monkeypatch):
    ids = write(tmp_path / "test.jsonl", lines([{"unique_id": "test/geometry/1.json", "problem": "?"}]))
    monkeypatch.setattr(fetch, "from_hub", lambda repository, name: {"HuggingFaceH4/MATH-500": ids}[repository])
    made = config(miniature.math(tmp_path / "data"), "math", test_ids="hub")
    assert len(load(made, "test", tmp_path / "tfds")) == 1


def test_an_id_that_is_not_there_is_refused(tmp_path):
    ids = write(tmp_path / "ids.txt", "test/algebra/0.json\ntest/algebra/99.json\n")
    made = config(miniature.math(tmp_path / "data"), "math", test_ids=str(ids))
    with pytest.raises(
        ValueError, match="1 of its 2 problems, 'test/algebra/99.json' first, are not in the test split"
    ):
        load(made, "test", tmp_path / "tfds")


def test_contamination_is_stored_and_logged(tmp_path, caplog):
    folder = miniature.gsm8k(tmp_path / "data")
    records = [*miniature.gsm8k_records(0, 2), *miniature.gsm8k_records(1, 1), *miniature.gsm8k_records(1001, 1)]
    write(folder / "train.jsonl", lines(records))
    assert len(load(config(folder), "train", tmp_path / "tfds")) == 2
    counts = {"train_read": 4, "test_read": 3, **CLEAN, "train_repeated": 1, "train_in_test": 1}
    assert metadata(config(folder), tmp_path / "tfds") == counts
    assert "gsm8k: 2 of 4 training problems are left out (1 repeated, 1 in the test split, 0 overlapping" in caplog.text


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A small GSM8K at a public address."""
    folder = miniature.gsm8k(tmp_path / "web")
    addresses = tuple(Address((folder / name).as_uri()) for name in ("train.jsonl", "test.jsonl"))
    monkeypatch.setitem(fetch.PUBLIC, "gsm8k", addresses)


def test_the_public_address(tmp_path, published, monkeypatch):
    monkeypatch.setitem(builder.COUNTS, "gsm8k", {"train": 8, "test": 3})
    assert len(load(MathematicsConfig(dataset="gsm8k"), "train", tmp_path / "tfds")) == 8
    assert (tmp_path / "tfds/downloads/gsm8k/train.jsonl").exists()


def test_published_data_of_another_size_are_refused(tmp_path, published):
    with pytest.raises(
        ValueError, match=r"public source of gsm8k has \{'train': 8, 'test': 3\} problems instead of .*7473"
    ):
        load(MathematicsConfig(dataset="gsm8k"), "train", tmp_path / "tfds")
    assert not list((tmp_path / "tfds").rglob("*.array_record*"))


def test_an_unreadable_download_without_a_checksum_is_fetched_anew(tmp_path, monkeypatch, caplog):
    source = miniature.math(tmp_path / "web/MATH")
    with tarfile.open(tmp_path / "MATH.tar", "w") as archive:
        archive.add(source, "MATH")
    whole = (tmp_path / "MATH.tar").read_bytes()
    monkeypatch.setitem(fetch.PUBLIC, "math", (Address((tmp_path / "MATH.tar").as_uri()),))
    monkeypatch.setitem(builder.COUNTS, "math", {"train": 14, "test": 14})
    downloads = tmp_path / "downloads/math"
    made = MathematicsConfig(dataset="math")

    def extracted() -> None:
        builder.read_splits(made, tmp_path / "downloads")
        (downloads / "MATH/test/algebra/0.json").write_text('{"problem": "cut o')

    for damage in (
        lambda: (downloads / "MATH.tar").write_bytes(whole[: len(whole) // 2]),  # truncated
        lambda: (downloads / "MATH.tar").write_text("<html>"),
        extracted,
    ):
        shutil.rmtree(downloads, ignore_errors=True)
        downloads.mkdir(parents=True)
        damage()
        splits, _ = builder.read_splits(made, tmp_path / "downloads")
        assert len(splits["test"]) == 14 and "Its downloads are fetched anew." in caplog.text
        assert (downloads / "MATH.tar").read_bytes() == whole
        caplog.clear()


def test_data_are_written_once_and_changed_files_have_another_name(tmp_path, monkeypatch):
    folder = miniature.gsm8k(tmp_path / "data")
    first = config(folder)
    expected = load(first, "test", tmp_path / "tfds")
    with monkeypatch.context() as patch:
        patch.setattr(builder, "read_splits", None)  # calling it would raise
        assert load(config(folder), "test", tmp_path / "tfds") == expected
    miniature.gsm8k(folder, test=4)
    assert config(folder).name != first.name
    assert len(load(config(folder), "test", tmp_path / "tfds")) == 4


def test_two_configurations_never_share_a_name(tmp_path):
    ids = write(tmp_path / "ids.txt", "")
    changes = [
        {},
        {"seed": 1},
        {"validation_problems": 1},
        {"dataset": "jsonl", "source": str(ids), "held_out": 1},
        {"dataset": "jsonl", "source": str(ids), "held_out": 2},
        {"source": "hub"},
        {"dataset": "svamp"},
        {"dataset": "math"},
    ]
    changes += [{"dataset": "math", "test_ids": "hub"}, {"dataset": "math", "test_ids": str(ids)}]
    assert len({MathematicsConfig(**change).name for change in changes}) == len(changes)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dataset": "aime"}, r"task.dataset = 'aime': .*choose one of gsm8k, math, svamp, jsonl"),
        ({"test_ids": "hub"}, r"task.test_ids = 'hub': only math's"),
        ({"validation_problems": -1}, r"task.validation_problems = -1"),
        ({"seed": -1}, r"task.seed = -1: give 0 or more"),
        ({"held_out": -1}, r"task.held_out = -1"),
        ({"held_out": 3}, r"task.held_out = 3: only one file of problems is split by it"),
    ],
)
def test_bad_fields(fields, message):
    with pytest.raises(ValueError, match=message):
        MathematicsConfig(**fields)


@pytest.mark.skipif("MASS_GSM8K" not in os.environ, reason="set MASS_GSM8K to a folder with the published files")
def test_the_published_gsm8k(tmp_path):
    made = config(Path(os.environ["MASS_GSM8K"]))
    assert len(load(made, "train", tmp_path)) == 7469 and len(load(made, "test", tmp_path)) == 1319
    assert metadata(made, tmp_path) == {"train_read": 7473, "test_read": 1319, **CLEAN, "train_overlapping": 4}
