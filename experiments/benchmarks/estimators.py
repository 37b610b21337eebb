"""Every meta-gradient estimator on one problem: error, time and memory, before anybody pays for them.

    python -m experiments.benchmarks.estimators --workdir=runs/estimators        (`make estimators`)

The problem is `benchmarks.problems`: K steps on a LoRA adapter of a transformer, one outer example, the gradient with
respect to the weight of every practice example at every step. "Plain" is the inner run alone: the same K steps with
the same block rematerialisation and the same microbatch, and no meta-gradient.

Time: the plain run and the estimator in turn, in one process; the ratio is the median of the ratios. Memory: the
compiler's temporaries, which are the activations and everything that is kept of the run. Error: against the adjoint
walk in float64. A row that would not fit into memory, or would take too long, is compiled but not run.

Rows are written as they are measured; those that `results.json` already holds are not measured again (`--fresh`).
"""

import dataclasses
import importlib.metadata
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import flags

from experiments.benchmarks.kept import held, keep, writable
from experiments.benchmarks.problems import RATES, SIZES, Case, make_case
from mass_jax import metagrad
from mass_jax.metagrad.base import inner_loop
from mass_jax.metagrad.microbatch import check_additive
from mass_jax.reporting import estimators as reporting
from mass_jax.reporting.table import to_markdown
from mass_jax.runtime import program
from mass_jax.runtime.compilation import temp_bytes
from mass_jax.runtime.progress import Progress
from mass_jax.runtime.workdir import write_atomically

Program = Callable[..., Any]

KEYS = ("size", "optimizer", "K", "estimator", "options")
"""What tells a row from all others."""


class Entry(NamedTuple):
    """One way to compute the meta-gradient.

    Attributes:
      estimator: its name in the registry.
      options: its options.
      remat: whether the loss rematerialises its blocks; without, this is the textbook.
    """

    estimator: str
    options: dict[str, Any]
    remat: bool = True

    def described(self) -> dict[str, Any]:
        """The options as a row gives them."""
        return self.options | ({} if self.remat else {"block_remat": False})


