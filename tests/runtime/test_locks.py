"""Two runs do not write in one place, and the lock of a dead run is none."""

import logging
import os
import re
import resource
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from mass_jax.runtime import locks
from mass_jax.runtime.locks import LockedError
from tests import programs


@pytest.fixture
def other(tmp_path: Path):
    """Another process that holds the lock until its input ends."""
    command = programs.command("runtime.program_holder", str(tmp_path / "lock"))
    with subprocess.Popen(
        command, cwd=programs.ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_run_is_refused_until_the_first_is_dead(tmp_path: Path, other: subprocess.Popen):
    words = f"at work in '{tmp_path}': process 7 on elsewhere, since yesterday"
    with pytest.raises(LockedError, match=re.escape(words)):
        locks.keep(tmp_path / "lock")
    other.send_signal(signal.SIGKILL)
    other.wait()
    locks.keep(tmp_path / "lock")
    assert locks.kept(tmp_path / "lock") and not locks.kept(tmp_path / "other")
    locks.keep(tmp_path / "lock")  # it is this process's own
    assert (tmp_path / "lock").read_text().startswith(f"process {os.getpid()} on ")
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run(
            programs.command("runtime.program_holder", str(tmp_path / "lock")), cwd=programs.ROOT, timeout=0.5
        )


def test_one_waits_for_the_other_and_says_so(tmp_path: Path, other: subprocess.Popen, caplog):
    entered = threading.Event()

    def enter() -> None:
        with locks.alone(tmp_path / "lock", "makes the same base"):
            entered.set()

    with caplog.at_level(logging.WARNING):
        thread = threading.Thread(target=enter)
        thread.start()
        assert not entered.wait(0.3)
        other.stdin.close()
        thread.join()
    assert entered.is_set()
    assert "Waiting for another run, which makes the same base: process 7 on elsewhere" in caplog.text
    with locks.alone(tmp_path / "lock", "is over"):
        pass


def test_a_fork_does_not_outlive_the_lock(tmp_path: Path):
    locks.keep(tmp_path / "lock")
    # A process of its own, for this one may have threads, with which forks do not go together.
    path = tmp_path / "forked"
    with subprocess.Popen(
        programs.command("runtime.program_fork", str(path)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=programs.ROOT,
        text=True,
    ) as process:
        assert process.stdout.read() == "forked\n" and process.wait() == 0
        locks.keep(path)  # though the child lives on
        process.stdin.close()


def test_a_place_where_no_lock_can_be_is_a_sentence(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LockedError, match="file/lock' cannot be opened"), locks.alone(tmp_path / "file" / "lock", ""):
        pass


def test_where_there_are_no_locks_a_run_goes_on(tmp_path: Path, monkeypatch, caplog):
    def unknown(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(locks.fcntl, "flock", unknown)
    locks.keep(tmp_path / "lock")
    assert "cannot be locked" in caplog.text


def test_on_a_full_disk_the_lock_holds_and_is_given_back(tmp_path: Path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        with locks.at_once(tmp_path / "lock") as file, pytest.raises(LockedError, match="it does not say which"):
            locks.say(file, "more")
            locks.keep(tmp_path / "lock")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
