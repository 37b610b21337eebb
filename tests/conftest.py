"""Long tests begin first, so that no process is left with one at the end; garbage is looked for seldom."""

import signal
from pathlib import Path

import pytest

from tests import garbage
from tests.browser import browser

__all__ = ["browser"]  # a fixture of all tests

LONGEST = (
    "test_smoke.py",
    "parallel/test_processes.py",
    "mass/test_attribution.py",
    "mass/test_mesh.py",
    "metagrad/test_estimators.py",
    "study/test_meta.py",
    "study/test_harness.py",
    "tasks/mathematics/test_grading.py",
    "models/pretrained/test_source.py",
    "benchmarks/test_estimators.py",
    "test_configs.py",
    "study/test_study.py",
    "study/test_earlier.py",
    "test_extending.py",
)
"""Longest first; of those that take less only files that would be among the last."""
PLACES = {Path(__file__).parent / name: place for place, name in enumerate(LONGEST)}


def pytest_configure() -> None:
    # A shell has what it starts in the background ignore SIGINT, and so would every program that a test interrupts.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: PLACES.get(item.path, len(LONGEST)))


def pytest_collection_finish() -> None:
    garbage.seldom()
