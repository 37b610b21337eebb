"""Write the trained model of an arm for other libraries: its outer adapter as PEFT reads it, or all of it.

    python -m experiments.export --workdir=runs/study --arm=mass --out=adapter
    python -m experiments.export --workdir=runs/study --arm=mass --out=model --merged

The first needs a run with ``train.lora_rank`` above 0, the second takes any; see docs/models.md.
"""

from pathlib import Path

from absl import flags

from mass_jax.runtime import program
from mass_jax.study import export
from mass_jax.study.load import load, read_config


def main() -> None:
    """Load the arm, and write it."""
    values = flags.FLAGS
    run, out = Path(values.workdir), Path(values.out)
    actor = load(run, values.arm).actor
    write = export.write_merged if values.merged else export.write_adapter
    write(out, read_config(run), actor)
    print(f"{'The model' if values.merged else 'The adapter'} of '{run}:{values.arm}' is in '{out}'")


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "A run whose arm is trained.", required=True)
    flags.DEFINE_string("arm", "mass", "The row of its table whose model is written.")
    flags.DEFINE_string("out", None, "The folder to write.", required=True)
    flags.DEFINE_bool("merged", False, "The whole model, not the adapter.")
    program.run(main)
