"""The pages that a stranger looks for name files, commands and names that are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
FILE = re.compile(r"`([\w./-]+/[\w./-]*|[\w.-]+\.(?:py|md|cff|yml))`")
OF_A_RUN = re.compile(r"runs/|~/|<")
NAME = re.compile(r"`(\w+)`(?:, `\w+`)*(?: and `\w+`)? (?:in|of|\()\s*\(?`([\w/.]+\.py)`")


def text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def exists(path: str) -> bool:
    """Whether it is there, below the root or the package; a bare name may be anywhere."""
    if "/" not in path.rstrip("/"):
        folders = ("mass_jax", "experiments", "tests", "configs", "docs")
        return (ROOT / path).exists() or any(list((ROOT / folder).rglob(path)) for folder in folders)
    return any((base / path).exists() for base in (ROOT, ROOT / "mass_jax"))


@pytest.mark.parametrize("page", PAGES)
def test_files_that_a_page_names_are_there(page: str):
    named = {name for name in FILE.findall(text(page)) if not OF_A_RUN.match(name)}
    assert sorted(name for name in named if not exists(name)) == []


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str):
    links = {link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text(page)) if "://" not in link}
    assert sorted(link for link in links if not (ROOT / link).exists()) == []


@pytest.mark.parametrize("page", PAGES)
def test_targets_that_a_page_names_are_in_the_makefile(page: str):
    makefile = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:`|^)make ([a-z0-9-]+)", text(page), re.MULTILINE))
    assert sorted(named - makefile) == []


def test_names_that_contributors_are_sent_to_are_in_their_files():
    found = NAME.findall(text("CONTRIBUTING.md"))
    assert len(found) >= 8, "the page is written in another way: look for its names in another way"
    for name, file in found:
        [path] = [*ROOT.glob(file), *((ROOT / "tests").rglob(file) if "/" not in file else ())]
        assert re.search(rf"\b{name}\b", path.read_text(encoding="utf-8")), f"{file} has no {name}"
