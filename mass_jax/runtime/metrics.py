"""Numbers out of a run: JSON lines, TensorBoard, seconds a phase."""

import contextlib
import io
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from absl import logging

from mass_jax import records
from mass_jax.parallel import hosts
from mass_jax.quantities import MACHINE, TIME, Metric
from mass_jax.runtime.events import EventFile
from mass_jax.runtime.memory import peak_host_bytes
from mass_jax.runtime.workdir import WorkdirError, write_atomically

METRICS_FILE = "metrics.jsonl"
T = TypeVar("T")


class MetricsWriter:
    """Appends ``{"step": 3, "name": 0.5, ...}`` lines to ``metrics.jsonl``, and the same to TensorBoard.

    Each line is handed to the operating system before ``write`` returns, so a killed process loses none. Opened again
    with the step of the restored checkpoint, it drops the lines that the resumed run writes anew: the file then ends
    the same as that of a run never killed, apart from ``time/*`` and ``machine/*``. For this, write the metrics of
    every step before ``s`` before saving checkpoint ``s``; a line that is lost all the same is said. NaN and infinity
    are written as Python's ``json`` does: ``NaN``, ``Infinity``.

    A full disk ends no run: lines that cannot be written are kept in memory and tried again with the next one. What is
    lost at the end is said, if the run ends well; one that fails, perhaps of the same disk, has something else to say.

    With several processes only the first writes.
    """

    def __init__(self, directory: str | os.PathLike[str], *, resume_step: int, every: int = 1) -> None:
        """Opens the files.

        Args:
          directory: the workdir; TensorBoard's files go to its ``tensorboard`` subdirectory.
          resume_step: the number of completed steps: lines of this step and later ones are dropped, 0 drops all.
          every: how many steps lie between two lines.

        Raises:
          WorkdirError: the metrics cannot be opened.
        """
        self._file: io.FileIO | None = None
        self._pending = b""
        self._told = False
        if hosts.first():
            path = Path(directory) / METRICS_FILE
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                _drop_from(path, resume_step, every)
                self._file = io.FileIO(path, "a")
            except OSError as error:
                raise WorkdirError(
                    f"'{path}' cannot be opened ({error.strerror}): make room, or make it writable."
                ) from error
            self._events = EventFile(path.parent / "tensorboard", resume_step)

    def __enter__(self) -> "MetricsWriter":
        """Returns itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Closes the files."""
        self.close(failed=kind is not None)

    def write(self, step: int, metrics: Mapping[str, Any]) -> dict[str, float]:
        """Writes one line.

        Args:
          step: the index of the step, counted from 0: less than the next checkpoint's number of completed steps.
          metrics: scalars by name: JAX arrays (fetched together in one transfer), NumPy or Python numbers.

        Returns:
          The metrics as floats.

        Raises:
          ValueError: a metric is not a scalar.
        """
        values = jax.device_get(dict(metrics))
        for name, value in values.items():
            if np.size(value) != 1:
                raise ValueError(f"Metric '{name}' has shape {list(np.shape(value))}; write a scalar, as its mean.")
        floats = {name: float(np.asarray(value).item()) for name, value in values.items()}
        if self._file is not None:
            self._pending += json.dumps({"step": step, **floats}).encode() + b"\n"
            self._write_pending(self._file)
            self._events.write(step, floats)
        return floats

    def _write_pending(self, file: io.FileIO) -> None:
        try:
            while self._pending:  # what a full disk has taken of a line is continued where it broke off
                self._pending = self._pending[file.write(self._pending) :]
        except OSError as error:
            if not self._told:
                logging.warning("'%s' cannot be written (%s): its lines are kept, and tried again.", file.name, error)
            self._told = True

    def close(self, failed: bool = False) -> None:
        """Closes both files; of a run that failed without a word about what they lack."""
        if self._file is not None:
            self._write_pending(self._file)
            if self._pending and not failed:
                logging.warning("'%s' lacks its last lines: it could not be written.", self._file.name)
            self._file.close()
            self._events.close(failed)


def peak_bytes() -> dict[Metric, float]:
    """The most memory held so far: by this process on the host, and on its first device where that tells."""
    found = {Metric.PEAK_HOST_BYTES: float(peak_host_bytes())}
    stats = jax.local_devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in stats:
        found[Metric.PEAK_DEVICE_BYTES] = float(stats["peak_bytes_in_use"])
    return found


def read_metrics(directory: str | os.PathLike[str]) -> list[dict[str, float]]:
    """Returns the lines of ``metrics.jsonl`` in ``directory``, without those torn by a kill or damaged."""
    lines = (Path(directory) / METRICS_FILE).read_bytes().splitlines()
    return [line for line in map(_parse, lines) if line is not None]


def read_repeatable(directory: str | os.PathLike[str]) -> list[dict[str, float]]:
    """`read_metrics` without what tells of the machine: equal for a run and its repetition."""
    return [
        {name: value for name, value in line.items() if not name.startswith((TIME, MACHINE))}
        for line in read_metrics(directory)
    ]


def _parse(line: bytes) -> dict[str, float] | None:
    with contextlib.suppress(ValueError):
        found = records.parsed(line)
        if isinstance(found, dict) and isinstance(found.get("step"), int):
            return found
    return None


def _drop_from(path: Path, step: int, every: int) -> None:
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    parsed = [_parse(line) if line.endswith(b"\n") else None for line in lines]
    kept = [(line, found["step"]) for line, found in zip(lines, parsed, strict=True) if found and found["step"] < step]
    if None in parsed[:-1]:  # a kill tears the last one only
        aside = path.with_name(f"{path.name}.damaged")
        shutil.copyfile(path, aside)
        logging.warning("'%s' has damaged lines, which are left out; '%s' is a copy with them.", path, aside.name)
    if missing := sorted({*range(0, step, every)} - {found for _, found in kept}):
        logging.warning(
            "'%s' lacks %d of the lines before step %d, where the run goes on (the first is of step %d): its curves "
            "have a gap there; what is trained is not touched.",
            path,
            len(missing),
            step,
            missing[0],
        )
    if len(kept) < len(lines):
        logging.info("Dropped %d lines from step %d on, of '%s'.", len(lines) - len(kept), step, path)
        write_atomically(path, b"".join(line for line, _ in kept).decode())


class PhaseTimer:
    """Adds up the seconds of each phase: ``with timer("adapt") as ready: adapted = ready(adapt(...))``.

    ``ready`` waits for the arrays it is given and returns them: without it, the time of a jitted call would be counted
    to whichever phase first waits for its result. A phase entered more than once adds up; one that raises counts too.
    """

    def __init__(self) -> None:
        """Starts at zero."""
        self._seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, phase: str) -> Iterator[Callable[[T], T]]:
        """Times the body of a ``with`` statement; yields ``jax.block_until_ready``."""
        start = time.perf_counter()
        try:
            yield jax.block_until_ready
        finally:
            self._seconds[phase] = self._seconds.get(phase, 0.0) + time.perf_counter() - start

    def pop(self) -> dict[str, float]:
        """Returns ``{"time/<phase>": seconds}`` since the last call, and starts from zero."""
        seconds, self._seconds = self._seconds, {}
        return {f"{TIME}{phase}": value for phase, value in seconds.items()}
