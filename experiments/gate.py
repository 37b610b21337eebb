"""The headroom gate of a study: can adaptation help at all on its domain?

python -m experiments.gate --config=configs/demo.py --workdir=runs/demo
"""

import json
from pathlib import Path

from mass_jax.runtime.clock import Clock
from mass_jax.runtime.compilation import enable_compilation_cache
from mass_jax.study import entry
from mass_jax.study.gate import opened
from mass_jax.study.load import run_config
from mass_jax.study.schema import Config
from mass_jax.study.setup import check_families
from mass_jax.study.study import open_study


def main(config: Config, workdir: Path) -> None:
    """Measure, print, and say whether the gate is open."""
    config = run_config(config, workdir)
    check_families(config, "the headroom gate")
    enable_compilation_cache()
    with Clock(workdir, "gate") as clock:
        clock.phase("pretrain")
        with open_study(config, workdir) as study:
            clock.phase("gate")
            print(json.dumps(opened(study), indent=2))


if __name__ == "__main__":
    entry.run(main)
