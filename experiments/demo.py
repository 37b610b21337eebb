"""The whole study: data, base, headroom gate, all arms, evaluation, report.

    python -m experiments.demo --config=configs/demo.py --workdir=runs/demo

The same command continues a run that was stopped; what is finished is not done again.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from ml_collections import ConfigDict

from experiments.evaluate import base_state, made_with, trained_state, write_results
from experiments.gate import gate
from mass_jax import records
from mass_jax.models import processes
from mass_jax.reporting.report import write_report
from mass_jax.training import config as command_line
from mass_jax.training.compilation import enable_compilation_cache
from mass_jax.training.study import open_study
from mass_jax.training.workdir import write_atomically

T = TypeVar("T")


def main(config: ConfigDict, workdir: Path) -> None:
    """Run everything that is not done yet."""
    enable_compilation_cache(workdir.parent / ".jax_cache")
    clock = Clock(workdir / "timing.json")
    study = clock.time("pretrain", lambda: open_study(config, workdir))
    states = {"base": base_state(study)}
    opened, passed, origin = None, study.workdir / "gate.json", made_with(study, states["base"])
    if study.domain.task.privileged:  # without a hidden family there is no oracle, and no headroom to measure
        opened = records.read(passed, origin)
        if processes.largest(opened is None):
            opened = clock.time("gate", lambda: gate(study))
            if processes.first():
                write_atomically(passed, records.dumps(opened, origin, indent=2))
    for name in config.arms:
        states[name] = clock.time(f"train/{name}", partial(trained_state, study, name))
    write_results(study, states, {"gate": opened, "timing": clock.seconds})
    if processes.first():
        print(f"The report is in {write_report(workdir)}")


class Clock:
    """Seconds of every phase, added up over the runs that a study took."""

    def __init__(self, path: Path):
        """Continue with what ``path`` holds."""
        self._path = path
        self.seconds: dict[str, float] = records.read(path) or {}

    def time(self, phase: str, work: Callable[[], T]) -> T:
        """Do the work, and add its time."""
        start = time.perf_counter()
        result = work()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + time.perf_counter() - start
        if processes.first():
            write_atomically(self._path, records.dumps(self.seconds, indent=2))
        return result


if __name__ == "__main__":
    command_line.run(main)
