"""The order of the tests: those that take longest begin first, so that no process is left with one at the end."""

import gc

import pytest

LONGEST = (
    "test_smoke.py",
    "test_processes.py",
    "test_estimators.py",
    "test_mesh.py",
    "test_attribution.py",
    "test_harness.py",
    "test_study.py",
    "test_source.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in LONGEST)


def pytest_collection_finish() -> None:
    # Programs are made of very many objects that live on: with Python's own settings every seventh second of the tests
    # went into looking through them for garbage.
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000)
