"""A process for every system: it sets up, makes one call whenever it is told to, and watches its own memory."""

import ctypes
import gc
import importlib
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

STATUS = Path("/proc/self/status")
RESET_PEAK = Path("/proc/self/clear_refs")


class System(NamedTuple):
    """What the ``make`` of a module of systems returns.

    Attributes:
      call: computes the meta-gradient from beginning to end; float [K, N], in numpy.
      facts: what is known before the first call, for the row of the results.
    """

    call: Callable[[], np.ndarray]
    facts: dict[str, float]


class Call(NamedTuple):
    """What a worker sends after a call.

    Attributes:
      gradient: the result.
      seconds: the time it took.
      cpu_seconds: of all its threads together.
      peak_bytes: the most resident memory since the set-up ended, less what was resident then.
    """

    gradient: np.ndarray
    seconds: float
    cpu_seconds: float
    peak_bytes: int


def serve(connection: Connection, module: str, arguments: dict[str, Any]) -> None:
    """The worker's main: sends the facts of a system, then a `Call` for every message, until the pipe is closed.

    Before the first call, garbage is collected and freed heap is handed back to the kernel, so that a call cannot hide
    its memory in what importing or compiling left behind. From then on the kernel keeps the peak.

    Args:
      connection: to the parent. If the system raises, its traceback is sent, a string.
      module: where the system is; ``make(**arguments)`` of it returns a `System`.
      arguments: of ``make``.
    """
    try:
        system = importlib.import_module(module).make(**arguments)
        gc.collect()
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        RESET_PEAK.write_text("5")
        before = resident_bytes("VmRSS")
        connection.send(system.facts)
        while True:
            connection.recv()
            began, cpu_began = time.perf_counter(), time.process_time()
            gradient = system.call()
            seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
            connection.send(Call(gradient, seconds, cpu_seconds, resident_bytes("VmHWM") - before))
    except EOFError:
        return
    except Exception:
        connection.send(traceback.format_exc())


def resident_bytes(field: str) -> int:
    """This process's resident memory: ``VmRSS`` now, or ``VmHWM`` at its peak since the last reset."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return 1024 * int(line.split()[1])
