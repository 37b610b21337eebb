"""What a benchmark goes on with is its own and whole; what is another program's is not overwritten."""

import os
from pathlib import Path

import pytest

from experiments.benchmarks import attacks, estimators, estimators_gpt2, hyper_cleaning
from experiments.benchmarks.kept import alike, held, writable
from mass_jax.errors import InputError

OF_A_STUDY = '{"methods": {"base": {"accuracy": 0.5}}, "seed": 1}'


@pytest.mark.parametrize(
    ("text", "rows", "words"),
    [
        ('{"rows": [', "rows", "Expecting value"),
        ("[" * 9999, "rows", "it is nested more than 100 deep"),
        (OF_A_STUDY, "rows", "it has no list of rows with a, b"),
        ('{"rows": [{"a": 1}]}', "rows", "it has no list of rows"),
        ('{"rows": [1]}', "rows", "it has no list of rows"),
        ('[{"a": 1, "b": 2}]', "rows", "it has no list of rows"),
        ('{"rows": []}', None, "it has no list of rows"),
    ],
    ids=range(7),
)
def test_another_file_is_a_sentence(tmp_path: Path, text: str, rows: str | None, words: str):
    path = tmp_path / "results.json"
    assert held(path, ("a", "b"), rows) is None
    path.write_text(text)
    with pytest.raises(InputError, match=f"results.json' is damaged, or not of this .*{words}.*: give another folder"):
        held(path, ("a", "b"), rows)


def test_what_is_held_is_read(tmp_path: Path):
    path = tmp_path / "rows.json"
    for text, rows in (('{"rows": [{"a": 1, "b": 2}]}', "rows"), ('[{"a": 1, "c": 3}]', None), ("[]", None)):
        path.write_text(text)
        assert held(path, ("a",), rows) in ({"rows": [{"a": 1, "b": 2}]}, [{"a": 1, "c": 3}], [])


def test_what_was_measured_otherwise_is_a_sentence(tmp_path: Path):
    row = {"model": "mine", "length": 4, "size": {"steps": 1}, "right": [1]}
    alike(tmp_path, row, model="mine", length=4, size={"steps": 1})
    for asked, words in (
        ({"length": 5}, "length = 4, where it is 5"),
        ({"arm": "mass"}, "arm = None, where it is 'mass'"),
        ({"size": {"steps": 2}}, r"size = \{'steps': 1\}, where it is \{'steps': 2\}"),
    ):
        with pytest.raises(InputError, match=f"was measured with {words}.*: give the same again, or another --workdir"):
            alike(tmp_path, row, model="mine", **asked)


def test_a_folder_that_cannot_be_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert writable(tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="cannot be made .*: give another"):
            writable(path)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(InputError, match="cannot be written: give another, or make it writable"):
        writable(tmp_path)


@pytest.mark.parametrize("fresh", [False, True])
def test_the_results_of_a_study_are_left_as_they_are(tmp_path: Path, fresh: bool):
    path = tmp_path / "results.json"
    path.write_text(OF_A_STUDY)
    for run in (
        lambda: estimators.run(tmp_path, [("tiny", "sgd", 2)], None, 1, 60.0, fresh),
        lambda: estimators_gpt2.run(
            estimators_gpt2.Setting(), [], [], estimators_gpt2.jax.devices()[0], path, fresh=fresh
        ),
        lambda: hyper_cleaning.run(tmp_path, None, 1, 2, 1, 0.4),
        lambda: attacks.measure(None, {}, tmp_path, ()),  # type: ignore[arg-type]
    ):
        with pytest.raises(InputError, match="not of this benchmark"):
            run()
    assert [each.name for each in tmp_path.iterdir()] == ["results.json"] and path.read_text() == OF_A_STUDY
