"""Modules of your own: what ``config.plugins`` names is imported before a config is checked.

Such a module registers what the config then uses: an arm, a source of practice, a scorer, an estimator, a domain. The
names are in the config, and so in ``config.json``: every process, a resumed run and a loaded model import the same
modules.
"""

import hashlib
import importlib
from collections.abc import Sequence
from pathlib import Path

from mass_jax.errors import InputError


def load(names: Sequence[str]) -> tuple[str, ...]:
    """Imports the modules of these names, and returns them.

    Raises:
      InputError: one cannot be imported.
    """
    for name in names:
        try:
            importlib.import_module(name)
        except InputError:
            raise
        except Exception as error:  # whatever the module does
            raise InputError(
                f"plugins: the module {name!r} cannot be imported ({type(error).__name__}: {error}). Name modules that "
                "Python finds from here, such as 'my_folder.my_module'."
            ) from error
    return tuple(names)


def version(names: Sequence[str]) -> str:
    """16 hexadecimal digits of the plugins' source files, of a package all: other code, other digits."""
    digest = hashlib.sha256()
    for name in load(names):
        file = Path(str(importlib.import_module(name).__file__))
        for each in sorted(file.parent.rglob("*.py")) if file.name == "__init__.py" else [file]:
            digest.update(each.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
