"""Imports every module of the package where only the packages named on the command line, and theirs, are found.

Prints in JSON what each import said: null where it went well.
"""

import importlib
import importlib.metadata
import json
import re
import sys
from importlib.machinery import PathFinder
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def spelled(name: str) -> str:
    return re.split(r"[^a-z0-9-]", name.lower().replace("_", "-").replace(".", "-"))[0]


def with_theirs(names: list[str]) -> set[str]:
    """Installed distributions, and all that they require without an extra."""
    found: set[str] = set()
    while names:
        name = names.pop()
        if name not in found:
            found.add(name)
            try:
                requirements = importlib.metadata.requires(name) or []
            except importlib.metadata.PackageNotFoundError:  # not for this Python or system
                continue
            names += [spelled(each) for each in requirements if "extra ==" not in each]
    return found


class Allowed(PathFinder):
    """Finds Python's own modules, the project's, and those of the distributions that are allowed."""

    refused: frozenset[str] = frozenset()

    @classmethod
    def find_spec(cls, fullname, path=None, target=None):  # noqa: D102
        return None if fullname.partition(".")[0] in cls.refused else super().find_spec(fullname, path, target)


def main(core: list[str]) -> None:
    allowed = with_theirs(core)
    owners = importlib.metadata.packages_distributions()
    Allowed.refused = frozenset(
        module for module, names in owners.items() if not {spelled(name) for name in names} & {*allowed, "mass-jax"}
    )
    sys.meta_path[sys.meta_path.index(PathFinder)] = Allowed
    sys.path.insert(0, str(ROOT))
    said: dict[str, str | None] = {}
    for file in sorted((ROOT / "mass_jax").rglob("*.py")):
        name = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        try:
            importlib.import_module(name)
            said[name] = None
        except ImportError as error:
            said[name] = str(error)
    print(json.dumps(said))


if __name__ == "__main__":
    main(sys.argv[1:])
