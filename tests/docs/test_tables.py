"""Tables of the pages are what the files below docs/data hold, and no measured table is typed by hand."""

import ast
import json
import re
from pathlib import Path

import pytest

from mass_jax.reporting import pages
from mass_jax.reporting.pages import PageError, load, pick, rendered, save
from mass_jax.reporting.table import Table

ROOT = Path(__file__).resolve().parents[2]
PAGES = pages.pages(ROOT)
DATA = sorted((ROOT / pages.DATA).glob("*.json"))
FRUIT = Table(("Name", "a | b", "Name"), "lrr", [("fig", "1", "2"), ("pear", "3", "4")])


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_rendering_changes_nothing(path: Path):
    text = path.read_text(encoding="utf-8")
    assert rendered(text, ROOT / pages.DATA) == text, "run `make docs`; numbers are changed in docs/data"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_table_with_numbers_is_rendered(path: Path):
    by_hand = pages.MARKED.sub("", path.read_text(encoding="utf-8"))
    # Numbers are in columns that are aligned to the right; those of a definition, not of a measurement, are centred.
    assert re.findall(r"^\|.*[| ]-+:.*$", by_hand, re.MULTILINE) == [], "keep them in docs/data, see CONTRIBUTING.md"


@pytest.mark.parametrize("path", DATA, ids=lambda path: path.stem)
def test_data_say_where_they_are_from_and_are_shown(path: Path):
    values = json.loads(path.read_text(encoding="utf-8"))
    assert [name for name in ("command", "commit", "machine", "date") if not values.get(name)] == []
    shown = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert [name for name in load(path) if f"{pages.MARK} {path.stem}/{name} " not in shown] == []


def test_benchmarks_keep_tables_under_the_names_that_contributors_are_told():
    for path in (ROOT / "experiments/benchmarks").rglob("*.py"):
        calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
        for call in calls:
            if ast.unparse(call.func) == "keep":
                assert re.search(r"\btable\.json\b", ast.unparse(call.args[0])), path.name


def test_the_first_page_repeats_the_results():
    """The README's summary has the numbers of the whole tables."""
    whole = load(ROOT / pages.DATA / "arithmetic.json")
    accuracy = {row[0]: row[2] for name in ("methods", "controls") for row in whole[name].rows}
    over_base = {row[0]: row[2] for row in whole["paired"].rows}
    summary = load(ROOT / pages.DATA / "arithmetic_draws.json")["headline"].rows
    assert len(summary) == 7
    for name, cell, *_ in summary:
        [label] = [label for label in accuracy if label == LABELS.get(name, name).strip("*")]
        number, _, interval = cell.strip("*").partition(" (")
        assert number == accuracy[label]
        assert not interval or interval == f"{over_base[f'{label} − Base']})"


LABELS = {
    "TT-SS: self-written practice, nothing meta-learned": "TT-SS",
    "MASS's θ without the update": "MASS without update",
    "Oracle: correct practice of the hidden family": "Oracle",
}


def test_what_is_saved_is_what_a_page_shows(tmp_path: Path):
    save(tmp_path / "fruit.json", {"all": FRUIT, "none": Table(("x",), "l", [])}, {"command": "make fruit"})
    assert load(tmp_path / "fruit.json") == {"all": FRUIT}
    page = 'x\n<!-- table: fruit/all {"where": {"Name": ["pear"]}, "columns": ["a | b"]} -->\nold\n<!-- end -->\ny\n'
    first, _, rest = page.partition("old")
    assert rendered(page, tmp_path) == f"{first}\n| a \\| b |\n| ---: |\n| 3 |\n{rest}"
    assert rendered(rendered(page, tmp_path), tmp_path) == rendered(page, tmp_path)


@pytest.mark.parametrize(
    ("mark", "says"),
    [
        ("fruit/some -->", "has no table 'some': it has all"),
        ("figs/all -->", "figs.json' cannot be read as tables"),
        ('fruit/all {"columns": ["Nam"]} -->', "no column 'Nam': the columns are 'Name', 'a | b'"),
        ('fruit/all {"where": {"Name": "plum"}} -->', "no row has {'Name': 'plum'}"),
        ('fruit/all {"rows": 3} -->', "cannot be read"),
        ("fruit/all->", "not written like this"),
    ],
)
def test_what_cannot_be_rendered_is_said(tmp_path: Path, mark: str, says: str):
    save(tmp_path / "fruit.json", {"all": FRUIT}, {})
    with pytest.raises(PageError, match=re.escape(says)):
        rendered(f"<!-- table: {mark}\n<!-- end -->\n", tmp_path)


def test_a_mark_without_an_end_swallows_nothing(tmp_path: Path):
    save(tmp_path / "fruit.json", {"all": FRUIT}, {})
    mark = "<!-- table: fruit/all -->\n"
    with pytest.raises(PageError, match="not followed by"):
        rendered(f"{mark}Prose.\n\n{mark}\n<!-- end -->\n", tmp_path)


def test_a_row_of_another_width_is_refused(tmp_path: Path):
    save(tmp_path / "fruit.json", {"all": FRUIT._replace(rows=[("fig", "1")])}, {})
    with pytest.raises(PageError, match="has 3 columns, but .* has 2"):
        load(tmp_path / "fruit.json")


def test_rows_and_columns_are_picked_in_the_order_that_is_asked_for():
    assert pick(FRUIT, {"Name": "fig"}, ["a | b", "Name"]) == Table(("a | b", "Name"), "rl", [("1", "fig")])
