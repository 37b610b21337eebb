"""Writing ``results.json``: each program writes its own part, and leaves the others' as they are."""

from pathlib import Path
from typing import Any

from absl import logging

from mass_jax import records
from mass_jax.parallel import hosts
from mass_jax.results import check
from mass_jax.runtime.workdir import write_atomically

RESULTS_FILE = "results.json"
LOST = (
    "'%s' now holds what is written from here on. python -m experiments.gate writes the gates' parts again, and "
    "python -m experiments.evaluate all but the time; neither measures anew what gate.json and evaluation/ hold."
)
"""Said where the file was damaged."""


def merge(workdir: Path, **parts: Any) -> Path:
    """Replaces the given parts of the results, atomically; of several processes the first one does.

    Args:
      workdir: of the run.
      **parts: keys of `mass_jax.results.Results`, as JSON holds them. The gates own ``gate`` and ``choice``, the clock
        ``timing``, the evaluation all others.

    Returns:
      The path of the file.

    Raises:
      ResultsError: a part is not declared, or does not fit its declaration.
      WorkdirError: it cannot be written.
    """
    check(parts)
    path = workdir / RESULTS_FILE
    if hosts.first():
        there, before = path.exists(), records.read(path)
        if there and before is None:
            logging.warning(LOST, path)
        write_atomically(path, records.dumps((before or {}) | parts, indent=2))
    return path
