"""Every entry of the glossary says where its thing lives, and names that it gives are in the files it gives."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENTRIES = re.findall(r"^- (\*\*.*(?:\n  .*)*)", (ROOT / "docs/glossary.md").read_text(encoding="utf-8"), re.MULTILINE)
NAMED = re.compile(r"`(\w+)`\s+in\s+`([\w/]+\.py)`")


def test_there_are_entries():
    assert len(ENTRIES) >= 50
    titles = [entry.partition(".**")[0] for entry in ENTRIES]
    assert sorted(set(titles)) == sorted(titles)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.partition(".**")[0].strip("*"))
def test_an_entry_has_a_home(entry: str):
    assert re.search(r"\]\([\w./#'-]+\)|`[\w/]+(?:\.py|/)`|`[\w.]+`", entry), "name the file, or link to the page"
    for name, file in NAMED.findall(entry):
        source = (ROOT / "mass_jax" / file).read_text(encoding="utf-8")
        assert re.search(rf"\b{name}\b", source), f"{file} has no {name}"
