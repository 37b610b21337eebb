"""A trace of a few steps, for TensorBoard's profiler or Perfetto."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import jax

SKIPPED = 2
"""Steps before the first that is traced: they compile."""
_traced = 0


def trace_steps(count: int) -> None:
    """From now on the first ``count`` warm steps of every training are traced."""
    global _traced
    _traced = count


def step(number: int, workdir: Path) -> AbstractContextManager:
    """Traces the step ``number``, counted from where this process starts, into ``workdir/profile``, if it is to be."""
    if not SKIPPED <= number < SKIPPED + _traced:
        return nullcontext()
    return jax.profiler.trace(str(workdir / "profile"))
