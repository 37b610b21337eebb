"""How many small programs a second are judged in jails, and whether 1,000 hostile ones leave anything behind.

    python -m experiments.benchmarks.jails --workdir=runs/jails

`attacks.py` has the hostile programs. ``<workdir>/table.json`` has both tables; the exit status is 1 if a hostile
program passed, or left a process, an open file or a file.
"""

import collections
import glob
import os
import sys
import tempfile
import time
from pathlib import Path

from absl import flags

from experiments.benchmarks.jails.attacks import ATTACKS, written
from experiments.benchmarks.kept import keep
from mass_jax.reporting.table import Table
from mass_jax.runtime import program
from mass_jax.runtime.progress import Progress
from mass_jax.tasks.code import judge
from mass_jax.tasks.code.runner import Runner, Suite

SMALL = """def f(xs):
    total = 0
    for i, x in enumerate(sorted(xs)):
        total += i * x
    return total  # {}
"""
SUITE = Suite(("assert f([3, 1, 2]) == 8", "assert f([]) == 0", "assert f([5] * 9) == 180"), ("f",))
HOSTILE = {"setup": "", "asked": ["f"], "tests": ["assert f() == 'done'"]}


def define_flags() -> None:
    """The command line."""
    flags.DEFINE_string("workdir", "runs/jails", "Where table.json is written.")
    flags.DEFINE_integer("programs", 1000, "Small programs to judge.", lower_bound=1)
    flags.DEFINE_integer("hostile", 1000, "Hostile programs to judge, one after the other.", lower_bound=1)
    flags.DEFINE_integer("workers", 2, "Processes that judge small programs.", lower_bound=1)


def throughput(count: int, workers: int) -> tuple[float, float]:
    """Programs a second by the clock, and processor time of one in milliseconds; workers are there already."""
    with Runner(workers) as runner:
        runner.run([(SMALL.format(f"first {i}"), SUITE) for i in range(workers)])
        start, used = time.monotonic(), sum(map(of_tree, below(os.getpid())))
        results = runner.run([(SMALL.format(i), SUITE) for i in range(count)])
        seconds, used = time.monotonic() - start, sum(map(of_tree, below(os.getpid()))) - used
    assert all(result.right for result in results), "a right program failed"
    return count / seconds, 1000 * used / count


def of_tree(pid: int) -> float:
    """Processor seconds of a process and of those that it has seen the end of."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def below(pid: int) -> list[int]:
    """A process and all that it has started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in below(int(child)))]


def left() -> collections.Counter[str]:
    """Processes below this one, their open files, and what lies where the programs try to write."""
    processes = below(os.getpid())
    descriptors = sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in processes)
    files = len(os.listdir("/")) + len(os.listdir(".")) + len(glob.glob(f"{tempfile.gettempdir()}/outside*"))
    return collections.Counter(processes=len(processes), descriptors=descriptors, files=files)


def hostile(count: int) -> tuple[int, dict[str, int]]:
    """How many of the hostile programs passed, and what all of them left behind."""
    judge.prepare()
    passed, before = 0, left()
    with Progress(count, label="hostile") as progress:
        for i in range(count):
            name = [*ATTACKS][i % len(ATTACKS)]
            found = judge.judge(written(name, "/etc/hostname", os.getpid()), HOSTILE, {"seconds": 1})
            passed += found["passed"]
            progress.update(i + 1)
    after = left()
    return passed, {what: after[what] - before[what] for what in before}


def main() -> None:
    """Measure both."""
    options = flags.FLAGS
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    rate, each = throughput(options.programs, options.workers)
    passed, behind = hostile(options.hostile)
    load = f"{os.getloadavg()[0]:.1f}"
    small = [(f"{options.programs:,}", str(options.workers), f"{rate:.0f}", f"{each:.1f}", load)]
    columns = ("Small programs", "Workers", "A second", "Processor time of one, ms", "Load of the machine")
    row = (f"{options.hostile:,}", str(passed), *map(str, behind.values()))
    keep(
        Path(options.workdir) / "table.json",
        small=Table(columns, "rrrrr", small),
        hostile=Table(("Hostile programs", "Passed", *(f"{what.title()} left" for what in behind)), "rrrrr", [row]),
    )
    print((Path(options.workdir) / "table.md").read_text())
    if passed or any(value > 0 for value in behind.values()):
        sys.exit(1)


if __name__ == "__main__":
    define_flags()
    program.run(main)
