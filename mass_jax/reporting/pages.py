"""The tables of the documentation: files of tables that a command wrote, rendered into the pages that name them.

    python -m mass_jax.reporting.pages                               # rewrites the tables of the pages (`make docs`)
    python -m mass_jax.reporting.pages --run=runs/demo --name=demo   # first keeps a study's in docs/data/demo.json

A page says where a table goes, and which one it is; what stands between the two lines is rewritten::

    <!-- table: estimators/all {"where": {"K": "8", "Optimiser": ["adam"]}, "columns": ["Estimator", "Cosine"]} -->
    <!-- end -->

``estimators/all`` is the table ``all`` of ``docs/data/estimators.json``; rows and columns are picked where wanted.
"""

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mass_jax import records
from mass_jax.reporting import table as tables
from mass_jax.reporting.run import NOT_EVALUATED, RunError, errors_as_sentences, load_results
from mass_jax.reporting.table import Table, to_markdown
from mass_jax.reporting.writing import replace
from mass_jax.results import Environment, Invocation

DATA = Path("docs", "data")
MARK = "<!-- table:"
MARKED = re.compile(
    rf"^(?P<begin>{MARK} (?P<name>\S+)(?P<pick>\s\{{[^<]*?\}})? -->\n).*?(?P<end>^<!-- end -->)",
    re.DOTALL | re.MULTILINE,
)
NAME = re.compile(r"[\w-]+")
"""Of a file of tables."""
OF_A_STUDY = {
    "methods": tables.methods_table,
    "controls": tables.controls_table,
    "paired": tables.paired_table,
    "log_likelihood": tables.log_likelihood_table,
    "targets": tables.targets_table,
    "synthesis": tables.synthesis_table,
    "generator": tables.generator_table,
    "decomposition": tables.decomposition_table,
}


class PageError(RunError):
    """A page and the data of its tables do not fit."""


def save(path: Path, found: Mapping[str, Table], origin: Mapping[str, Any]) -> None:
    """Writes tables as the pages take them.

    Args:
      path: of the file, ``.json``.
      found: the tables by name; one without rows is left out.
      origin: the ``command`` that made them, its ``commit``, the ``machine`` and the ``date``.
    """
    kept = {name: table for name, table in found.items() if table.rows}
    values = dict(origin) | {"tables": {name: table._asdict() for name, table in kept.items()}}
    path.parent.mkdir(parents=True, exist_ok=True)
    replace(path, _dumps(values) + "\n")


