"""A browser of the system, as wide as a phone, for tests of pages. They are skipped where there is none."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

BROWSER = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
DRIVER = shutil.which("chromedriver")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Selenium's driver."""
    selenium = pytest.importorskip("selenium.webdriver")
    if BROWSER is None or DRIVER is None:
        pytest.skip("there is no chromium with its driver here")
    options = selenium.ChromeOptions()
    options.binary_location = BROWSER
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=360,800"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    found = selenium.Chrome(options, selenium.ChromeService(DRIVER))
    yield found
    found.quit()


def complaints(found: Any) -> list[str]:
    """What the page that is open wrote to the browser's console, and what of it is wider than the window."""
    written = [entry["message"] for entry in found.get_log("browser")]
    wide = found.execute_script("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return written + ([f"the page is {wide} pixels wider than the window"] if wide > 0 else [])
