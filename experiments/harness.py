"""Evaluation by lm-evaluation-harness, adapting to every request before it is answered (`mass_jax.study.harness`).

    pip install -e '.[eval]'
    python -m experiments.harness --config=configs/smollm2_135m.py --workdir=runs/smollm2_135m --arm=mass
    python -m experiments.harness ... --arm=base --tasks=path/to/task.yaml,arc_easy

Without ``--tasks`` the study's own test split is written as a local JSON task, judged by the domain's grader, and
evaluated. Results are in ``<workdir>/harness-<arm>.json``.
"""

import json
from pathlib import Path

from absl import flags

from mass_jax.runtime.compilation import enable_compilation_cache
from mass_jax.runtime.workdir import write_atomically
from mass_jax.study import entry
from mass_jax.study.evaluate import base_state
from mass_jax.study.harness import evaluate, write_task
from mass_jax.study.load import run_config
from mass_jax.study.schema import Config
from mass_jax.study.setup import make_domain
from mass_jax.study.study import check_base, check_trained, load_arm, named_arm, open_study


def main(config: Config, workdir: Path) -> None:
    """Evaluate one arm, and write what the harness says of it."""
    config = run_config(config, workdir)
    arm = named_arm(config, workdir, make_domain(config).task, flags.FLAGS.arm)
    if arm.model != "base":
        check_trained(config, workdir, arm.model)
    check_base(config, workdir)
    enable_compilation_cache()
    with open_study(config, workdir) as study:
        state = base_state(study) if arm.model == "base" else load_arm(study, arm.model)
        tasks = flags.FLAGS.tasks or [str(write_task(study, workdir / "harness"))]
        results = evaluate(study, state, flags.FLAGS.arm, tasks)
        path = workdir / f"harness-{flags.FLAGS.arm}.json"
        write_atomically(path, json.dumps(results, indent=2, default=str))
        print(f"{json.dumps(results, indent=2, default=str)}\nThese results are in {path}")


def define_flags() -> None:
    """What the command line takes. Called by the main program only: an importer has flags of its own."""
    flags.DEFINE_string("arm", "mass", "Which row of the study's table answers.")
    flags.DEFINE_list("tasks", [], "YAML files of harness tasks; the study's own test split where not given.")


if __name__ == "__main__":
    define_flags()
    entry.run(main)
