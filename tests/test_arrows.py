"""The arrows point one way: experiments → study → adapt → mass → {metagrad, models, tasks} → parallel → types.

A domain of `tasks` imports nothing of another one.
"""

import ast
import graphlib
import re
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]

# What each part may import of the others. A part may always import itself. The part mass_jax is the package's version.
ARROWS: dict[str, set[str]] = {
    "errors": set(),
    "types": set(),
    "extras": set(),
    "fields": {"extras", "errors"},
    "records": {"errors"},
    "quantities": set(),
    "results": {"extras", "errors"},
    "parallel": {"types", "errors"},
    "metagrad": {"types"},
    "models": {"extras", "types", "errors", "parallel"},
    "tasks": {"extras", "types", "errors", "fields"},
    "mass": {"extras", "types", "errors", "quantities", "fields", "parallel", "metagrad", "models", "tasks"},
    "adapt": {"extras", "types", "errors", "fields", "parallel", "models", "tasks", "mass", "runtime"},
    "planning": {"types", "errors", "quantities", "parallel", "models", "tasks", "mass"},
    "runtime": {"extras", "types", "errors", "records", "results", "quantities", "parallel"},
    "reporting": {"extras", "records", "quantities", "results"},
    "study": {
        *("extras", "types", "errors", "fields", "records", "results", "quantities", "parallel", "metagrad", "models"),
        *("tasks", "mass", "planning", "runtime", "reporting", "adapt"),
    },
    "guard": {
        "extras",
        "types",
        "errors",
        "fields",
        "records",
        "parallel",
        "models",
        "tasks",
        "mass",
        "adapt",
        "runtime",
    },
    "inference": {
        *("extras", "types", "errors", "fields", "records", "parallel", "models", "tasks", "mass", "adapt", "guard"),
        *("runtime", "study", "metagrad"),
    },
    "serving": {"extras", "types", "errors", "fields", "parallel", "models", "tasks", "mass", "runtime", "inference"},
    "configs": set(),
    "experiments": {
        *("extras", "quantities", "guard", "inference", "serving"),
        *("types", "errors", "records", "parallel", "metagrad", "models", "tasks", "mass", "planning", "runtime"),
        *("reporting", "study", "adapt", "configs"),
    },
    "mass_jax": {
        "errors",
        "tasks",
        "adapt",
        "study",
        "inference",
    },  # for type checkers; at run time when a name is first used
}

KIN = {"mass_jax.tasks.candidates": "mass_jax.tasks.arithmetic.rules"}
"""What a domain may have of another one: these two are about the same rules."""


def part_of(module: str) -> str | None:
    """The part of the project that a dotted module name belongs to, or None for other libraries."""
    head, _, rest = module.partition(".")
    if head == "mass_jax":
        return rest.partition(".")[0] or "mass_jax"
    return head if head in ("experiments", "configs", "tests") else None


def imported_modules(source: str, module: str, is_package: bool, members: bool = False) -> set[str]:
    """The dotted names that a module imports, at its top or inside its functions; relative ones made absolute.

    With ``members``, the names that it takes from them too.
    """
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module.split(".")
                package = package[: len(package) - node.level + is_package]
                base = ".".join([*package, base] if base else package)
            # `from mass_jax import metagrad` imports the part, not the package's own names.
            whole = members or base == "mass_jax"
            names.update(f"{base}.{alias.name}" if whole else base for alias in node.names)
    return names


def violations(source: str, module: str, is_package: bool = False) -> list[str]:
    """A sentence for every import of ``source`` that goes against the arrows."""
    part = part_of(module)
    assert part in ARROWS, f"{module} lies in a new part of the project: give it its arrows in {Path(__file__).name}."
    allowed = ARROWS[part] | {part}
    return [
        f"{module} imports {name}, but {part} may import only {sorted(ARROWS[part]) or 'other libraries'}."
        for name in sorted(imported_modules(source, module, is_package))
        if (target := part_of(name)) is not None and target not in allowed
    ]


class File(NamedTuple):
    """One module of the project."""

    source: str
    is_package: bool


def project_files() -> dict[str, File]:
    """The project's modules by their dotted names."""
    found = {}
    for path in sorted(path for top in ("mass_jax", "experiments", "configs") for path in (ROOT / top).rglob("*.py")):
        *folders, last = path.relative_to(ROOT).with_suffix("").parts
        is_package = last == "__init__"
        module = ".".join(folders if is_package else [*folders, last])
        found[module] = File(path.read_text(encoding="utf-8"), is_package)
    return found


