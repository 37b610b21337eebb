"""The measurements of `experiments.attack`, kept after every attack, and their table."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.benchmarks.kept import held, keep, writable
from mass_jax.guard import attacked
from mass_jax.guard.attacks import Setting
from mass_jax.parallel.mesh import entered
from mass_jax.reporting.table import Table, to_markdown
from mass_jax.runtime.workdir import write_atomically

COLUMNS = (
    *("Attack", "Base, %", "Unguarded, %", "Guarded, %", "Right to wrong", "Wrong to right"),
    *("Others: base, %", "Others: unguarded, %", "Others: guarded, %"),
)


def measure(setting: Setting, origin: Mapping[str, Any], out: Path, names: Sequence[str]) -> None:
    """Attacks by these names, all where there are none; writes results.json and table.json in ``out``.

    Args:
      setting: whom is attacked.
      origin: what results.json has beside the measurements.
      out: the folder.
      names: of `attacked.ATTACKS`.
    """
    held(writable(out) / "results.json", ("attack",))  # what is another program's is not overwritten
    rows = list[dict[str, Any]]()
    with entered(setting.learner.mesh):
        benign = attacked.benign(setting)
        print(json.dumps(benign), flush=True)
        for row in attacked.rows(setting, tuple(names) or attacked.ATTACKS):
            rows.append(row)
            print(json.dumps(row), flush=True)
            text = json.dumps({**origin, "benign": benign, "rows": rows}, indent=1)
            write_atomically(out / "results.json", text + "\n")
    keep(out / "table.json", attacks=table(benign, rows))
    print(to_markdown(table(benign, rows)))


def table(benign: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Table:
    """A row an attack, and the model's own practice first."""
    lines = []
    for row in (benign, *rows):
        turned = (f"{row['right_to_wrong']} of {row['answers']}", str(row["wrong_to_right"]))
        others = _shares(row["others"]) if "others" in row else ("–",) * 3
        lines.append((row["attack"], *_shares(row), *turned, *others))
    return Table(COLUMNS, "l" + "r" * (len(COLUMNS) - 1), lines)


def _shares(row: Mapping[str, float]) -> tuple[str, ...]:
    return tuple(f"{row[name]:.1f}" for name in ("base", "unguarded", "guarded"))
