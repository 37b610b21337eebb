"""Both pages in a browser as narrow as a phone: nothing is complained of, and nothing is wider than it."""

from pathlib import Path
from typing import Any

import pytest

from mass_jax.reporting import comparison
from mass_jax.reporting.report import write_report
from mass_jax.reporting.run import load_run
from tests.browser import complaints


@pytest.mark.parametrize("name", ["report", "comparison"])
def test_a_page_can_be_read_on_a_phone(browser: Any, workdir: Path, name: str):
    path = write_report(workdir)
    if name == "comparison":
        path.write_text(comparison.page([load_run(workdir)]), encoding="utf-8")
    browser.get(path.as_uri())
    assert len(browser.find_elements("css selector", "section")) >= 5
    for folded in browser.find_elements("css selector", "summary"):
        folded.click()  # what is folded away counts too
    assert complaints(browser) == []
    figures = browser.find_elements("css selector", "svg[role=img]")
    assert figures and all(figure.get_attribute("aria-label") for figure in figures)