def cycle(files: dict[str, File]) -> list[str]:
    """Modules that import each other in a ring, at their top or inside of functions; none is what should be."""
    graph = {}
    for module, file in files.items():
        names = imported_modules(file.source, module, file.is_package, members=True)
        # `from a.b import c` imports the module a.b.c where there is one, else a.b.
        graph[module] = {name if name in files else name.rpartition(".")[0] for name in names} & files.keys() - {module}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def of_another_domain(files: dict[str, File]) -> list[str]:
    """A sentence for everything that a domain imports of another one, beside `KIN`."""
    domains = {name.removesuffix(".domain") for name in files if re.fullmatch(r"mass_jax\.tasks\.\w+\.domain", name)}

    def domain_of(name: str) -> str | None:
        folder = ".".join(name.split(".")[:3])
        return folder if folder in domains else None

    return [
        f"{module} imports {name} of another domain: what domains share lies beside them in mass_jax/tasks."
        for module, file in files.items()
        if (own := domain_of(module)) is not None
        for name in sorted(imported_modules(file.source, module, file.is_package, members=True) - {KIN.get(own)})
        if domain_of(name) not in (own, None) and not name.startswith(f"{KIN.get(own)}.")
    ]


def test_arrows_hold():
    found = [
        sentence
        for module, file in project_files().items()
        for sentence in violations(file.source, module, file.is_package)
    ]
    assert not found, "\n".join(found)


def test_no_two_files_import_each_other():
    assert (ring := cycle(project_files())) == [], " imports ".join(reversed(ring))


def test_a_domain_imports_nothing_of_another():
    found = of_another_domain(project_files())
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("domain", "source", "count"),
    [
        ("programs", "from mass_jax.tasks.arithmetic.rules import Rule", 1),
        ("programs", "from mass_jax.tasks import arithmetic, worked", 1),
        ("candidates", "from ..arithmetic import documents, rules", 1),
        ("candidates", "from mass_jax.tasks.arithmetic.rules import Rule\nfrom mass_jax.tasks.worked import ANSWER", 0),
        ("arithmetic", "from mass_jax.tasks.arithmetic import documents", 0),
    ],
)
def test_what_is_of_another_domain_is_found(domain: str, source: str, count: int):
    files = {f"mass_jax.tasks.{name}.domain": File("", False) for name in ("arithmetic", "candidates", "programs")}
    files[f"mass_jax.tasks.{domain}.task"] = File(source, False)
    assert len(of_another_domain(files)) == count


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("from p import b", "from p.a import f"),
        ("import p.b", "def f():\n  from . import a"),
        ("from p.b import g", "from .a import f"),
    ],
)
def test_a_ring_is_found(a: str, b: str):
    files = {"p": File("", True), "p.a": File(a, False), "p.b": File(b, False)}
    assert sorted(set(cycle(files))) == ["p.a", "p.b"]
    assert cycle(files | {"p.b": File("import os", False)}) == []


def test_every_folder_has_its_arrows():
    folders = {path.parent.name for path in (ROOT / "mass_jax").glob("*/__init__.py")}
    assert folders <= set(ARROWS), f"Give these folders their arrows: {sorted(folders - set(ARROWS))}."


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("mass_jax.metagrad.adjoint", "from mass_jax.models import lora"),
        ("mass_jax.metagrad.adjoint", "from mass_jax import models"),
        ("mass_jax.metagrad.adjoint", "import mass_jax.models.lora as lora"),
        ("mass_jax.metagrad.adjoint", "from ..models import lora"),
        ("mass_jax.metagrad.adjoint", "from .. import models"),
        ("mass_jax.metagrad.adjoint", "def f():\n  from mass_jax.mass import step"),
        ("mass_jax.models.lora", "from mass_jax.tasks import arithmetic"),
        ("mass_jax.mass.step", "import mass_jax.study.meta"),
        ("mass_jax.mass.step", "from mass_jax.adapt.run import Recipe"),
        ("mass_jax.adapt.run", "from mass_jax.study.arms import Arm"),
        ("mass_jax.mass.step", "from mass_jax.reporting import stats"),
        ("mass_jax.study.meta", "from experiments import demo"),
        ("mass_jax.reporting.report", "from mass_jax.types import Array"),
        ("mass_jax.types", "from . import models"),
        ("configs.demo", "from mass_jax.models import lora"),
        ("mass_jax.tasks.arithmetic", "from tests import helpers"),
    ],
)
def test_checker_finds_a_violation(module: str, source: str):
    assert len(violations(source, module)) == 1


def test_checker_resolves_relative_imports_of_a_package():
    assert violations("from .adjoint import Adjoint", "mass_jax.metagrad", is_package=True) == []
    assert len(violations("from ..models import lora", "mass_jax.metagrad", is_package=True)) == 1
    assert len(violations("from .models import lora", "mass_jax", is_package=True)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("mass_jax.metagrad.adjoint", "import jax\nfrom mass_jax.types import Array\nfrom .inner import run"),
        ("mass_jax.mass.step", "from mass_jax import metagrad, models, tasks, types"),
        ("experiments.demo", "from mass_jax.reporting import stats\nfrom mass_jax.study import meta"),
    ],
)
def test_checker_lets_an_allowed_import_pass(module: str, source: str):
    assert violations(source, module) == []
