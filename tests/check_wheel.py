"""Hold a wheel that is installed in a folder against the checkout, and import all of it from there.

`make wheel` runs this, no test does: ``PYTHONPATH=FOLDER python -P tests/check_wheel.py FOLDER``.
"""

import importlib
import importlib.metadata
import sys
from pathlib import Path

from mass_jax import extras

ROOT = Path(__file__).resolve().parents[1]


def files(folder: Path) -> set[str]:
    """The files below a folder, but what the interpreter makes of them."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {path.as_posix() for path in found if "__pycache__" not in path.parts}


def module(file: str) -> str:
    """The module that a file of the package is."""
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def main(target: Path) -> None:
    """Check what is installed in ``target``, and import it."""
    there, here = files(target), {f"mass_jax/{file}" for file in files(ROOT / "mass_jax")}
    installed = {file for file in there if ".dist-info/" not in file}
    if missing := here - installed:
        raise SystemExit(f"The wheel lacks {', '.join(sorted(missing))}: see packages and package_data in setup.py.")
    if surplus := installed - here:
        raise SystemExit(f"The wheel has {', '.join(sorted(surplus))}, which the checkout has not.")
    modules = sorted(module(file) for file in here if file.endswith(".py"))
    waiting = []
    for name in modules:
        try:
            found = Path(str(importlib.import_module(name).__file__))
        except extras.MissingExtraError:
            waiting.append(name)
            continue
        if target not in found.parents:
            raise SystemExit(f"{name} was imported from {found}: put {target} on PYTHONPATH.")
    said, version = importlib.metadata.version("mass_jax"), importlib.import_module("mass_jax").__version__
    if said != version:
        raise SystemExit(f"The wheel says that it is {said}, and mass_jax.__version__ is {version}.")
    imported, beside = len(modules) - len(waiting), len(here) - len(modules)
    print(f"mass_jax {version}: {imported} modules imported, {beside} files beside them")
    print(f"These need an extra that is not installed: {', '.join(waiting) or 'none'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
