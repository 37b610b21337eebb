"""Our estimators against higher, TorchOpt and torch.autograd: one problem, one interleaved run.

    python -m experiments.benchmarks.peers --workdir=runs/peers    (`make peers` makes its environment)

Every system computes the same meta-gradient: of the loss of one example after K = 4 SGD steps on a LoRA adapter, with
respect to the weights of the practice examples at every step (`benchmarks.problems`, the same arrays in both
frameworks). Betty is missing because it has no exact hypergradient to compare: DARTS, Neumann, CG and REINFORCE are
approximations.

Time: every system lives in a process of its own, all on the same two cores with as many threads. PyTorch splits every
operation over its threads. So does XLA on one CPU device; with a device of one thread on each core, each device has
half of the examples (`InnerProblem.axis`), and they meet twice a step. In each round every process makes one call
while the others wait, in an order that rotates, so that a slow moment of the machine hits all alike; the ratio to
`adjoint` is the median of the ratios within a round. Compilation and one call to warm up are not in the times. The
machine must be otherwise idle: PyTorch's threads wait for each other after every operation, and another program on the
cores slows them down far more than XLA's (tenfold, where ours took twice as long). What others took of the cores is
measured, and a warning says if it was much.

Memory: the peak of resident memory during all calls, the warm-up included, less what was resident before the first.
Data, parameters, libraries and compiled programs are therefore in neither; freed heap is handed back before the first
call, so that compilation leaves nothing behind that a call could use unseen. malloc is as the system has it. (With one
arena for all threads, MALLOC_ARENA_MAX=1, our rows take a tenth less memory or more, and 1.4 to 2.5 times as long:
XLA's threads then wait for each other whenever they allocate. PyTorch's, which rarely do, take the same.) What a
library touches at its first call is in the numbers (10 MB for most). XLA's products are Eigen's: those of YNNPACK are
as fast here, but take almost twice the memory. Its barriers around what is recomputed stay, or its CPU compiler would
merge that with the first computation again.

Error: of the meta-gradient, in norm, relative to `adjoint` in float64, which is itself compared with torch.autograd in
float64.
"""

import contextlib
import dataclasses
import importlib.metadata
import importlib.util
import json
import multiprocessing
import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import flags
from rich.console import Console

from experiments.benchmarks import problems
from experiments.benchmarks.kept import held, keep, writable
from experiments.benchmarks.peers import jax_systems
from experiments.benchmarks.peers.jax_systems import Entry
from experiments.benchmarks.peers.worker import Call, serve
from mass_jax.errors import InputError
from mass_jax.reporting.table import Table, to_markdown
from mass_jax.runtime import program
from mass_jax.runtime.progress import Progress
from mass_jax.runtime.workdir import write_atomically

STEPS = 4
THREADS = 2
OURS = "adjoint"
"""The row that all others are compared with."""
PEERS = ("torch.autograd", "higher", "torchopt")
PACKAGES = ("torch", "higher", "torchopt", "jax", "jaxlib", "numpy")

MAX_OTHERS = 0.05
"""The share of the cores' time that other programs may take before the times are doubtful."""


