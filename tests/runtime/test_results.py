"""Each program owns its part of results.json."""

import json
from pathlib import Path

import pytest

from mass_jax.results import ResultsError, keys, markdown
from mass_jax.runtime.results import merge
from mass_jax.runtime.workdir import WorkdirError


def test_a_part_replaces_itself_and_leaves_the_others(tmp_path: Path):
    merge(tmp_path, gate={"base": {"accuracy": 0.5}}, methods={"base": {"accuracy": 1.0}})
    path = merge(tmp_path, methods={"mass": {"accuracy": 0.25, "ci95": None, "n": 4}})
    found = json.loads(path.read_text())
    methods = {"mass": {"accuracy": 0.25, "ci95": None, "n": 4}}
    assert (found["gate"], found["methods"]) == ({"base": {"accuracy": 0.5}}, methods)


def test_what_is_not_declared_is_not_written(tmp_path: Path):
    path = merge(tmp_path, seed=1)
    before = path.read_bytes()
    for wrong, sentence in (
        ({"methodz": {}}, "does not take methodz .no such key."),
        ({"methods": {"base": 1}}, "methods.base = '1'"),
        ({"gate": {"base": {"ci95": [0, 1]}}}, "gate.base.accuracy .field required."),
        (
            {"seed": True},
            "seed = 'True' .input should be a valid integer.: its keys are declared in mass_jax/results.py",
        ),
    ):
        with pytest.raises(ResultsError, match=sentence):
            merge(tmp_path, **wrong)
    assert path.read_bytes() == before


def test_a_part_of_another_version_stays_where_it_is(tmp_path: Path):
    (tmp_path / "results.json").write_text('{"later": {"a": 1}}')
    assert json.loads(merge(tmp_path, seed=1).read_text())["later"] == {"a": 1}


def test_every_key_has_its_meaning_and_stands_in_the_docs():
    found = dict(keys())
    assert {"methods.<name>.accuracy", "paired.<name>.diff", "timing.invocations.seconds", "targets.gains"} <= set(
        found
    )
    assert all(found.values()), [key for key, meaning in found.items() if not meaning]
    assert markdown() in Path("docs/results.md").read_text(encoding="utf-8"), "python -m mass_jax.results prints it"


def test_a_damaged_file_is_kept_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "results.json").write_text('{"gate": ')
    assert "gate" not in json.loads(merge(tmp_path, seed=1).read_text())
    assert (tmp_path / "results.json.damaged").read_text() == '{"gate": ' and "is damaged" in caplog.text
    assert "experiments.gate writes the gates' parts again, and python -m experiments.evaluate all" in caplog.text
    caplog.clear()
    merge(tmp_path, seed=2)
    (tmp_path / "new").mkdir()
    merge(tmp_path / "new", seed=1)
    assert not caplog.text, "what is whole, or not there, is no loss"


def test_a_file_that_cannot_be_written_is_a_sentence(tmp_path: Path):
    with pytest.raises(WorkdirError, match="results.json' cannot be written .No such file.*start the same again"):
        merge(tmp_path / "nowhere", seed=1)
