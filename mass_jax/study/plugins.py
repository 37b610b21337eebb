"""Modules of your own: what ``config.plugins`` names is imported before a config is checked.

Such a module registers what the config then uses: an arm, a source of practice, a scorer, an estimator, a domain. The
names are in the config, and so in ``config.json``: every process, a resumed run and a loaded model import the same
modules.
"""

import hashlib
import importlib
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mass_jax.adapt.sources import SOURCES
from mass_jax.adapt.weights import WEIGHTS
from mass_jax.errors import InputError, reason
from mass_jax.fields import is_of
from mass_jax.mass.scorers.registry import SCORERS
from mass_jax.metagrad import ESTIMATORS
from mass_jax.parallel.preemption import STATUSES
from mass_jax.study.arms import REGISTERED
from mass_jax.tasks.registry import DOMAINS

NAME = re.compile(r"[^\s./\\]+(\.[^\s./\\]+)*")
"""Of a module, dotted."""


def load(names: Sequence[str]) -> tuple[Path, ...]:
    """Imports the modules of these names, and returns their source files.

    Raises:
      InputError: one cannot be imported, or has no file. What it had registered until then is taken back, so that it
        says the same when it is tried again.
    """
    return tuple(map(_load, names))


def of(values: Mapping[str, Any]) -> tuple[str, ...]:
    """The names in a config's fields; none where they are no names, which the schema refuses."""
    names = values.get("plugins", ())
    return names if is_of(tuple[str, ...], names) else ()


def version(names: Sequence[str]) -> str:
    """16 hexadecimal digits of the plugins' source files, of a package all: other code, other digits."""
    digest = hashlib.sha256()
    for file in load(names):
        for each in sorted(file.parent.rglob("*.py")) if file.name == "__init__.py" else [file]:
            digest.update(each.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _load(name: str) -> Path:
    if not NAME.fullmatch(name):
        raise InputError(
            f"plugins: {name!r} is no name of a module: give names as Python imports them, such as "
            "'my_folder.my_module', or leave plugins out."
        )
    try:
        module = importlib.import_module(name)
    except (Exception, SystemExit) as error:  # whatever the module does
        if isinstance(error, SystemExit) and error.code in STATUSES.values():  # a notice came meanwhile
            raise
        _take_back()
        raise InputError(f"plugins: the module {name!r} cannot be imported: {reason(error, name)}") from error
    file = Path(getattr(module, "__file__", None) or "")
    if not file.is_file():
        raise InputError(f"plugins: the module {name!r} has no source file, by which results would know its code.")
    return file


def _take_back() -> None:
    """Takes out what modules have registered that are gone: the import of one that fails removes it."""
    tables: tuple[dict[str, Any], ...] = (DOMAINS, ESTIMATORS, SCORERS, SOURCES, WEIGHTS)
    for table in tables:
        for name, entry in list(table.items()):
            parts = [entry] if isinstance(entry, type) else [part for part in vars(entry).values() if callable(part)]
            if any(part.__module__ and part.__module__ not in sys.modules for part in parts):
                del table[name]
    for module, name in list(REGISTERED):
        if module not in sys.modules:
            del REGISTERED[module, name]
