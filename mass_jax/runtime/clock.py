"""Seconds of every phase of a run, over all programs that worked on it, also those that were killed."""

import contextlib
import threading
import time
from pathlib import Path
from typing import Any

from absl import logging

from mass_jax import records
from mass_jax.errors import InputError
from mass_jax.parallel import hosts
from mass_jax.runtime import environment, locks, results
from mass_jax.runtime.workdir import LOCK_FILE, write_atomically

TIMING_FILE = "timing.json"


class Clock:
    """Adds the time of this invocation to ``timing.json``: ``with Clock(...) as clock: clock.phase("gate"); ...``.

    All time counts, to the phase that was named last. A thread writes it down every few seconds, so that a killed
    invocation loses no more than those. One that ends with an error before its first line is not counted: what is
    refused at the door did nothing. At its end the invocation puts ``timing`` into ``results.json``.

    What cannot be written is tried again. If it is lost, a run that ends well says so; one that fails, perhaps of the
    same full disk, has something else to say.

    Of several processes the first one writes; and none reads or writes before the workdir is this run's own (see
    `open_workdir`): a start that is refused leaves another run's directory as it was.
    """

    def __init__(self, workdir: Path, program: str, every_seconds: float = 10.0) -> None:
        """Takes note of the place.

        Args:
          workdir: of the run; it need not be there yet.
          program: who is working, for the records.
          every_seconds: from one writing to the next.
        """
        self._workdir, self._every, self._first = workdir, every_seconds, hosts.first()
        self._before: list[dict[str, Any]] | None = None
        made = environment.describe()
        self._phases: dict[str, float] = {}
        self._this = {"program": program, "command": environment.command(), "began": made["date"]}
        self._this |= {"commit": made["commit"], "devices": made["devices"]}
        self._phase, self._written = "start", False
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> "Clock":
        """Starts to count."""
        self._last = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Stops, and publishes the time."""
        self._stop.set()
        self._thread.join()
        if kind is None or self._written:
            try:
                with self._lock:
                    self._write()
                if self._own():
                    results.merge(self._workdir, timing=self.timing())
            except (OSError, InputError) as error:
                if kind is None:
                    logging.warning("The time of this run is not written down: %s", error)

    def phase(self, name: str) -> None:
        """From here on time counts to ``name``."""
        with self._lock:
            if self._phases or self._phase != "start":
                self._try_to_write()
            self._phase = name

    def timing(self) -> dict[str, Any]:
        """What ``results.json`` holds: ``total_seconds``, ``phases``, and who worked when and how long."""
        with self._lock:
            self._add()
            rows = self._rows()
        phases: dict[str, float] = {}
        for row in rows:
            for name, seconds in row["phases"].items():
                phases[name] = phases.get(name, 0.0) + seconds
        invocations = [
            {name: value for name, value in row.items() if name != "phases"} | {"seconds": sum(row["phases"].values())}
            for row in rows
        ]
        return {"total_seconds": sum(phases.values()), "phases": phases, "invocations": invocations}

    def _tick(self) -> None:
        while not self._stop.wait(self._every):
            with self._lock:
                self._try_to_write()

    def _add(self) -> None:
        now = time.monotonic()
        self._phases[self._phase] = self._phases.get(self._phase, 0.0) + now - self._last
        self._last = now

    def _own(self) -> bool:
        """Whether this process has the workdir, and writes."""
        return self._first and locks.kept(self._workdir / LOCK_FILE)

    def _rows(self) -> list[dict[str, Any]]:
        if self._before is None and self._own():
            found = records.read(self._workdir / TIMING_FILE) or {}
            # Earlier versions kept the phases alone.
            self._before = found.get("invocations", [{"phases": found}] if found else [])
        return [*(self._before or ()), self._this | {"phases": dict(self._phases)}]

    def _try_to_write(self) -> None:
        with contextlib.suppress(OSError, InputError):  # of a full disk: the next time may do
            self._write()

    def _write(self) -> None:
        self._add()
        if self._own():
            write_atomically(self._workdir / TIMING_FILE, records.dumps({"invocations": self._rows()}, indent=1))
            self._written = True
