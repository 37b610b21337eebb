"""What is shown of one problem, with a terminal and without."""

import io
import json
import re

import pytest
from rich.console import Console

from mass_jax.guard.verdict import Verdict
from mass_jax.inference.adapter import Event
from mass_jax.inference.view import BAR, View, printable

GUARD = {"outcome": "scaled", "reason": "too far", "norm": 1.5, "kl": 0.25, "scale": 0.5, "canaries": {}}
EVENTS = [
    Event("answer_before", [{"answer_before": "x = 1\nx = \x1b[31m2"}], 1.25, [7]),
    Event("write", [{"practice": [{"problem": "1 + 1", "solution": "2"}, {"problem": "", "solution": ""}]}], 2.0, [9]),
    Event("weigh", [{"weights": [0.5, 0.0], "gate": 0.75, "left_out": ["", "malformed"]}], 0.5, [0]),
    Event("adapt", [{"losses": [2.0, 1.5]}], 3.0, [40]),
    Event("guard", [{"guard": GUARD}], 0.1, [0]),
    Event("answer", [{"answer": "3"}], 1.0, [4]),
]
SHOWN = """\
answer before (1.2 s, 7 tokens)
     x = 1
     x = \N{REPLACEMENT CHARACTER}[31m2
practice (2.0 s, 9 tokens)
  1. 1 + 1
     → 2
  2. (malformed)
weights (0.5 s)
  1. ████████████████████ 0.50
  2.                      0.00 (malformed)
     times 0.75, the gate
update (3.0 s, 40 tokens)
     inner loss 2.0000 → 1.5000 nats a token
guard (0.1 s)
     scaled: too far (norm 1.5, KL 0.25 nats a token)
answer (1.0 s, 4 tokens)
"""
WORKING = r"\x1b\[\?25l[^\n]* \.\.\.\n\x1b\[\?25h\r\x1b\[1A\x1b\[2K"
"""What says which phase is at work, up to where it is erased."""


@pytest.mark.parametrize("terminal", [False, True])
def test_every_phase_is_shown(terminal: bool):
    console = Console(file=io.StringIO(), force_terminal=terminal, width=60, color_system=None)
    with View(console) as view:
        for event in EVENTS:
            view(Event(event.phase))
            view(event)
    text = console.file.getvalue()
    assert ("practice ..." in text) == terminal
    assert re.sub(WORKING, "", text) == SHOWN


def test_without_a_guard_nothing_is_said_of_it():
    console = Console(file=io.StringIO())
    View(console)(Event("guard", [{"guard": None}], 0.0, [0]))
    assert console.file.getvalue() == ""
    View(console)(Event("guard", [{"guard": GUARD | {"kl": None, "reason": ""}}], 0.0, [0]))
    assert console.file.getvalue() == "guard (0.0 s)\n     scaled (norm 1.5)\n"


def test_practice_is_shown_while_it_is_written():
    console = Console(file=io.StringIO(), force_terminal=True, width=20, color_system=None)
    with View(console) as view:
        view(Event("write", written=[["Tom has 3 boxes\nof 12 eggs", "\x1b[2J"]]))
    assert "practice ...\n  1. xes of 12 eggs\n  2. \N{REPLACEMENT CHARACTER}[2J" in console.file.getvalue()


def test_what_is_not_finite_is_shown_as_such():
    console, nan = Console(file=io.StringIO(), width=60), float("nan")
    view = View(console)
    view(Event("weigh", [{"weights": [nan, 2.0, float("inf")], "gate": nan, "left_out": [""] * 3}], 0.0, [0]))
    view(Event("adapt", [{"losses": [nan]}], 0.0, [0]))
    overflown = Verdict("refused", "too far", float("inf"), nan, 0.0, (0, 0), nan).as_json()
    assert json.dumps(overflown, allow_nan=False)
    view(Event("guard", [{"guard": overflown}], 0.0, [0]))
    _, first, second, third, gate, _, losses, _, guard = console.file.getvalue().splitlines()
    assert [each.split()[-1] for each in (first, second, third)] == ["nan", "2.00", "inf"]
    assert [each.count("█") for each in (first, second, third)] == [0, BAR, 0]
    assert "times nan" in gate and "inner loss nan" in losses and "refused: too far (norm not finite)" in guard


def test_what_a_terminal_would_obey_is_replaced():
    assert printable("a\tb\x07\u202e\n") == "a\N{REPLACEMENT CHARACTER}b" + "\N{REPLACEMENT CHARACTER}" * 2 + "\n"
