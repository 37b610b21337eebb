"""How a benchmark keeps what it measures: to go on with, and as tables that a page of the documentation can show."""

import os
import statistics
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from mass_jax import records
from mass_jax.errors import InputError
from mass_jax.reporting import pages
from mass_jax.reporting.stats import mean_interval
from mass_jax.reporting.table import Table, to_markdown
from mass_jax.reporting.writing import replace
from mass_jax.runtime import environment

MINUS = "\N{MINUS SIGN}"


def writable(folder: Path) -> Path:
    """The folder, which is made, and can be written: asked before anything is measured.

    Raises:
      InputError: it cannot be.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"the folder '{folder}' cannot be made ({error.strerror}): give another.") from None
    if not os.access(folder, os.W_OK):
        raise InputError(f"the folder '{folder}' cannot be written: give another, or make it writable.")
    return folder


def held(path: Path, keys: Collection[str], rows: str | None = "rows") -> Any:
    """What a benchmark's file of results holds, None where there is none yet: asked before anything is measured.

    Args:
      path: of the file.
      keys: that each of its rows has.
      rows: the name that the rows have in the file; None where they are all of it.

    Raises:
      InputError: the file cannot be read, or is another program's, which would be lost.
    """
    if not path.exists():
        return None
    try:
        values = records.parsed(path.read_text(encoding="utf-8"))
        listed = values if rows is None else values.get(rows) if isinstance(values, dict) else None
        if not isinstance(listed, list) or any(not isinstance(row, dict) or set(keys) - row.keys() for row in listed):
            raise ValueError(f"it has no list of rows with {', '.join(keys)}")
    except (OSError, ValueError) as error:
        raise InputError(
            f"'{path}' is damaged, or not of this benchmark ({error}): give another folder, or move the file away."
        ) from None
    return values


def alike(path: Path, found: Mapping[str, Any], **asked: Any) -> None:
    """Looks whether what is held, a row or all of it, was measured by what is asked for now: one table would have both.

    Raises:
      InputError: it was not.
    """
    for name, value in asked.items():
        if found.get(name) != value:
            raise InputError(
                f"'{path}' was measured with {name} = {found.get(name)!r}, where it is {value!r} now: give the same "
                "again, or another --workdir."
            )


def keep(path: Path, **tables: Table) -> None:
    """Writes tables with the command that made them: as JSON for ``docs/data``, and as Markdown beside it."""
    made = environment.describe()
    changed = " with uncommitted changes" if made["uncommitted"] else ""
    origin = {
        "command": environment.command(),
        "commit": f"{made['commit']}{changed}",
        "machine": f"{made['cpu']['model']}, {made['cpu']['cores']} cores; {made['devices']['kind']}",
        "jax": made["packages"]["jax"],
        "date": made["date"],
    }
    pages.save(path, tables, origin)
    replace(path.with_suffix(".md"), "\n\n".join(map(to_markdown, tables.values())) + "\n")


def mean_figure(values: Sequence[float], digits: int) -> str:
    """The mean over seeds, with its standard deviation where there are several; a dash where there is none."""
    if not values:
        return "–"
    mean = f"{statistics.mean(values):.{digits}f}"
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{mean}{spread}".replace("-", MINUS)


def interval_figure(values: Sequence[float], digits: int) -> str:
    """The mean over seeds of a difference, signed, with its 95 % interval where there are several; a dash for none."""
    if not values:
        return "–"
    mean, interval = mean_interval(values)
    ends = "" if interval is None else f" ({interval[0]:+.{digits}f} to {interval[1]:+.{digits}f})"
    return f"{mean:+.{digits}f}{ends}".replace("-", MINUS)
