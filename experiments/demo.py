"""The whole study: data, base, headroom gate, all arms, evaluation, report.

    python -m experiments.demo --config=configs/demo.py --workdir=runs/demo

The same command continues a run that was stopped; what is finished is not done again.
"""

from pathlib import Path

from mass_jax.errors import InputError
from mass_jax.parallel import hosts
from mass_jax.reporting.report import summary, write_report
from mass_jax.runtime.clock import Clock
from mass_jax.runtime.compilation import enable_compilation_cache
from mass_jax.runtime.progress import Progress
from mass_jax.runtime.results import merge
from mass_jax.study import entry
from mass_jax.study.evaluate import base_state, write_results
from mass_jax.study.gate import opened
from mass_jax.study.schema import Config
from mass_jax.study.study import open_study, train_arm
from mass_jax.tasks.base import KnowsFamily


def main(config: Config, workdir: Path) -> None:
    """Run everything that is not done yet."""
    enable_compilation_cache()
    with Clock(workdir, "demo") as clock:
        clock.phase("pretrain")
        with open_study(config, workdir) as study:
            states = {"base": base_state(study)}
            # Without a hidden family there is no oracle, and no headroom to measure.
            if isinstance(study.domain.task, KnowsFamily):
                clock.phase("gate")
                opened(study)
            for name in config.arms:
                clock.phase(f"train/{name}")
                states[name] = train_arm(study, name)
            clock.phase("evaluate")
            write_results(study, states)
        clock.phase("report")
        merge(workdir, timing=clock.timing())
        if hosts.first():
            with Progress(1, label="report") as progress:
                progress.update(0)
                try:
                    path = write_report(workdir)
                except OSError as error:
                    raise InputError(
                        f"The report cannot be written ({error.strerror or error}). All results are in '{workdir}': "
                        f"make room, and write it by python -m mass_jax.reporting.report --workdir={workdir}."
                    ) from error
                progress.update(1)
            print(f"{summary(workdir)}\nThe report is in {path}")


if __name__ == "__main__":
    entry.run(main)
