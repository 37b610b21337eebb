"""All of the time counts: every program's, every invocation's, and those that were killed."""

import contextlib
import json
import time
from pathlib import Path

import pytest

from mass_jax.errors import InputError
from mass_jax.runtime import clock, environment, results, workdir
from mass_jax.runtime.clock import Clock


@pytest.fixture(autouse=True)
def opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """The workdir is this run's own."""
    monkeypatch.setattr(clock.locks, "kept", lambda path: path.parent.is_dir())


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, for a test to set; no thread writes."""
    at = [0.0]
    monkeypatch.setattr(clock.time, "monotonic", lambda: at[0])
    monkeypatch.setattr(clock.environment, "describe", lambda: {"date": "today", "commit": "0" * 40, "devices": {}})
    monkeypatch.setattr(clock.threading.Thread, "start", lambda self: None)
    monkeypatch.setattr(clock.threading.Thread, "join", lambda self: None)
    return at


def test_phases_add_up_over_programs_and_kills(tmp_path: Path, now: list[float]):
    results.merge(tmp_path, gate={"base": {"accuracy": 0.5}})
    with Clock(tmp_path, "train") as train:
        train.phase("pretrain")
        now[0] = 5.0
        train.phase("train/mass")
        now[0] = 25.0
    killed = Clock(tmp_path, "demo").__enter__()
    killed.phase("train/mass")
    now[0] = 125.0
    killed._write()  # what the thread does; then the process is gone
    now[0] = 1000.0
    with Clock(tmp_path, "demo") as last:
        last.phase("evaluate")
        now[0] = 1007.0
    found = json.loads((tmp_path / "results.json").read_text())
    assert found["gate"] == {"base": {"accuracy": 0.5}}
    assert found["timing"]["phases"] == {"pretrain": 5.0, "train/mass": 120.0, "evaluate": 7.0}
    assert found["timing"]["total_seconds"] == 132.0
    rows = [(row["program"], row["seconds"]) for row in found["timing"]["invocations"]]
    assert rows == [("train", 25.0), ("demo", 100.0), ("demo", 7.0)]
    assert {row["command"] for row in found["timing"]["invocations"]} == {environment.command()}


def test_what_is_refused_at_the_door_did_nothing(tmp_path: Path, now: list[float]):
    with pytest.raises(ValueError, match="no such field"), Clock(tmp_path, "demo") as refused:
        refused.phase("pretrain")
        now[0] = 3.0
        raise ValueError("no such field")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="gate"), Clock(tmp_path, "demo") as closed:
        closed.phase("pretrain")
        now[0] = 10.0
        closed.phase("gate")
        now[0] = 14.0
        raise ValueError("gate")
    assert json.loads((tmp_path / "results.json").read_text())["timing"]["phases"] == {"pretrain": 7.0, "gate": 4.0}


def test_nothing_is_written_into_another_runs_workdir(
    tmp_path: Path, now: list[float], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(clock.locks, "kept", lambda path: False)
    with pytest.raises(ValueError, match="another run"), Clock(tmp_path, "demo") as refused:
        refused.phase("pretrain")
        refused._write()  # after ten seconds, say
        raise ValueError("another run is at work")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ['{"invocations": ', '{"invocations": [], "checksum": "0"}', "[]"])
def test_a_refused_start_leaves_another_runs_time_as_it_was(
    tmp_path: Path, now: list[float], monkeypatch: pytest.MonkeyPatch, text: str
):
    (tmp_path / "timing.json").write_text(text)
    with monkeypatch.context() as patch:
        patch.setattr(clock.locks, "kept", lambda path: False)
        with pytest.raises(ValueError, match="another config"), Clock(tmp_path, "demo") as refused:
            refused.phase("pretrain")
            refused._write()
            raise ValueError("another config")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"timing.json": text}
    with Clock(tmp_path, "demo") as own:  # its own run notices it, and keeps it aside
        own.phase("pretrain")
    assert (tmp_path / "timing.json.damaged").read_text() == text
    assert len(json.loads((tmp_path / "timing.json").read_text())["invocations"]) == 1


def test_phases_of_earlier_versions_count(tmp_path: Path, now: list[float]):
    (tmp_path / "timing.json").write_text(json.dumps({"pretrain": 41.0}))
    with Clock(tmp_path, "demo") as first:
        first.phase("evaluate")
        now[0] = 2.0
    assert first.timing()["phases"] == {"pretrain": 41.0, "evaluate": 2.0}


@pytest.mark.parametrize("fails", [False, True])
def test_what_a_full_disk_loses_is_said_once_and_only_if_nothing_else_is(
    fails: bool, tmp_path: Path, now: list[float], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    with contextlib.suppress(InputError), Clock(tmp_path, "demo") as clock_:
        clock_.phase("pretrain")
        clock_.phase("train/mass")
        file = tmp_path / "timing.json"
        monkeypatch.setattr(clock, "write_atomically", lambda *_: workdir.write_atomically(file / "none", ""))
        monkeypatch.setattr(results, "write_atomically", clock.write_atomically)
        clock_.phase("evaluate")  # nothing is lost yet
        assert caplog.text == ""
        if fails:
            raise InputError("A checkpoint could not be written.")
    assert caplog.text.count("The time of this run is not written down: '") == len(caplog.records) == (not fails)


def test_a_thread_writes_while_a_phase_lasts(tmp_path: Path):
    with Clock(tmp_path, "demo", every_seconds=0.01) as running:
        running.phase("pretrain")
        while not (tmp_path / "timing.json").exists():
            time.sleep(0.01)
    assert running.timing()["phases"]["pretrain"] > 0
