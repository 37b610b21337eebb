"""setup.py names what the code imports, and nothing else; the version is said in one place."""

import ast
import functools
import itertools
import json
import os
import re
import runpy
import subprocess
import sys
import types
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

import mass_jax
from mass_jax import extras

ROOT = Path(__file__).resolve().parents[1]
OWN = {"mass_jax", "experiments", "configs", "tests"}
NAMES = {"absl": "absl-py", "orbax": "orbax-checkpoint", "sklearn": "scikit-learn", "yaml": "pyyaml"}
"""Packages by what is imported of them, where that is another name."""
NOT_IMPORTED = {"array-record"}  # tensorflow_datasets writes and reads this format by it
CORE = ("mass_jax.metagrad", "mass_jax.models", "mass_jax.parallel", "mass_jax.types", "mass_jax.errors")
BROUGHT = {"pydantic-core", "tensorstore"}  # of one version with pydantic, which names it; what orbax writes with


@pytest.fixture(scope="module")
def packaging() -> dict[str, Any]:
    """What setup.py tells setuptools, which need not be installed."""
    said: dict[str, Any] = {}
    stand_in = types.SimpleNamespace(setup=lambda **words: said.update(words), find_packages=lambda **words: [])
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "setuptools", stand_in)
        runpy.run_path(str(ROOT / "setup.py"))
    return said


def package(text: str) -> str:
    """The package's name, in one spelling, at the start of a requirement or of a dotted module."""
    name = re.split(r"[^A-Za-z0-9_-]", text)[0]
    return NAMES.get(name, name).lower().replace("_", "-")


def packages(requirements: Iterable[str]) -> set[str]:
    return {package(requirement) for requirement in requirements}


@functools.cache
def imported(source: str) -> set[str]:
    """Packages that a module imports, at its top or inside its functions; Python's own library is none."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(str(node.module).partition(".")[0])
    return {package(name) for name in names - OWN - sys.stdlib_module_names}


def imported_below(*folders: str) -> set[str]:
    files = (file for folder in folders for file in (ROOT / folder).rglob("*.py"))
    return set().union(*(imported(file.read_text(encoding="utf-8")) for file in files))


def required(packaging: dict[str, Any], *names: str) -> set[str]:
    """What the core and some extras bring."""
    of_extras = itertools.chain.from_iterable(packaging["extras_require"][name] for name in names)
    return packages([*packaging["install_requires"], *of_extras])


def test_imports_are_named(packaging: dict[str, Any]):
    everything = required(packaging, *packaging["extras_require"])
    assert imported_below("mass_jax", "configs") - required(packaging, "study", "eval", "serve") == set()
    assert imported_below("experiments") - everything == set()
    assert imported_below("tests") - required(packaging, "test", "parity", "e2e") - BROUGHT == set()


def test_requirements_are_used_and_named_once(packaging: dict[str, Any]):
    named = [package(each) for each in [*packaging["install_requires"], *packaging["extras_require"]["study"]]]
    assert sorted(named) == sorted(set(named))
    assert set(named) - imported_below("mass_jax", "experiments", "configs") == NOT_IMPORTED


@pytest.mark.parametrize("extra", extras.EXTRAS)
def test_all_of_an_extra_is_looked_for(packaging: dict[str, Any], extra: str):
    assert packages(extras.EXTRAS[extra]) == packages(packaging["extras_require"][extra])


def test_without_extras_the_core_is_imported_and_the_rest_is_a_sentence(packaging: dict[str, Any]):
    """In a process that finds the core's requirements, and what these require, and nothing else that is installed."""
    words = [sys.executable, "tests/program_core_only.py", *sorted(required(packaging))]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"JAX_PLATFORMS": "cpu"})
    assert done.returncode == 0, done.stderr
    said: dict[str, str | None] = json.loads(done.stdout)
    refused = {name for name, sentence in said.items() if sentence is not None}
    assert all("pip install 'mass_jax[study]'" in str(said[name]) for name in refused), said
    core = {name for name in said if name.startswith(CORE)} - {name for name in said if "pretrained" in name}
    assert not core & refused
    assert {"mass_jax.mass.step", "mass_jax.tasks.base", "mass_jax.models.pretrained", "mass_jax.reporting"} <= refused


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import yaml.nodes", {"pyyaml"}),
        ("def f():\n  from math_verify import parse", {"math-verify"}),
        ("import os, sys\nfrom . import b\nfrom mass_jax.models import lora", set()),
    ],
)
def test_what_is_an_import(source: str, found: set[str]):
    assert imported(source) == found


def test_data_files_are_in_the_package(packaging: dict[str, Any]):
    listed = {
        file
        for part, patterns in packaging["package_data"].items()
        for pattern in patterns
        for file in (ROOT / part.replace(".", "/")).glob(pattern)
    }
    there = {file for file in (ROOT / "mass_jax").rglob("*") if file.is_file() and "__pycache__" not in file.parts}
    assert {file for file in there if file.suffix != ".py"} == listed


def test_commands_are_functions(packaging: dict[str, Any]):
    for entry in packaging["entry_points"]["console_scripts"]:
        module, function = entry.partition(" = ")[2].split(":")
        source = ROOT.joinpath(*module.split(".")).with_suffix(".py").read_text(encoding="utf-8")
        assert re.search(rf"^def {function}\(", source, re.MULTILINE), f"there is no {module}.{function}"


def test_every_folder_of_modules_is_a_package():
    assert all((file.parent / "__init__.py").exists() for file in (ROOT / "mass_jax").rglob("*.py"))


def test_one_version(packaging: dict[str, Any]):
    assert packaging["version"] == mass_jax.__version__
    assert f'version: "{mass_jax.__version__}"' in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
