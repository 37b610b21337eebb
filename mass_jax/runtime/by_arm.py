"""A file of a run that keeps something of each arm."""

import json
import os
from pathlib import Path
from typing import Any

from mass_jax import records
from mass_jax.errors import InputError
from mass_jax.runtime.workdir import write_atomically


def read(path: Path, way_out: str) -> dict[str, Any]:
    """What is kept, by arm; nothing where there is no file.

    Args:
      path: the file.
      way_out: what to do about a damaged one, for the error.

    Raises:
      InputError: the file is damaged.
    """
    if not path.exists():
        return {}
    try:
        found = records.loads(path.read_text(encoding="utf-8"))["arms"]
        if not isinstance(found, dict):
            raise ValueError("it has no arms")
        for arm, kept in found.items():
            if not isinstance(kept, dict):  # null, say, which would be read as if nothing were kept
                raise ValueError(f"of {arm!r} it has {json.dumps(kept)}")
        return found
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"'{path}' cannot be read ({error}): {way_out}") from None


def ready(path: Path, way_out: str) -> None:
    """Looks whether something can be kept there, before it is made; arguments and errors as `read`."""
    read(path, way_out)
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"'{path}' cannot be written: make its folder writable, or copy the run and name the copy.")


def write(path: Path, arm: str, value: dict[str, Any], way_out: str) -> Path:
    """Keep what JSON can hold of an arm beside that of others; arguments and errors as `read`; returns the file."""
    write_atomically(path, records.dumps({"arms": read(path, way_out) | {arm: value}}, indent=1) + "\n")
    return path
