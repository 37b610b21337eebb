"""A pod on this machine: processes with a few devices each, killed on the way, and compared with one left alone.

    make pod-local
    python -m experiments.benchmarks.pod_local --config=configs/pod_local.py --workdir=runs/pod_local --kills=20

Runs `experiments.demo` twice: undisturbed, and killed at random points of its course, each time started again with the
same command. Both must end with the same parameters, metrics and results, bit for bit. Arguments that this program does
not know, such as ``--config.train.steps=9``, are handed on.
"""

import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from mass_jax.quantities import Metric
from mass_jax.runtime.metrics import METRICS_FILE, read_repeatable
from mass_jax.runtime.workdir import write_atomically
from mass_jax.study.compare import compare

LOOK_EVERY = 0.05
"""Seconds between two looks at how far a run is."""
FAREWELL = 30.0
"""Seconds for the others to end, before they are killed too."""


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


class Pod:
    """One run over several processes of this machine."""

    def __init__(self, workdir: Path, config: str, processes: int, devices: int, rest: list[str]):
        """Nothing is started yet."""
        self.workdir, self._logs = workdir, workdir.parent / "logs"
        self._logs.mkdir(parents=True, exist_ok=True)
        self._command = [sys.executable, "-m", "experiments.demo", f"--config={config}", f"--workdir={workdir}", *rest]
        self._processes, self._devices = processes, devices
        self._running: list[subprocess.Popen] = []

    def start(self) -> None:
        """Start all processes."""
        flags = os.environ.get("XLA_FLAGS", "") + f" --xla_force_host_platform_device_count={self._devices}"
        environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
        coordinator = f"--coordinator=localhost:{free_port()}"
        self._running = []
        for i in range(self._processes):
            join = ["--distributed", coordinator, f"--processes={self._processes}", f"--process={i}"]
            with open(self._logs / f"process-{i}.log", "a") as log:
                self._running.append(
                    subprocess.Popen(
                        self._command + (join if self._processes > 1 else []), env=environment, stdout=log, stderr=log
                    )
                )

    def statuses(self) -> list[int | None]:
        """How every process ended; None for those that run."""
        return [process.poll() for process in self._running]

    def signal(self, number: int, which: int) -> list[int]:
        """Send one process a signal, and wait until all have ended; those that do not end in time are killed."""
        self._running[which].send_signal(number)
        deadline = time.monotonic() + FAREWELL
        for process in self._running:
            try:
                process.wait(max(deadline - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                process.kill()
        return [process.wait() for process in self._running]

    def progress(self) -> int:
        """How far the run is: lines of metrics and evaluated arms."""
        lines = sum(len(file.read_bytes().splitlines()) for file in self.workdir.glob(f"*/{METRICS_FILE}"))
        return lines + len(list(self.workdir.glob("evaluation/*.json")))

    def check(self) -> bool:
        """Whether all processes have ended well.

        Raises:
          RuntimeError: one has failed; shows the end of its log.
        """
        statuses = self.statuses()
        if wrong := [i for i, status in enumerate(statuses) if status not in (None, 0)]:
            for process in self._running:
                process.kill()
            end = (self._logs / f"process-{wrong[0]}.log").read_text()[-3000:]
            raise RuntimeError(f"Process {wrong[0]} ended with status {statuses[wrong[0]]}:\n{end}")
        return None not in statuses


def run(pod: Pod, points: list[tuple[float, int]], pace: float, rng: random.Random) -> list[dict[str, Any]]:
    """Run a pod to its end, disturbed at the given points; what was done to it, and how its processes ended.

    Args:
      pod: not started.
      points: progress from which on, and the signal; ascending.
      pace: seconds from one line to the next, about; a signal comes at any moment of them.
      rng: chooses the process and the moment.
    """
    disturbances = []
    pod.start()
    for point, number in points:
        while pod.progress() < int(point):
            time.sleep(LOOK_EVERY)
            if pod.check():
                raise RuntimeError(f"The run ended before it came to point {point:.1f}: draw fewer.")
        time.sleep(rng.uniform(0, pace))
        if pod.check():
            break
        which = rng.randrange(len(pod.statuses()))
        reached = pod.progress()
        statuses = pod.signal(number, which)
        disturbances.append(
            {"progress": reached, "signal": signal.Signals(number).name, "process": which, "statuses": statuses}
        )
        print(f"progress {reached}: {signal.Signals(number).name} to process {which}; statuses {statuses}", flush=True)
        pod.start()
    while not pod.check():
        time.sleep(LOOK_EVERY)
    return disturbances


def differences(a: Path, b: Path) -> list[str]:
    """What two finished runs of this program differ in, as sentences; none of them may have more than the other."""
    differing, alone = compare(a, b)
    return [*differing, *alone]


def adaptation(run: Path) -> dict[str, float]:
    """What a run's arms wrote and learnt of it, on average; without that, equality says nothing of adaptation."""
    lines = [line for file in run.glob(f"*/{METRICS_FILE}") for line in read_repeatable(file.parent)]
    names = (Metric.WELL_FORMED, Metric.NORM_SCORER)
    found = {name: [line[name] for line in lines if name in line] for name in names}
    return {name: sum(values) / len(values) if values else 0.0 for name, values in found.items()}


def main() -> None:
    """Run both, compare, and say so by the exit status."""
    parser = argparse.ArgumentParser(
        "python -m experiments.benchmarks.pod_local",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", default="configs/pod_local.py", help="a config file")
    parser.add_argument("--workdir", type=Path, required=True, help="where both runs go; must not hold any")
    parser.add_argument("--processes", type=int, default=2, help="how many")
    parser.add_argument("--devices", type=int, default=4, help="of each process")
    parser.add_argument("--kills", type=int, default=1, help="how many times a process gets SIGKILL")
    parser.add_argument("--notices", type=int, default=1, help="how many times a process gets SIGTERM")
    parser.add_argument("--seed", type=int, default=0, help="of the points")
    args, rest = parser.parse_known_args()
    if min(args.processes, args.devices) < 1 or min(args.kills, args.notices) < 0:
        parser.error("--processes and --devices are at least 1, --kills and --notices at least 0.")
    if args.workdir.exists() and not (args.workdir.is_dir() and not any(args.workdir.iterdir())):
        parser.error(f"--workdir={args.workdir} is not an empty directory: give another one, or remove it.")

    rng, began = random.Random(args.seed), time.perf_counter()
    pods = {}  # each has a base of its own: pretraining is disturbed too
    for name in ("undisturbed", "disturbed"):
        pods[name] = Pod(args.workdir.absolute() / name / "run", args.config, args.processes, args.devices, rest)
    print("the undisturbed run ...", flush=True)
    run(pods["undisturbed"], [], 0.0, rng)
    length = pods["undisturbed"].progress()
    pace = (time.perf_counter() - began) / length
    numbers = [signal.SIGKILL] * args.kills + [signal.SIGTERM] * args.notices
    rng.shuffle(numbers)
    points = sorted(rng.uniform(0, length) for _ in numbers)
    print(f"the disturbed run, {len(points)} times in a course of {length} lines ...", flush=True)
    disturbances = run(pods["disturbed"], list(zip(points, numbers, strict=True)), pace, rng)
    found = differences(*(pod.workdir for pod in pods.values()))
    adapted = adaptation(pods["undisturbed"].workdir)
    if not all(adapted.values()):
        found.append(f"Nothing was adapted to: {adapted}")
    report = {
        "processes": args.processes,
        "devices": args.devices,
        "disturbances": disturbances,
        "differences": found,
        "adaptation": adapted,
        "seconds": time.perf_counter() - began,
    }
    write_atomically(args.workdir / "pod_local.json", json.dumps(report, indent=2))
    print(f"{adapted[Metric.WELL_FORMED]:.0%} of the practice was well formed.")
    print("\n".join(found) or "Both runs ended with the same parameters, metrics and results, bit for bit.")
    sys.exit(bool(found) or len(disturbances) < len(points))


if __name__ == "__main__":
    main()
