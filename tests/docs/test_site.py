"""The site has every page of the documentation and no other; where the extra `docs` is installed, it is built."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_the_navigation_has_every_page_once():
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2].partition("\n\n")[0]
    pages = [path.relative_to(ROOT).as_posix() for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]]
    assert sorted(re.findall(r"\S+\.md$", navigation, re.MULTILINE)) == sorted(pages)


def test_it_is_built_without_a_warning():
    pytest.importorskip("material", reason="pip install '.[docs]' brings what builds the site")
    pytest.importorskip("mkdocstrings", reason="pip install '.[docs]' brings what builds the site")
    installed = [f"VENV={sys.prefix}", f"--old-file={sys.prefix}/.with-docs"]
    done = subprocess.run(["make", *installed, "site"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    reference = (ROOT / "build/site/docs/api/package.html").read_text(encoding="utf-8")
    assert 'id="mass_jax.MassAdapter.adapt"' in reference
