"""The jobs of a suite, one after the other; several machines share them by a folder that all of them see."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO

from rich.console import Console

from mass_jax.reporting.table import Table
from mass_jax.runtime import locks
from mass_jax.runtime.locks import LockedError
from mass_jax.runtime.progress import Progress, duration
from mass_jax.study.suite.job import LOCK, LOG, State, last_lines, run, state
from mass_jax.study.suite.manifest import Job


def work(jobs: Sequence[Job], workdir: Path) -> list[Job]:
    """Runs what is not done yet; what another machine is at work on comes last, when that one is through with it.

    Args:
      jobs: in their order.
      workdir: with a folder a job.

    Returns:
      The jobs that failed, each of which has been told with the last lines of its log.

    Raises:
      InputError: the folder of a job has the record of another one; nothing is run.
    """
    states = {job.name: state(job, workdir) for job in jobs}
    failed, elsewhere, console = list[Job](), list[Job](), Console(stderr=True)
    with Progress(len(jobs), start=_done(states), label="jobs", console=console) as progress:

        def attend(job: Job, lock: TextIO) -> None:
            states[job.name] = state(job, workdir)  # another machine may have done it meanwhile
            if not states[job.name].done:
                progress.doing(job.name)
                states[job.name] = run(job, workdir, lock)
                if not states[job.name].done:
                    failed.append(job)
                    told = f"{job.name} failed with {states[job.name].end}: the end of"
                    told += f" '{workdir / job.name / LOG}' is\n{last_lines(job, workdir)}"
                    console.print(told, markup=False, highlight=False, soft_wrap=True)
            progress.expect(left(jobs, states))
            progress.update(_done(states))

        progress.expect(left(jobs, states))
        for job in jobs:
            try:
                with locks.at_once(workdir / job.name / LOCK) as lock:
                    attend(job, lock)
            except LockedError:
                elsewhere.append(job)
        for job in elsewhere:
            with locks.alone(workdir / job.name / LOCK, f"works on {job.name}") as lock:
                attend(job, lock)
    return failed


def left(jobs: Sequence[Job], states: Mapping[str, State]) -> float:
    """Seconds that the rest takes: the manifest's, as many times as those of the jobs that are done were taken."""
    done = [job for job in jobs if states[job.name].done]
    pace = sum(states[job.name].seconds for job in done) / sum(job.seconds for job in done) if done else 1.0
    return sum(max(pace * job.seconds - states[job.name].seconds, 0.0) for job in jobs if job not in done)


def _done(states: Mapping[str, State]) -> int:
    return sum(each.done for each in states.values())


def listed(jobs: Sequence[Job], workdir: Path) -> Table:
    """Every job with its state, the time that it is to take, and that it took until now; and all of them."""
    states = {job.name: state(job, workdir) for job in jobs}
    rows = []
    for job in jobs:
        found = states[job.name]
        rows.append((job.name, _told(job, workdir, found), duration(job.seconds), duration(found.seconds)))
    estimate, taken = sum(job.seconds for job in jobs), sum(found.seconds for found in states.values())
    rows.append(("all", f"{_done(states)} of {len(jobs)} done", duration(estimate), duration(taken)))
    return Table(("Job", "State", "Estimate", "Taken"), "llrr", rows)


def _told(job: Job, workdir: Path, found: State) -> str:
    if found.done:
        return "done"
    path = workdir / job.name / LOCK
    if not path.exists():
        return "to do"
    try:
        with locks.at_once(path):
            return f"failed ({found.end})" if found.status else "stopped"
    except LockedError:
        return "at work"
