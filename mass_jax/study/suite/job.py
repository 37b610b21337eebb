"""One job of a suite at work: a process, its log, and the record of what became of it."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple, TextIO

from mass_jax import records
from mass_jax.errors import InputError
from mass_jax.runtime import locks
from mass_jax.runtime.workdir import write_atomically
from mass_jax.study.suite.manifest import Job

RECORD, LOG, LOCK = "job.json", "job.log", "job.lock"
"""In the job's folder, beside what its program writes."""
PATIENCE = 60.0
"""Seconds that a program has to save itself when it is to end."""
SHOWN = 5
"""Lines of a log."""


class State(NamedTuple):
    """How far a job is.

    Attributes:
      status: the exit status of its program; None of one that has not begun or was stopped.
      seconds: that it took, over all its starts.
    """

    status: int | None = None
    seconds: float = 0.0

    @property
    def done(self) -> bool:
        """Whether it ended well."""
        return self.status == 0

    @property
    def end(self) -> str:
        """Of a program that failed, by what: its exit status, or the signal that ended it."""
        assert self.status is not None
        return f"exit status {self.status}" if self.status > 0 else signal.Signals(-self.status).name


def state(job: Job, workdir: Path) -> State:
    """What a job's record says.

    Raises:
      InputError: the record is of another job.
    """
    path = workdir / job.name / RECORD
    found = records.read(path)
    if found is None:
        return State()
    if (asked := found.get("asked", "which it does not say")) != job.asked:
        raise InputError(
            f"'{path}' is of another job ({asked}; now {job.asked}): give another --workdir, or move the "
            f"folder '{path.parent}' away."
        )
    return State(found["status"], found["seconds"])


def run(job: Job, workdir: Path, lock: TextIO) -> State:
    """Runs a job's program to its end.

    Args:
      job: which.
      workdir: the suite's.
      lock: the job's, held; the program holds it too, so that none starts beside one that has lost its suite.

    Returns:
      How far the job is then. Whatever ends this process before ends the program first, which saves itself.
    """
    folder, before = workdir / job.name, state(job, workdir)
    command = [sys.executable, "-m", *job.words, f"--workdir={folder}"]
    began, status = time.monotonic(), State().status
    with (folder / LOG).open("ab") as log:
        # In a session of its own a Ctrl-C is not the program's as well: it would take a second notice for haste.
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=(lock.fileno(),),
            start_new_session=True,
        )
        locks.say(lock, f"; its program is process {process.pid}")  # which is to be ended where the suite is lost
        try:
            status = process.wait()
        finally:
            if status is None:
                _end(process)
            after = State(status, before.seconds + time.monotonic() - began)
            write_atomically(folder / RECORD, records.dumps(after._asdict() | {"asked": job.asked}, indent=1))
    return after


def last_lines(job: Job, workdir: Path) -> str:
    """Of a job's log."""
    lines = (workdir / job.name / LOG).read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(lines[-SHOWN:])


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
