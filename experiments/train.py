"""Meta-train one arm.

    python -m experiments.train --config=configs/demo.py --workdir=runs/demo --arm=mass

The same command continues a run that was stopped.
"""

from pathlib import Path

from absl import flags

from mass_jax.runtime.clock import Clock
from mass_jax.runtime.compilation import enable_compilation_cache
from mass_jax.study import entry
from mass_jax.study.config import arm_config
from mass_jax.study.schema import Config
from mass_jax.study.study import open_study, train_arm

_ARM = flags.DEFINE_string("arm", "mass", "Which of config.arms to train.")


def main(config: Config, workdir: Path) -> None:
    """Pretrain the base if there is none, then train the arm."""
    arm_config(config, _ARM.value)  # a mistyped arm is refused before anything is computed
    enable_compilation_cache()
    with Clock(workdir, "train") as clock:
        clock.phase("pretrain")
        with open_study(config, workdir) as study:
            clock.phase(f"train/{_ARM.value}")
            train_arm(study, _ARM.value)


if __name__ == "__main__":
    entry.run(main)