KEPT: dict[str, Any] = {"remat": False}
REMATERIALISED = {"remat": True}
PRODUCTS_KEPT = {"remat": True, "remat_keeps": ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj")}
LEAN = {"microbatch": 1, "grad_remat": False}
ENTRIES = (
    Entry(OURS, "adjoint", LEAN, PRODUCTS_KEPT),
    Entry("adjoint, all recomputed", "adjoint", {"microbatch": 1}, REMATERIALISED),
    Entry("adjoint, all kept", "adjoint", {"microbatch": 1}, KEPT),
    Entry("adjoint, all kept, all examples at once", "adjoint", {}, KEPT),
    Entry("mixed_mode", "mixed_mode", LEAN, PRODUCTS_KEPT),
    Entry("unroll, all kept, all examples at once", "unroll", {}, KEPT),
    Entry("adjoint, one device", "adjoint", LEAN, PRODUCTS_KEPT, devices=1),
    Entry("adjoint, one device, all kept, all examples at once", "adjoint", {}, KEPT, devices=1),
)


class Problem(NamedTuple):
    """What every worker is told of the problem."""

    size: problems.Size
    data: tuple

    def ours(self, entry: Entry, dtype: str = "float32") -> tuple[str, dict[str, Any]]:
        """Module and arguments of one of our systems."""
        arguments = {"entry": entry, "threads": THREADS, "size": self.size, "steps": STEPS, "dtype": dtype}
        return jax_systems.__name__, arguments

    def peer(self, way: str, dtype: str = "float32") -> tuple[str, dict[str, Any]]:
        """Module and arguments of one of theirs."""
        config = problems.model_config(self.size, scan_layers=False, **KEPT)
        model = {"heads": config.heads, "rope_theta": config.rope_theta, "eps": config.norm_eps}
        common = {"data": self.data, "model": model, "rate": problems.RATES["sgd"]}
        return "experiments.benchmarks.peers.torch_systems", {"way": way, **common, "threads": THREADS, "dtype": dtype}


class Worker:
    """The parent's end of a process that serves one system."""

    def __init__(self, name: str, module: str, arguments: dict[str, Any]) -> None:
        """Starts the process and waits until the system is set up."""
        self.name = name
        context = multiprocessing.get_context("spawn")
        self._connection, far_end = context.Pipe()
        self._process = context.Process(target=serve, args=(far_end, module, arguments), daemon=True)
        self._process.start()
        far_end.close()
        self.facts = self._receive()

    def call(self) -> Call:
        """Makes one call and waits for it."""
        self._connection.send(None)
        return self._receive()

    def close(self) -> None:
        """Ends the process."""
        self._connection.close()
        self._process.join()

    def _receive(self) -> Any:
        try:
            message = self._connection.recv()
        except EOFError:
            self._process.join()
            raise RuntimeError(f"the process of {self.name} ended with exit code {self._process.exitcode}.") from None
        if isinstance(message, str):
            raise RuntimeError(f"{self.name} failed:\n{message}")
        return message


def references(problem: Problem) -> tuple[np.ndarray, float]:
    """`adjoint` in float64, and how far torch.autograd in float64 is from it.

    Returns:
      The meta-gradient, float64 [K, N], and the relative error of the other.
    """
    gradients = []
    for name, told in ((OURS, problem.ours(ENTRIES[0], "float64")), (PEERS[0], problem.peer(PEERS[0], "float64"))):
        worker = Worker(f"{name}, float64", *told)
        gradients.append(worker.call().gradient)
        worker.close()
    return gradients[0], relative_error(gradients[1], gradients[0])


def calls(
    workers: Sequence[Worker], rounds: int, console: Console
) -> tuple[dict[str, list[Call]], dict[str, int], float]:
    """Lets every worker make a call to warm up, and then one a round.

    Returns:
      The timed calls of every worker by round, its peak of memory over all calls, and the share of the cores' time
      that went to other programs.
    """
    made: dict[str, list[Call]] = {worker.name: [] for worker in workers}
    began, busy = time.perf_counter(), busy_seconds()
    with Progress(rounds + 1, label="rounds", console=console) as progress:
        for i in range(rounds + 1):
            first = i % len(workers)
            for worker in [*workers[first:], *workers[:first]]:
                made[worker.name].append(worker.call())
            progress.update(i + 1)
    ours = sum(call.cpu_seconds for one in made.values() for call in one)
    others = (busy_seconds() - busy - ours) / (time.perf_counter() - began) / len(os.sched_getaffinity(0))
    peaks = {name: one[-1].peak_bytes for name, one in made.items()}
    return {name: one[1:] for name, one in made.items()}, peaks, max(0.0, others)


def busy_seconds() -> float:
    """For how long the cores of this process have worked since the machine was started, whoever it was for."""
    cores = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    fields = [line.split() for line in Path("/proc/stat").read_text(encoding="utf-8").splitlines()]
    # user, nice, system, (idle, iowait,) irq, softirq, steal; guests are counted in user.
    ticks = sum(sum(map(int, [*line[1:4], *line[6:9]])) for line in fields if line[0] in cores)
    return ticks / os.sysconf("SC_CLK_TCK")


def rows(
    made: dict[str, list[Call]], peaks: dict[str, int], facts: dict[str, dict[str, float]], reference: np.ndarray
) -> list[dict[str, Any]]:
    """One row a system.

    Keys beside those of the facts: ``system``; ``seconds``, the median, and ``seconds_min``; ``cpu_seconds``, the
    median over all threads together; ``ratio_to_adjoint``, the median of the ratios within a round, and
    ``ratio_quartiles``; ``peak_rss_delta_mb`` and ``memory_to_adjoint``;
    ``rel_err`` of the last call.
    """
    seconds = {name: np.array([call.seconds for call in one]) for name, one in made.items()}
    table = []
    for name, one in made.items():
        ratios = seconds[name] / seconds[OURS]
        table.append(
            {
                "system": name,
                "seconds": float(np.median(seconds[name])),
                "seconds_min": float(seconds[name].min()),
                "cpu_seconds": float(np.median([call.cpu_seconds for call in one])),
                "ratio_to_adjoint": float(np.median(ratios)),
                "ratio_quartiles": np.quantile(ratios, [0.25, 0.75]).tolist(),
                "peak_rss_delta_mb": peaks[name] / 1e6,
                "memory_to_adjoint": peaks[name] / peaks[OURS],
                "rel_err": relative_error(one[-1].gradient, reference),
                **facts[name],
            }
        )
    return table


def relative_error(gradient: np.ndarray, reference: np.ndarray) -> float:
    """‖gradient − reference‖ / ‖reference‖."""
    return float(np.linalg.norm(gradient - reference) / np.linalg.norm(reference))


def to_table(rows: Sequence[dict[str, Any]]) -> Table:
    """The rows for people, as they come."""
    columns = (
        "System",
        "Seconds",
        "Time / adjoint",
        "Extra MB",
        "Memory / adjoint",
        "Relative error",
        "Compiled in, s",
    )
    cells = [
        (
            row["system"],
            f"{row['seconds']:.3f}",
            "{:.2f} ({:.2f}–{:.2f})".format(row["ratio_to_adjoint"], *row["ratio_quartiles"]),
            f"{row['peak_rss_delta_mb']:.0f}",
            f"{row['memory_to_adjoint']:.1f}",
            f"{row['rel_err']:.1e}",
            f"{row['compile_seconds']:.1f}" if "compile_seconds" in row else "–",
        )
        for row in rows
    ]
    return Table(columns, "lrrrrrr", cells)


def run(size: str, rounds: int, workdir: Path, console: Console) -> dict[str, Any]:
    """Measures everything, and writes results.json, table.json and table.md.

    Returns:
      What results.json holds.
    """
    path = writable(workdir) / "results.json"
    held(path, ("system", "ratio_to_adjoint"))  # what is another program's is not overwritten
    problem = Problem(problems.SIZES[size], problems.arrays(problems.SIZES[size], STEPS))
    told = {entry.name: problem.ours(entry) for entry in ENTRIES} | {way: problem.peer(way) for way in PEERS}
    with contextlib.ExitStack() as stack:
        console.print("the reference in float64 …")
        reference, agreement = references(problem)
        workers = []
        for name, (module, arguments) in told.items():
            console.print(f"setting up {name} …")
            workers.append(Worker(name, module, arguments))
            stack.callback(workers[-1].close)
        made, peaks, others = calls(workers, rounds, console)
    described = {entry.name: {key: getattr(entry, key) for key in ("options", "model", "devices")} for entry in ENTRIES}
    facts = {worker.name: described.get(worker.name, {}) | worker.facts for worker in workers}
    results: dict[str, Any] = {
        "rows": rows(made, peaks, facts, reference),
        "reference": {"system": f"{OURS}, float64", "rel_err_of_torch.autograd_in_float64": agreement},
        "problem": {"size": size, **dataclasses.asdict(problem.size), "steps": STEPS, "optimizer": "sgd"},
        "rounds": rounds,
        "threads": THREADS,
        "cpu_share_of_others": others,
        "machine": _processor(),
        "versions": {"python": platform.python_version()} | {p: importlib.metadata.version(p) for p in PACKAGES},
        "command": f"python -m experiments.benchmarks.peers --workdir={workdir} --size={size} --rounds={rounds}",
    }
    write_atomically(path, json.dumps(results, indent=2) + "\n")
    keep(workdir / "table.json", rows=to_table(results["rows"]))
    return results


def prepare() -> None:
    """Checks that the run can be made, and pins this process and so its children to ``THREADS`` cores.

    Raises:
      InputError: not on Linux, too few cores, or a peer is not installed.
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"not installed here: {', '.join(missing)}. `make peers` makes a virtual environment of its own with the "
            "peers (pip install -e '.[bench]'), and runs this program in it."
        )
    if sys.platform != "linux":
        raise InputError(f"this is {sys.platform}: peaks of resident memory are read from /proc, so on Linux only.")
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < THREADS:
        raise InputError(f"this process may use {len(cores)} core: {THREADS} are needed, one a thread.")
    # XLA makes as many threads as it may use cores; OpenMP and MKL read the variables when torch is imported.
    os.sched_setaffinity(0, cores[:THREADS])
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(THREADS)
    # No YNNPACK; and the barriers stay that keep XLA from merging what is recomputed with the first computation again.
    ours = "--xla_cpu_experimental_ynn_fusion_type= --xla_disable_hlo_passes=cse_barrier_expander"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {ours}".strip()
    os.environ["JAX_PLATFORMS"] = "cpu"


def main() -> None:
    """Reads the flags, measures, prints the table."""
    prepare()
    values = flags.FLAGS
    results = run(values.size, values.rounds, Path(values.workdir), Console(stderr=True))
    print(to_markdown(to_table(results["rows"])))
    agreement, others = results["reference"]["rel_err_of_torch.autograd_in_float64"], results["cpu_share_of_others"]
    print(f"\nIn float64, {OURS} (the reference) and torch.autograd differ by {agreement:.1e}.")
    if others > MAX_OTHERS:
        print(f"Other programs took {others:.0%} of the cores, which favours us: repeat the run on an idle machine.")


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def define_flags() -> None:
    """What the command line takes. Called by the main program only: an importer has flags of its own."""
    flags.DEFINE_string("workdir", "runs/peers", "Folder for results.json, table.json and table.md.")
    flags.DEFINE_integer("rounds", 9, "Timed calls of every system.", lower_bound=1)
    flags.DEFINE_enum("size", "small", sorted(problems.SIZES), "Size of the problem.")


if __name__ == "__main__":
    define_flags()
    program.run(main)
