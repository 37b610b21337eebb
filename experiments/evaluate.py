"""Evaluate trained arms, baselines and controls on test families, and write results.json.

    python -m experiments.evaluate --config=configs/demo.py --workdir=runs/demo

Nothing is trained: an arm that is not finished is a sentence.
"""

from pathlib import Path

from mass_jax.runtime.clock import Clock
from mass_jax.runtime.compilation import enable_compilation_cache
from mass_jax.study import entry
from mass_jax.study.evaluate import base_state, write_results
from mass_jax.study.gate import bring_back
from mass_jax.study.load import run_config
from mass_jax.study.schema import Config
from mass_jax.study.study import check_base, check_trained, load_arm, open_study


def main(config: Config, workdir: Path) -> None:
    """Evaluate what is trained; what is not is said, and nothing is trained."""
    config = run_config(config, workdir)
    for name in config.arms:
        check_trained(config, workdir, name)
    check_base(config, workdir)
    enable_compilation_cache()
    with Clock(workdir, "evaluate") as clock:
        clock.phase("evaluate")
        with open_study(config, workdir) as study:
            states = {"base": base_state(study)} | {name: load_arm(study, name) for name in config.arms}
            path = write_results(study, states)
            bring_back(study)
            print(path)


if __name__ == "__main__":
    entry.run(main)
