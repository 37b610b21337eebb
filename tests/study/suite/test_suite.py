"""A suite's jobs are done once each, whatever ends it, and failures stop no other."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from mass_jax.errors import InputError
from mass_jax.runtime import locks
from mass_jax.study.suite import job as jobs_at_work
from mass_jax.study.suite.job import State, run, state
from mass_jax.study.suite.manifest import Job, given, jobs, read
from mass_jax.study.suite.work import left, listed, work

ENTRY = {"program": "x", "config": "y", "minutes": 1.0}
CONFIG = "def get_config(kind='good'):\n  return {'kind': kind}\n"


@pytest.fixture
def manifest(tmp_path: Path) -> Callable[..., list[Job]]:
    """Jobs of entries that are named by what their program is to do."""
    (tmp_path / "config.py").write_text(CONFIG)

    def make(*kinds: str, seeds: tuple[int, ...] = (0,), **options: object) -> list[Job]:
        entries = {
            kind: {
                "program": "tests.study.suite.program_stub",
                "config": f"{tmp_path}/config.py:{kind}",
                "minutes": 1.0,
            }
            for kind in kinds
        }
        return jobs(read(ConfigDict({"seeds": seeds, "entries": entries})), **options)

    return make


def calls(workdir: Path, name: str) -> list[str]:
    return (workdir / name / "calls").read_text().split()


def test_jobs_run_once_and_one_that_fails_is_told_and_tried_again(tmp_path, manifest, capsys):
    asked = manifest("fails", "good", seeds=(3, 5))
    assert [job.name for job in work(asked, tmp_path)] == ["fails_3", "fails_5"]
    assert calls(tmp_path, "good_5") == ["5"] and state(asked[3], tmp_path).done
    said = capsys.readouterr().err
    assert "fails_3 failed with exit status 3" in said and "fails at work" in said
    states = [row[1] for row in listed(asked, tmp_path).rows]
    assert states == ["failed (exit status 3)", "failed (exit status 3)", "done", "done", "2 of 4 done"]
    (tmp_path / "fails_3" / "mended").touch()
    assert [job.name for job in work(asked, tmp_path)] == ["fails_5"]
    assert calls(tmp_path, "good_5") == ["5"], "what is done is not done again"
    assert state(asked[0], tmp_path).seconds > 0


def test_a_job_that_a_signal_ends_is_told_by_its_name(tmp_path, manifest):
    asked = manifest("killed", seeds=(0,))
    assert work(asked, tmp_path) == asked
    assert listed(asked, tmp_path).rows[0][1] == "failed (SIGKILL)"


def test_a_job_that_the_manifest_has_changed_is_refused_before_any_runs(tmp_path, manifest):
    work(manifest("good"), tmp_path)
    (tmp_path / "config.py").write_text(CONFIG.replace("kind}", "kind, 'more': 1}"))
    with pytest.raises(InputError, match=r"good_0/job.json' is of another job .* give another --workdir, or move"):
        work([*manifest("slow"), *manifest("good")], tmp_path)
    assert not (tmp_path / "slow_0" / "calls").exists()


def interrupted(asked, workdir) -> None:
    """Works until the program of the job ``slow_0`` has begun, and then gets a Ctrl-C."""

    def interrupt() -> None:
        while not (workdir / "slow_0" / "began").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        work(asked, workdir)


def test_an_end_of_the_suite_ends_the_program_and_the_same_goes_on(tmp_path, manifest):
    asked = manifest("slow")
    interrupted(asked, tmp_path)
    assert (tmp_path / "slow_0" / "saved").exists(), "it was let to save itself"
    found = state(asked[0], tmp_path)
    assert found.status is None and found.seconds > 0
    assert listed(asked, tmp_path).rows[0][1] == "stopped"
    assert work(asked, tmp_path) == []
    assert state(asked[0], tmp_path).seconds > found.seconds


def test_what_another_machine_works_on_comes_last(tmp_path, manifest):
    asked = manifest("good", seeds=(0, 1))
    (tmp_path / "good_0").mkdir()
    with locks.at_once(tmp_path / "good_0" / "job.lock") as lock:
        assert [row[1] for row in listed(asked, tmp_path).rows[:2]] == ["at work", "to do"]
        thread = threading.Thread(target=work, args=(asked, tmp_path))
        thread.start()
        while not state(asked[1], tmp_path).done:
            time.sleep(0.05)
        assert not (tmp_path / "good_0" / "calls").exists()
        run(asked[0], tmp_path, lock)  # as the other machine would
    thread.join()
    assert calls(tmp_path, "good_0") == ["0"], "which is seen, and not done again"


def test_a_program_that_lost_its_suite_keeps_the_lock(tmp_path, manifest, monkeypatch):
    """Killed, a suite can end nothing; no other may start the same beside what is left."""
    [job] = manifest("slow")
    monkeypatch.setattr(jobs_at_work, "_end", lambda process: left_over.append(process))
    left_over: list = []
    interrupted([job], tmp_path)
    says = f"process {os.getpid()} on .*; its program is process {left_over[0].pid}"
    with pytest.raises(locks.LockedError, match=says), locks.at_once(tmp_path / "slow_0" / "job.lock"):
        pass
    left_over[0].kill()
    left_over[0].wait()
    with locks.at_once(tmp_path / "slow_0" / "job.lock"):
        pass


def test_the_time_left_is_the_manifests_at_the_pace_of_what_is_done():
    three = [Job(name, name, (), "", 60.0) for name in "abc"]
    assert left(three, {name: State() for name in "abc"}) == 180.0
    assert left(three, {"a": State(0, 120.0), "b": State(None, 30.0), "c": State()}) == 90.0 + 120.0
    assert left(three, {"a": State(0, 30.0), "b": State(1, 50.0), "c": State(0, 30.0)}) == 0.0, "never below nothing"


def test_what_is_asked_for_is_chosen_by_entry_and_by_job(manifest):
    assert [job.name for job in manifest("good", "slow", seeds=(0, 1), only=["slow", "good_1"])] == [
        "good_1",
        "slow_0",
        "slow_1",
    ]
    with pytest.raises(InputError, match=r"--only=god: 'god' is not one of .* Did you mean 'good'\?"):
        manifest("good", only=["god"])
    with pytest.raises(InputError, match=r"--only= is empty: give some of good, good_0, or leave it out"):
        manifest("good", only=[])


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"seeds": (-1,)}, "seeds.0 = -1: give 0 or more"),
        ({"seeds": ()}, "seeds"),
        ({"seeds": (0, 1, 0), "entries": {"a": ENTRY}}, r"seeds = \(0, 1, 0\): one is there twice"),
        ({"entries": {}}, "entries"),
        (
            {"entries": {"a": ENTRY, "a_0": ENTRY | {"by_seed": False}}},
            "entries.a_0 and entries.a both have a job 'a_0': rename one",
        ),
        ({"entries": {"base": {"program": "x", "config": "y", "minutes": 1.0}}}, "not 'base'"),
        (
            {"entries": {"a": {"program": "x", "config": "y", "minutes": 0.0}}},
            "entries.a.minutes = 0.0: give more than",
        ),
        ({"entries": {"a": {"program": "x", "config": "y", "minutes": 1.0, "ful": True}}}, "ful"),
    ],
)
def test_a_wrong_manifest_is_a_sentence(changed, words):
    with pytest.raises(InputError, match=words):
        read(ConfigDict({"seeds": (0,), "entries": {"good": ENTRY}} | changed))


def test_a_config_that_is_not_there_is_a_sentence():
    with pytest.raises(InputError, match=r"The config 'none.py:x' of the manifest cannot be read \(FileNotFoundError"):
        given("none.py:x")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("raise SystemExit(5)\n", "SystemExit: 5"),
        ("def get_config():\n  return None\n", r"get_config\(\) returns None"),
    ],
)
def test_a_config_that_gives_none_is_a_sentence(tmp_path, text, why):
    (tmp_path / "config.py").write_text(text)
    with pytest.raises(InputError, match=f"of the manifest cannot be read .*{why}.* name a file with"):
        given(f"{tmp_path}/config.py")


def test_a_record_without_its_keys_is_of_another_job(tmp_path, manifest):
    [job] = manifest("good")
    (tmp_path / "good_0").mkdir()
    (tmp_path / "good_0" / "job.json").write_text('{"status": 0}')
    with pytest.raises(InputError, match=r"is of another job \(which it does not say; now"):
        state(job, tmp_path)


def test_a_seed_beside_what_is_asked_is_looked_at_before_anything_runs(tmp_path):
    """It is part of the entry's tables, which are made when all has run."""
    (tmp_path / "config.py").write_text(CONFIG)
    program, config = "tests.study.suite.program_stub", f"{tmp_path}/config.py:good"
    entries = {"good": {"program": program, "config": config, "minutes": 1.0}}
    (tmp_path / "manifest.py").write_text(
        "from ml_collections import ConfigDict\n"
        f"def get_config():\n  return ConfigDict({{'seeds': (0, 1), 'entries': {entries!r}}})\n"
    )
    (tmp_path / "runs" / "good_1").mkdir(parents=True)
    (tmp_path / "runs" / "good_1" / "job.json").write_text("{}")
    words = [f"--config={tmp_path}/manifest.py", f"--workdir={tmp_path}/runs", "--only=good_0"]
    command = [sys.executable, "-m", "experiments.reproduce", *words]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and "good_1/job.json' is of another job" in done.stderr
    assert not (tmp_path / "runs" / "good_0").exists()