def entries(size: str, optimizer: str, steps: int) -> list[Entry]:
    """The rows of the table at K = ``steps``: every estimator, and where that is cheap its options."""
    examples = SIZES[size].examples
    rate = RATES[optimizer]
    half = max(1, steps // 2)
    rows = [
        Entry("unroll", {}, remat=False),
        Entry("mixed_mode", {"microbatch": 1}),
        Entry("adjoint", {}),
        Entry("adjoint", {"microbatch": 1}),
        Entry("adjoint", {"microbatch": 1, "grad_remat": False}),
        Entry("adjoint", {"hvp_microbatch": max(1, examples // 4), "hvp_remat": False}),
        Entry("forward", {"max_scalars": 512}),
        Entry("truncated", {"window": half}),
        Entry("first_order", {"scale": rate}),
        Entry("implicit", {"solver": "cg", "iterations": 5}),
        Entry("finite_difference", {"kind": "walk"}),
        Entry("evolution", {"samples": 8, "sigma": 0.1}),
        Entry("persistent_evolution", {"samples": 8, "sigma": 0.1, "window": half}),
    ]
    if size == "large" or steps > 8:
        return rows
    return [
        *rows,
        Entry("unroll", {"remat": "step"}),
        Entry("mixed_mode", {}),
        Entry("adjoint", {"microbatch": examples // 2, "hvp_microbatch": 1}),
        Entry("adjoint", {"hvp_microbatch": 1}),
        Entry("adjoint", {"trajectory": "states"}),
        Entry("adjoint", {"trajectory": "replay", "microbatch": 1}),
        Entry("truncated", {"window": 1}),
        Entry("first_order", {"scale": rate, "steps": "last"}),
        Entry("implicit", {"solver": "neumann", "iterations": 5}),
        Entry("implicit", {"solver": "nystrom", "iterations": 5, "damping": 0.01}),
        Entry("finite_difference", {"kind": "darts", "scale": rate}),
        Entry("finite_difference", {"kind": "sama"}),
    ]


@dataclasses.dataclass
class Bench:
    """The programs of one size, optimiser and K, each compiled when first asked for."""

    size: str
    optimizer: str
    steps: int

    def __post_init__(self) -> None:
        """Prepares the float64 reference."""
        self._plain: dict[int | None, tuple[Program, int]] = {}
        self._reference: np.ndarray | None = None

    def case(self, remat: bool, dtype: str = "float32") -> Case:
        """The problem with its data."""
        return make_case(SIZES[self.size], self.optimizer, self.steps, remat=remat, dtype=dtype)

    def plain(self, microbatch: int | None) -> tuple[Program, int]:
        """The inner run alone, and its temporaries in bytes."""
        if microbatch not in self._plain:
            case = self.case(remat=True)

            def run(*arguments: Any) -> Any:
                return inner_loop(case.problem, *arguments, microbatch=microbatch)[0]

            compiled = jax.jit(run).lower(*case[2:]).compile()
            self._plain[microbatch] = (lambda: jax.block_until_ready(compiled(*case[2:]))), temp_bytes(compiled)
            self._plain[microbatch][0]()
        return self._plain[microbatch]

    def reference(self) -> np.ndarray:
        """The meta-gradient in float64, flat."""
        if self._reference is None:
            with jax.enable_x64(True):
                case = self.case(remat=True, dtype="float64")
                joined = metagrad.make("adjoint").value_and_grad(case.problem, case.outer_loss)
                self._reference = np.ravel(jax.jit(joined)(*case[2:])[1].meta["weights"])
        return self._reference

    def measure(self, entry: Entry, rounds: int, seconds: float) -> dict[str, Any]:
        """One row: compiles, and runs if that is possible."""
        case = self.case(entry.remat)
        estimator = metagrad.make(entry.estimator, **entry.options)
        microbatch = entry.options.get("microbatch")
        if microbatch is not None:
            step = jax.tree.map(lambda leaf: leaf[0], case.batches)
            check_additive(case.problem, case.init, case.meta, step, microbatch)
        plain, plain_bytes = self.plain(microbatch)
        lowered = jax.jit(estimator.value_and_grad(case.problem, case.outer_loss)).lower(*case[2:])
        began = time.perf_counter()
        compiled = lowered.compile()
        row: dict[str, Any] = {
            "estimator": entry.estimator,
            "options": entry.described(),
            "size": self.size,
            "optimizer": self.optimizer,
            "K": self.steps,
            "exact": estimator.exact,
            "rel_err": None,
            "cosine": None,
            "seconds": None,
            "ratio_to_plain": None,
            "rounds": 0,
            "temp_bytes": temp_bytes(compiled),
            "plain_temp_bytes": plain_bytes,
            "compile_seconds": time.perf_counter() - began,
            "note": "",
        }
        plain_seconds = min(_timed(plain) for _ in range(2))
        flops = metagrad.explain(estimator, case.problem, *case[2:], outer_loss=case.outer_loss).cost_in_plain_runs
        expected = plain_seconds * flops
        if row["temp_bytes"] > 0.6 * _memory():
            return row | {"note": "not run: does not fit into memory"}
        if expected > seconds:
            return row | {"note": f"not run: {flops:.0f} plain runs of arithmetic"}

        def call() -> Any:
            return jax.block_until_ready(compiled(*case[2:]))

        found = np.ravel(np.asarray(call()[1].meta["weights"], np.float64))
        reference = self.reference()
        times: list[tuple[float, float]] = []
        began = time.perf_counter()
        # Three at least where they are wanted: of fewer, one call that the machine halted would be the median.
        while len(times) < rounds and (len(times) < 3 or time.perf_counter() - began < seconds):
            times.append((_timed(plain), _timed(call)))
        norms = np.linalg.norm(found) * np.linalg.norm(reference)
        return row | {
            "rel_err": float(np.linalg.norm(found - reference) / np.linalg.norm(reference)),
            "cosine": float(found @ reference / norms) if norms else 0.0,
            "seconds": statistics.median(taken for _, taken in times),
            "ratio_to_plain": statistics.median(taken / alone for alone, taken in times),
            "rounds": len(times),
        }


def run(
    workdir: Path,
    cells: Sequence[tuple[str, str, int]],
    names: Sequence[str] | None,
    rounds: int,
    seconds: float,
    fresh: bool,
) -> dict[str, Any]:
    """Measures every row of every (size, optimiser, K), and writes the files after each.

    Returns:
      What ``results.json`` holds.

    Raises:
      InputError: the file that is there is damaged, or another program's.
    """
    path = writable(workdir) / "results.json"
    old = held(path, KEYS)
    results: dict[str, Any] = {"rows": []} if fresh or old is None else old
    results["versions"] = {name: importlib.metadata.version(name) for name in ("jax", "jaxlib", "optax")}
    results["machine"] = {"device": jax.devices()[0].device_kind, "cores": os.cpu_count(), "system": platform.system()}
    wanted = [(cell, entry) for cell in cells for entry in entries(*cell) if names is None or entry.estimator in names]
    done = {_key(row) for row in results["rows"]}
    bench: Bench | None = None
    with Progress(len(wanted), label="estimators") as progress:
        for number, (cell, entry) in enumerate(wanted, 1):
            if (*cell, entry.estimator, json.dumps(entry.described())) not in done:
                if bench is None or (bench.size, bench.optimizer, bench.steps) != cell:
                    bench = Bench(*cell)
                results["rows"].append(bench.measure(entry, rounds, seconds))
                write_atomically(path, json.dumps(results, indent=1) + "\n")
            progress.update(number)
    keep(workdir / "table.json", all=reporting.table(results["rows"]))
    reporting.save_plots(results["rows"], workdir)
    return results


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    *cell, options = (row[key] for key in KEYS)
    return *cell, json.dumps(options)


def _memory() -> int:
    """Bytes of the device that computes; a CPU's are the machine's."""
    stats = jax.devices()[0].memory_stats() or {}
    return stats.get("bytes_limit") or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _timed(call: Program) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def main() -> None:
    """Reads the flags, measures, prints the table."""
    values = flags.FLAGS
    cells = [
        (size, optimizer, count)
        for size in values.sizes
        for count in map(int, values.steps)
        for optimizer in values.optimizers
        if count > 1 or (size, optimizer) == (values.sizes[0], values.optimizers[0])
    ]
    results = run(Path(values.workdir), cells, values.estimators, values.rounds, values.seconds, values.fresh)
    print(to_markdown(reporting.table(results["rows"])))


def define_flags() -> None:
    """What the command line takes. Called by the main program only: an importer has flags of its own."""
    flags.DEFINE_string("workdir", "runs/estimators", "Folder for results.json, table.json, table.md and the plots.")
    program.define_names("sizes", ["small", "large"], sorted(SIZES), "Sizes of experiments.benchmarks.problems.")
    program.define_names("optimizers", ["adam", "sgd"], sorted(RATES), "Inner optimisers.")
    program.define_numbers("steps", [1, 2, 8, 32], "K, inner steps; K = 1 for the first size and optimiser only.")
    program.define_names("estimators", None, sorted(metagrad.ESTIMATORS), "Only these estimators' rows; default: all.")
    flags.DEFINE_integer("rounds", 5, "Timed calls of every row.", lower_bound=1)
    flags.DEFINE_float(
        "seconds",
        25.0,
        "Limit of a row's timed calls: a longer one gets fewer rounds, 3 at least, or is not run.",
        lower_bound=0,
    )
    flags.DEFINE_bool("fresh", False, "Measure again what the file already holds.")


if __name__ == "__main__":
    define_flags()
    program.run(main)
