"""The guide to meta-gradients runs from top to bottom, and prints what stands below its code."""

import json
import re
from pathlib import Path

from tests import programs

PAGE = Path(__file__).resolve().parents[2] / "docs" / "meta_gradients.md"
BLOCK = re.compile(r"^```python\n.*?^```\n(?:\n```text\n(?P<shown>.*?)^```\n)?", re.DOTALL | re.MULTILINE)


def test_its_code_prints_what_is_shown():
    printed = json.loads(programs.run("docs.program_blocks", str(PAGE)).splitlines()[-1])
    shown = [found["shown"] or "" for found in BLOCK.finditer(PAGE.read_text(encoding="utf-8"))]
    assert len([text for text in shown if text]) >= 5
    assert printed == shown
