"""The page at ``/``: what a browser may run of it; and in a browser, a problem asked and answered."""

import base64
import hashlib
import re
from typing import Any

import pytest
from starlette.testclient import TestClient

from mass_jax.inference.adapter import MassAdapter
from mass_jax.inference.options import Options
from mass_jax.serving.app import application
from mass_jax.serving.page import PAGE
from tests.browser import complaints
from tests.serving.conftest import Served


def test_the_page_is_served_with_a_policy_that_fits_it(adapter: MassAdapter):
    with TestClient(application(adapter, key="k"), base_url="http://localhost") as client:
        response = client.get("/")
    assert response.status_code == 200 and response.headers["content-type"].startswith("text/html")
    policy = dict(rule.split(" ", 1) for rule in response.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'" and policy["connect-src"] == "'self'"
    for tag, rule in (("script", "script-src"), ("style", "style-src")):
        (part,) = re.findall(rf"<{tag}>(.*?)</{tag}>", response.text, re.DOTALL)
        assert policy[rule] == f"'sha256-{base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()}'"


def test_nothing_in_it_goes_round_the_policy():
    assert (
        "http" not in PAGE and "innerHTML" not in PAGE and "insertAdjacent" not in PAGE and "document.write" not in PAGE
    )
    assert not re.search(r"\s(?:on\w+|style|src)=", PAGE), "no handlers, styles or files outside of what is hashed"


def test_every_field_has_its_label():
    fields = re.findall(r"<(?:input|textarea) id=\"(\w+)\"", PAGE)
    assert len(fields) == 5 and sorted(re.findall(r"<label for=\"(\w+)\"", PAGE)) == sorted(fields)


def test_a_problem_is_asked_and_answered(browser: Any, served: Served, adapter: MassAdapter, texts: list[str]):
    from selenium.webdriver.support.ui import WebDriverWait

    def shown(name: str) -> str:
        return browser.find_element("id", name).text

    def ask(problem: str, end: str) -> None:
        field = browser.find_element("id", "problem")
        field.clear()
        field.send_keys(problem)
        browser.find_element("id", "ask").click()
        WebDriverWait(browser, 300).until(lambda _: shown(end) and browser.find_element("id", "ask").is_enabled())

    expected = adapter.adapt(texts[0], Options(seed=0))
    browser.get(served.url)
    ask(texts[0], "state")
    assert shown("state").startswith(f"Done: {expected.tokens} tokens in")
    assert shown("before") == expected.answer_before and shown("after") == expected.answer
    assert shown("update") == ("made" if expected.updated else f"none: {expected.why}")
    verdict = expected.verdict
    assert shown("guard").startswith("none" if verdict is None else verdict.outcome)
    items = browser.find_elements("css selector", "#practice li")
    assert len(items) == len(expected.practice)
    for item, used in zip(items, expected.practice, strict=True):
        assert (used.practice.prompt or "(malformed)") in item.text and used.left_out in item.text
        bar = item.find_element("tag name", "meter")
        assert float(bar.get_property("value")) == pytest.approx(used.weight, abs=1e-5)
        assert bar.accessible_name.startswith("Weight of example ")
    rows = browser.find_elements("css selector", "#phases tr")
    assert [row.find_elements("tag name", "td")[1].text for row in rows] == [
        str(each.tokens) for each in expected.phases
    ]
    assert browser.switch_to.active_element.get_attribute("id") == "answers", "where a screen reader goes on"
    assert complaints(browser) == []
    ask("<b>no such word</b>", "fault")
    assert "'<b>no such word</b>' cannot be read" in shown("fault")
    assert browser.switch_to.active_element.get_attribute("id") == "problem"
