"""How a benchmark keeps its tables, so that a page of the documentation can show them."""

from pathlib import Path

from mass_jax.reporting import pages
from mass_jax.reporting.table import Table, to_markdown
from mass_jax.reporting.writing import replace
from mass_jax.runtime import environment


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
