"""The commands of docs/tutorial.md are read, and its problem is one of the config's; `test_tool.py` runs its Python."""

import re
import shlex
from pathlib import Path

from mass_jax.inference import command_line
from mass_jax.study.load import read_config

ROOT = Path(__file__).resolve().parents[2]
RUN = ROOT / "tests" / "study" / "earlier" / "run"
"""Of the same domain, rules and sizes as `configs/smoke.py`."""
TEXT = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
COMMANDS = [shlex.split(line) for kind, block in BLOCKS if kind == "bash" for line in block.splitlines()]


def test_its_problem_is_of_the_domain_and_its_solution_right():
    (problem,) = {word for words in COMMANDS for word in words if "?" in word}
    (solution,) = re.findall(r"`(f[\d,]+ = [^`]+)`", TEXT)
    task = read_config(RUN).task
    (known,) = [each for each in task.load("test") if each.prompt == problem]
    assert known.solution == solution


def test_its_commands_are_read():
    for program, *words in COMMANDS:
        if program.endswith("mass-adapt"):
            assert command_line._parser().parse_args(words).model == "runs/smoke"
        assert all((ROOT / name).is_file() for name in re.findall(r"configs/\w+\.py", " ".join(words)))
    assert {Path(program).name for program, *_ in COMMANDS} == {"make", "mass-adapt", "python"}
