"""Read damaged model files by the thousand: each must end in a sentence, quickly and in little memory.

    make fuzz
    python -m experiments.benchmarks.fuzz --seed=0 --count=10000 --workdir=runs/fuzz
    python -m experiments.benchmarks.fuzz --replay=runs/fuzz/failures/000123-config

`runner.py` says what a case is and when it fails; each kind of file has a module of its own. A failure is kept with its
file and its traceback. The exit status is 1 if there was any.
"""

import importlib
import os
import sys
from pathlib import Path

from absl import flags

from experiments.benchmarks.fuzz import runner
from mass_jax.errors import InputError
from mass_jax.runtime import program
from mass_jax.runtime.progress import Progress

KINDS = {
    "config": "experiments.benchmarks.fuzz.config_files",
    "safetensors": "experiments.benchmarks.fuzz.safetensors_files",
    "tokenizer": "experiments.benchmarks.fuzz.tokenizer_files",
    "adapter": "experiments.benchmarks.fuzz.adapter_files",
    "gguf": "experiments.benchmarks.fuzz.gguf_files",
}


def define_flags() -> None:
    """The command line."""
    flags.DEFINE_string("workdir", "runs/fuzz", "Where failures are written; those of an earlier run are removed.")
    flags.DEFINE_integer("seed", 0, "Seed of all mutations.", lower_bound=0)
    flags.DEFINE_integer("count", 10_000, "Files to read; the kinds take turns.", lower_bound=1)
    flags.DEFINE_integer("workers", os.cpu_count() or 1, "Processes that read.", lower_bound=1)
    flags.DEFINE_multi_enum("kind", list(KINDS), list(KINDS), "Kinds of files; repeat the flag for several.")
    flags.DEFINE_string("replay", None, "The folder of one failure: read its file again, in this process.")


def main() -> None:
    """Run the cases, or one failure again."""
    options = flags.FLAGS
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    if options.replay:
        return replay(Path(options.replay))
    kinds = {kind: KINDS[kind] for kind in KINDS if kind in options.kind}
    workdir = Path(options.workdir)
    with Progress(options.count, label="fuzz", show=("failed",)) as progress:
        counts = runner.run(
            kinds,
            options.seed,
            options.count,
            workdir,
            options.workers,
            lambda done, failed: progress.update(done, {"failed": failed}),
        )
    print(", ".join(f"{number} {what}" for what, number in counts.items()))
    if counts["failed"]:
        print(f"The failures are in {workdir / 'failures'}.", file=sys.stderr)
        sys.exit(1)


def replay(folder: Path) -> None:
    """Read the file of a failure; whatever it raises is raised here."""
    kind = folder.resolve().name.partition("-")[2]
    files = [p for p in folder.glob("*") if p.name != "traceback.txt"]
    if kind not in KINDS or len(files) != 1:
        raise InputError(
            f"--replay={folder} holds no recorded failure: give a folder in a run's failures, such as 000123-config."
        )
    importlib.import_module(KINDS[kind]).load(files[0])


if __name__ == "__main__":
    define_flags()
    program.run(main)
