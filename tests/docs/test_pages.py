"""The pages that a stranger looks for name files, commands and names that are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))
PAGES = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", *DOCS)
COMMANDS = (*PAGES, "Makefile", ".github/workflows/ci.yml")
FILE = re.compile(r"`([\w./-]+/[\w./-]*|[\w.-]+\.(?:py|md|cff|yml))`")
OF_A_RUN = re.compile(r"runs/|~/|\./|<|.*\.\.\.")
SUFFIXES = (".py", ".md", ".cff", ".yml", ".sh", ".css", ".toml", "/")
MODULE = re.compile(r"python(?:3|\.py)? (?:-P )?-m ((?:mass_jax|experiments)[\w.]*)((?:[^\n`#]|\\\n)*)")
DOTTED = re.compile(r"(?<![\w./-])((?:mass_jax|experiments)(?:\.\w+)+)")
FLAG = re.compile(r"(?<=\s)--([\w]+)(?=[=\s]|$)")
NAME = re.compile(r"`(\w+)`(?:, `\w+`)*(?: and `\w+`)? (?:in|of|\()\s*\(?`([\w/.]+\.py)`")


STARTED_BY_OTHERS = {
    "mass_jax.tasks.sandbox.worker",
    "experiments.benchmarks.peers.worker",
    "experiments.benchmarks.adapting.ours",
    "experiments.benchmarks.adapting.theirs",
}
"""Programs that no person starts."""


def module_file(name: str) -> Path | None:
    """The file of a dotted module; of a package its ``__main__.py`` or ``__init__.py``."""
    place = ROOT.joinpath(*name.split("."))
    candidates = (place.with_suffix(".py"), place / "__main__.py", place / "__init__.py")
    return next((path for path in candidates if path.is_file()), None)


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
    # `solve/accuracy` is a metric and `org/model` is on a hub: a file has a known ending or lies in a folder of ours.
    named = {name for name in named if name.endswith(SUFFIXES) or exists(name.partition("/")[0] + "/")}
    assert sorted(name for name in named if not exists(name)) == []


@pytest.mark.parametrize("page", COMMANDS)
def test_commands_are_there_with_their_flags(page: str):
    """Each ``python -m`` names a program, and each of its flags is declared in it or for all mains."""
    shared = "".join(text(f"mass_jax/runtime/{name}.py") for name in ("command_line", "program"))
    for module, arguments in MODULE.findall(text(page)):
        path = module_file(module.rstrip("."))
        assert path is not None, f"there is no program {module}"
        source = path.read_text(encoding="utf-8") + shared
        missing = [flag for flag in FLAG.findall(arguments) if not re.search(rf"[\"'](?:--)?{flag}[\"']", source)]
        assert missing == [], f"{module} has no such flags"


def test_every_program_is_told_of():
    """By a page or the Makefile, which then names its flags rightly, too."""
    told = "".join(map(text, COMMANDS))
    paths = [path for folder in ("experiments", "mass_jax") for path in (ROOT / folder).rglob("*.py")]
    mains = {path.relative_to(ROOT).with_suffix("") for path in paths if '__name__ == "__main__"' in path.read_text()}
    names = {".".join(main.parts).removesuffix(".__main__") for main in mains} - STARTED_BY_OTHERS
    assert sorted(name for name in names if not re.search(rf"\b{re.escape(name)}\b", told)) == []


@pytest.mark.parametrize("page", COMMANDS)
def test_dotted_names_are_there(page: str):
    """A dotted name is a module, or a name in one."""
    for name in DOTTED.findall(text(page)):
        parts = name.split(".")
        length = next(n for n in range(len(parts), 0, -1) if module_file(".".join(parts[:n])) or n == 1)
        path = module_file(".".join(parts[:length]))
        assert path is not None, f"there is no module {parts[0]}"
        rest, source = parts[length:], path.read_text(encoding="utf-8")
        assert not rest or re.search(rf"\b{rest[0]}\b", source), f"there is no {name}"


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str):
    links = {link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text(page)) if "://" not in link}
    assert sorted(link for link in links if not (ROOT / page).parent.joinpath(link).exists()) == []


@pytest.mark.parametrize("page", PAGES)
def test_targets_that_a_page_names_are_in_the_makefile(page: str):
    makefile = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:`|^)make ([a-z0-9-]+)", text(page), re.MULTILINE))
    assert sorted(named - makefile) == []


def test_the_layout_has_all_of_the_package():
    parts = {path.name for path in (ROOT / "mass_jax").iterdir() if path.suffix == ".py" or list(path.glob("*.py"))}
    layout = text("README.md").partition("## Layout")[2].partition("\n## ")[0]
    assert sorted(name for name in parts - {"__init__.py"} if f"`mass_jax/{name}" not in layout) == []


def test_names_that_contributors_are_sent_to_are_in_their_files():
    found = NAME.findall(text("CONTRIBUTING.md"))
    assert len(found) >= 8, "the page is written in another way: look for its names in another way"
    for name, file in found:
        [path] = [*ROOT.glob(file), *((ROOT / "tests").rglob(file) if "/" not in file else ())]
        assert re.search(rf"\b{name}\b", path.read_text(encoding="utf-8")), f"{file} has no {name}"
