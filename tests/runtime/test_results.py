"""Each program owns its part of results.json."""

import json
from pathlib import Path

import pytest

from mass_jax.runtime.results import merge
from mass_jax.runtime.workdir import WorkdirError


def test_a_part_replaces_itself_and_leaves_the_others(tmp_path: Path):
    merge(tmp_path, gate={"passed": True}, methods={"base": 1})
    path = merge(tmp_path, methods={"mass": 2})
    found = json.loads(path.read_text())
    assert (found["gate"], found["methods"]) == ({"passed": True}, {"mass": 2})


def test_a_damaged_file_is_kept_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "results.json").write_text('{"gate": ')
    assert "gate" not in json.loads(merge(tmp_path, seed=1).read_text())
    assert (tmp_path / "results.json.damaged").read_text() == '{"gate": ' and "is damaged" in caplog.text


def test_a_file_that_cannot_be_written_is_a_sentence(tmp_path: Path):
    with pytest.raises(WorkdirError, match="results.json' cannot be written .No such file.*the same command"):
        merge(tmp_path / "nowhere", seed=1)
