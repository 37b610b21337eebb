"""Every table anew: the jobs of a manifest, one after the other, and what they say over seeds and families.

    python -m experiments.reproduce --config=configs/reproduce.py --workdir=runs/reproduce --list
    python -m experiments.reproduce --config=configs/reproduce.py --workdir=runs/reproduce --only=demo,generator

A job has a folder of its own below the workdir, with its log. The same command goes on where it was stopped; on several
machines that see the folder, each takes jobs that no other is at work on. See docs/reproduce.md.
"""

import sys
from pathlib import Path

from absl import flags

from experiments.benchmarks.kept import keep, writable
from mass_jax.reporting.over_seeds import load, tables
from mass_jax.reporting.run import RunError
from mass_jax.reporting.table import to_markdown
from mass_jax.runtime import command_line, program
from mass_jax.study.suite.job import state
from mass_jax.study.suite.manifest import Manifest, jobs, read
from mass_jax.study.suite.work import listed, work

_ONLY = flags.DEFINE_list("only", None, "Entries or single jobs of the manifest; all where not given.")
_FULL = flags.DEFINE_bool("full", False, "Also what takes more than a night.")
_LIST = flags.DEFINE_bool("list", False, "Show the jobs, how far each is, and how long it takes; run nothing.")


def main(manifest: Manifest, workdir: Path) -> None:
    """Run what is not done yet, and keep the tables of every entry that has seeds."""
    asked = jobs(manifest, _ONLY.value, _FULL.value)
    if _LIST.value:
        print(to_markdown(listed(asked, workdir)))
        return
    entries = {job.entry: jobs(manifest, [job.entry]) for job in asked}
    for job in (each for beside in entries.values() for each in beside):
        state(job, workdir)  # of what is not asked, too, for its tables: better now than when all has run
    failed = [job.name for job in work(asked, writable(workdir))]
    for entry, beside in entries.items():
        done = [workdir / job.name for job in beside if state(job, workdir).done]
        if runs := [folder for folder in done if (folder / "evaluation").is_dir()]:
            try:
                found = tables(load(runs))
            except RunError as error:
                print(f"{entry}: {error}", file=sys.stderr)
                failed.append(entry)
            else:
                keep(workdir / f"{entry}.table.json", **found)
                print(f"{entry}, {len(runs)} seeds\n\n{to_markdown(found['accuracy'])}\n")
    if failed:
        print(f"Not done: {', '.join(failed)}. The same command tries them again.", file=sys.stderr)
        sys.exit(program.LACKING)


if __name__ == "__main__":
    command_line.run(main, read, lambda config: {})
