"""A run that version 9476da4 wrote is read as it was; `earlier/made_with.py` says how it was made.

``earlier/answers.json`` has the test problems and what that version answered, row by row.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mass_jax
from configs import smoke
from experiments import evaluate
from mass_jax import records
from mass_jax.errors import InputError
from mass_jax.reporting import report
from mass_jax.runtime.checkpoint import CheckpointError
from mass_jax.runtime.workdir import WorkdirError
from mass_jax.study import earlier
from mass_jax.study.config import arm_config, read
from mass_jax.study.load import read_config, run_config
from mass_jax.study.study import open_study, overrides, train_arm

RUN = Path(__file__).parent / "earlier" / "run"
KEPT = json.loads((RUN.parent / "answers.json").read_text(encoding="utf-8"))
UNKNOWN = {"optimizer": "normalized", "malformed_reward": -0.6}
"""Fields of ``train`` that the run does not have."""


def today(**train: Any) -> dict[str, Any]:
    """A config of today that has all that the run's has, but for some fields of ``train``."""
    fields = earlier.brought(read_config(RUN).given)
    return fields | {"train": fields["train"] | UNKNOWN | train}


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the run that may be written to, and a place of its own for the data."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    shutil.copytree(RUN.parent / "base", tmp_path / "base")
    return Path(shutil.copytree(RUN, tmp_path / "run"))


@pytest.mark.parametrize("arm", ["mass", "mass_no_update", "tt_ss"])
def test_it_answers_as_it_did(arm: str):
    before = {path: path.stat().st_mtime_ns for path in RUN.parent.rglob("*")}
    learner = mass_jax.load(RUN, arm)
    answers = dict(zip(KEPT["prompts"], learner.answers(KEPT["prompts"]), strict=True))
    assert [answer.text for answer in answers.values()] == KEPT["answers"][arm]
    if arm == "mass":
        for line in (RUN / "examples.jsonl").read_text(encoding="utf-8").splitlines():
            kept = json.loads(line)
            found, problem = answers[kept["prompt"]], learner.read(kept["prompt"])
            task = learner.actor.domain.task
            written = [task.written(problem, each) if each.well_formed else "(malformed)" for each in found.practice]
            assert written == [pair["text"] for pair in kept["practice"]]
            np.testing.assert_allclose(found.weights, [pair["weight"] for pair in kept["practice"]], rtol=1e-4)
    assert {path: path.stat().st_mtime_ns for path in RUN.parent.rglob("*")} == before, "it is only read"


def test_its_fields_are_brought_to_todays_and_kept_as_they_were():
    written = json.loads((RUN / "config.json").read_text(encoding="utf-8"))
    config, own = read_config(RUN), arm_config(read_config(RUN), "mass")
    assert (config.train.malformed_reward, own.train.malformed_reward) == (-1.0, -0.5)
    assert (config.train.optimizer, config.train.generator_rate, own.train.mode) == ("adam", 3e-4, "verifier")
    assert json.loads(json.dumps(config.given)) == written
    assert own.given["train"] == written["train"] | written["arms"]["mass"]["train"]
    assert overrides(config, "mass") == {"train.malformed_advantage": -0.5, "train.mode": "verifier"}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"train": {"malformed_advantages": 0.0}}, "malformed_advantages"),
        ({"train": {"malformed_reward": 0.0}}, "malformed_advantage"),  # beside the earlier name
        ({"inner": {"momentum": 0.0}}, "inner.momentum"),
        ({"arms": {"mass": {"train": 3}}}, "config.arms.mass.train = 3"),
        ({"arms": 3}, "arms"),
        ({"train": 3}, "train"),
    ],
)
def test_what_cannot_be_brought_over_is_a_sentence(workdir: Path, fields: dict[str, Any], words: str):
    written = json.loads((workdir / "config.json").read_text())
    for group, value in fields.items():
        written[group] = written[group] | value if isinstance(value, dict) else value
    (workdir / "config.json").write_text(json.dumps(written))
    with pytest.raises(
        InputError, match=rf"(?s)config.json that does not fit this version of the code: .*load it by .*{words}"
    ):
        read_config(workdir)


def test_the_command_line_takes_todays_words_only():
    with pytest.raises(InputError, match="malformed_advantage"):
        read(read_config(RUN).given)


def test_a_program_that_only_reads_takes_the_runs_own_config(workdir: Path):
    assert run_config(read(today()), workdir) == read_config(workdir)
    with pytest.raises(WorkdirError, match=r"another config, differing in:\n  train.clip: 0.2 \(there\), 0.3"):
        run_config(read(today(clip=0.3)), workdir)
    config = read(smoke.get_config())
    assert run_config(config, workdir / "new") is config
    with pytest.raises(WorkdirError, match="another config"), open_study(read(today()), workdir):
        pass  # the door of a program that trains


@pytest.mark.parametrize("format", [1, 2])
def test_it_is_not_trained_on(workdir: Path, format: int):
    if format == 2:  # as later versions have it, up to ff0f7ce: with the arm's config, in their words
        file = workdir / "mass/checkpoints/2/manifest/metadata"
        written = json.loads((RUN / "config.json").read_text(encoding="utf-8"))
        owner = written | {"train": written["train"] | written["arms"]["mass"]["train"]}
        added = {"format": 2, "config": owner, "checksums": {}}
        file.write_text(json.dumps(records.sealed(json.loads(file.read_text()) | added)))
    with (
        open_study(read_config(workdir), workdir) as study,
        pytest.raises(CheckpointError, match="of another model or optimiser"),
    ):
        train_arm(study, "mass")


def test_it_is_evaluated_anew(workdir: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(evaluate, "enable_compilation_cache", lambda: None)  # it is set for a whole process
    # What is shown beside the tables takes most of the time, and has no part in this.
    monkeypatch.setattr("mass_jax.study.evaluate.inspect", lambda *_: ({"headline": "mass"}, {}, []))
    config = (workdir / "config.json").read_bytes()
    assert "evaluate the run again" in report.summary(workdir)
    evaluate.main(read(today()), workdir)
    before, after = (json.loads((folder / "results.json").read_text()) for folder in (RUN, workdir))
    for part in ("methods", "controls"):
        accuracies = [{name: row["accuracy"] for name, row in results[part].items()} for results in (before, after)]
        assert accuracies[0].items() <= accuracies[1].items(), "there are more rows today"
        assert accuracies[0]
    assert after["labels"]["tt_ss"] == "TT-SS" and after["config"] == before["config"]
    assert (workdir / "config.json").read_bytes() == config
    assert report.summary(workdir).startswith("MASS solves")