def load(path: Path) -> dict[str, Table]:
    """Returns the tables that `save` was given.

    Raises:
      PageError: the file is not there, is no JSON, or has a row with too many or too few cells.
    """
    try:
        values = records.parsed(path.read_text(encoding="utf-8"))
        found = {
            name: Table(tuple(table["columns"]), table["align"], [tuple(row) for row in table["rows"]])
            for name, table in values["tables"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PageError(
            f"'{path}' cannot be read as tables ({error!r}): write it again, by the command in it."
        ) from None
    for name, table in found.items():
        for row in (table.align, *table.rows):
            if len(row) != len(table.columns):
                raise PageError(
                    f"'{path}': '{name}' has {len(table.columns)} columns, but {row!r} has {len(row)} cells."
                )
    return found


def pick(
    table: Table, where: Mapping[str, str | Sequence[str]] | None = None, columns: Sequence[str] | None = None
) -> Table:
    """Some rows and columns of a table.

    Args:
      table: all of it.
      where: the cell, or the cells, that a row must have in the column named.
      columns: the headings to keep, in their order; all where None.

    Raises:
      PageError: there is no such column, or no row has these cells.
    """
    for name in (*(where or {}), *(columns or ())):
        if name not in table.columns:
            raise PageError(f"there is no column '{name}': the columns are {', '.join(map(repr, table.columns))}.")
    wanted = [
        (table.columns.index(name), (cells,) if isinstance(cells, str) else cells)
        for name, cells in (where or {}).items()
    ]
    rows = [row for row in table.rows if all(row[place] in cells for place, cells in wanted)]
    if not rows:
        raise PageError(f"no row has {where}.")
    places = range(len(table.columns)) if columns is None else [table.columns.index(name) for name in columns]
    return Table(
        tuple(table.columns[place] for place in places),
        "".join(table.align[place] for place in places),
        [tuple(row[place] for place in places) for row in rows],
    )


def rendered(page: str, data: Path, fresh: Mapping[str, Mapping[str, Table]] | None = None) -> str:
    """Returns the text of a page with its tables as they are in the files below ``data``.

    Args:
      page: its text.
      data: the folder of the files.
      fresh: tables that such a file is going to have, by the file's name; they come before those in it.

    Raises:
      PageError: a table is not there, or what a page wants of one.
    """

    def render(found: re.Match[str]) -> str:
        file, _, name = found["name"].partition("/")
        held = (fresh or {}).get(file) or load(data / f"{file}.json")
        if name not in held:
            raise PageError(f"'{data / file}.json' has no table '{name}': it has {', '.join(held)}.")
        try:
            wanted = pick(held[name], **records.parsed(found["pick"] or "{}"))
        except (TypeError, ValueError) as error:
            raise PageError(f"{found['begin'].strip()} cannot be read ({error}): see {__name__}.") from None
        except PageError as error:
            raise PageError(f"{found['begin'].strip()}: {error}") from None
        return f"{found['begin']}\n{to_markdown(wanted)}\n\n{found['end']}"

    if len(MARKED.findall(page)) != len(re.findall(f"^{MARK}", page, re.MULTILINE)):
        raise PageError(f"a line '{MARK} file/table -->' is not followed by '<!-- end -->', or not written like this.")
    return MARKED.sub(render, page)


def pages(root: Path) -> list[Path]:
    """The pages that may have tables."""
    return sorted([*root.glob("*.md"), *root.glob("docs/*.md")])


def of_a_run(workdir: str) -> tuple[dict[str, Table], dict[str, Any]]:
    """The tables of a finished study and their origin, for `save`.

    Raises:
      RunError: there is no such run, it is not evaluated, or its results cannot be read.
    """
    results = load_results(workdir)
    if not results.methods:
        raise RunError(NOT_EVALUATED.format(workdir))
    made = results.environment or Environment()
    first = results.timing.invocations[0] if results.timing.invocations else Invocation(program="demo")
    found = {name: build(results) for name, build in OF_A_STUDY.items()}
    return {name: table for name, table in found.items() if table.rows}, {
        "command": first.command or f"python -m experiments.{first.program} --workdir={workdir}",
        "commit": made.commit,
        "machine": f"{made.cpu.model}, {made.devices.kind}",
        "date": made.date,
    }


def rewrite(root: Path, run: str | None = None, name: str | None = None) -> None:
    """Renders the pages anew; what is wrong is found before anything is written.

    Args:
      root: the folder with the pages.
      run: workdir of a finished study whose tables are kept first.
      name: of the file below ``docs/data`` that they are kept in.

    Raises:
      RunError: there are no pages, one cannot be rendered, or the study has no tables.
    """
    tables, origin = ({}, {}) if run is None else of_a_run(run)
    fresh = {name: tables} if name else {}
    new = {path: _rendered(path, root / DATA, fresh) for path in pages(root)}
    if not new:
        raise PageError(f"'{root}' has no pages, neither *.md nor docs/*.md: give --root the folder with README.md.")
    if tables:
        save(root / DATA / f"{name}.json", tables, origin)
    for path, (before, text) in new.items():
        if text != before:
            replace(path, text)
            print(f"rewrote {path}", file=sys.stderr)


def _rendered(path: Path, data: Path, fresh: Mapping[str, Mapping[str, Table]]) -> tuple[str, str]:
    """The text of a page as it is, and as it is to be."""
    try:
        text = path.read_text(encoding="utf-8")
        return text, rendered(text, data, fresh)
    except UnicodeDecodeError as error:
        raise PageError(f"{path} cannot be read ({error}): save it as UTF-8.") from None
    except PageError as error:
        raise PageError(f"{path}: {error}") from None


def _dumps(values: Any) -> str:
    """JSON with a row of a table on a line."""
    text = json.dumps(values, indent=1, ensure_ascii=False)
    return re.sub(r"\[\n\s+(\"[^\]]*?\")\n\s+\]", lambda found: f"[{re.sub(chr(10) + ' +', ' ', found[1])}]", text)


def main() -> None:
    """Renders the tables of README.md and docs/ from docs/data."""
    parser = argparse.ArgumentParser("python -m mass_jax.reporting.pages", description=main.__doc__)
    parser.add_argument("--root", type=Path, default=Path(), help="the folder with README.md and docs/")
    parser.add_argument("--run", help="a finished study whose tables are kept first")
    parser.add_argument("--name", help="of the file below docs/data that they are kept in")
    values = parser.parse_args()
    if (values.run is None) != (values.name is None):
        parser.error("--run and --name belong together: give both or neither.")
    if values.name is not None and not NAME.fullmatch(values.name):
        parser.error(f"--name={values.name} is no name of a file: give letters, digits, '-' and '_', such as demo.")
    with errors_as_sentences():
        rewrite(values.root, values.run, values.name)


if __name__ == "__main__":
    main()
