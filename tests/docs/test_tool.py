"""What the pages say of `mass-adapt` is so: their Python runs; options, keys, phases are named."""

import io
import re
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from mass_jax.inference import command_line, lines
from mass_jax.inference.adapted import PHASES
from mass_jax.study.load import read_config

ROOT = Path(__file__).resolve().parents[2]
RUN = ROOT / "tests" / "study" / "earlier" / "run"
TEXT = (ROOT / "docs" / "tool.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## Answering a problem")[2].partition("\n## ")[0]
SESSIONS = (ROOT / "docs" / "sessions.md").read_text(encoding="utf-8")
TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
SOLUTION = '"f7,8,5 = 9>6 6>8"'
PROBLEM = re.compile(r'"f7,8,5 f5,10,8 f0,3,10 3>4 4>6 2>5 \? [\d ]+"')


@pytest.mark.parametrize(
    "page", [TEXT, README, SESSIONS, TUTORIAL], ids=["tool.md", "README.md", "sessions.md", "tutorial.md"]
)
def test_its_python_runs(page: str):
    """On the run of the tests, whose domain is not the demo's, but that of `configs/smoke.py`."""
    (source,) = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    assert source.count("\n") <= 15
    problem = read_config(RUN).task.load("test")[0]
    shown = source.replace("runs/demo", str(RUN)).replace(SOLUTION, repr(problem.solution))
    shown, count = PROBLEM.subn(repr(problem.prompt), shown.replace("runs/smoke", str(RUN)))
    assert count >= 1 or "runs/smoke" in source
    with redirect_stdout(io.StringIO()) as printed:
        exec(compile(shown, "page", "exec"), {})
    assert printed.getvalue().count("\n") >= 2


def section(title: str) -> set[str]:
    """What the first column of a section's table names."""
    table = TEXT.partition(title)[2]
    rows = re.findall(r"^\| (`.+?) \|", table.partition("\n## ")[0], re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([\w-]+)`", row)}


def test_every_option_is_told_of():
    options = {word for action in command_line._parser()._actions for word in action.option_strings}
    assert section("# mass-adapt") == options - {"-h", "--help"}


def test_every_key_is_told_of():
    assert section("\n## JSON") == (lines.TAKEN | lines.GIVEN) - {"request", "error"}
    assert all(f"`{phase}`" in TEXT for phase in PHASES)


def test_every_status_is_told_of():
    statuses = {command_line.DONE, command_line.LACKING, 2, command_line.INTERRUPTED}
    assert set(map(int, re.findall(r"^\| (\d+) \|", TEXT.partition("## Exit statuses")[2], re.MULTILINE))) == statuses
