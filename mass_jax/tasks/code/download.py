"""MBPP from its public address, kept where other data are."""

import os
import shutil
import tempfile
import urllib.request
from pathlib import Path

from mass_jax.tasks.code.data import MBPP_URL

FOLDER = Path("~/.cache/mass_jax/code")


def mbpp(folder: Path = FOLDER) -> Path:
    """The file; fetched if it is not there yet. A fetch that is killed leaves nothing that would be read.

    Raises:
      ConnectionError: it cannot be fetched.
    """
    path = folder.expanduser() / "mbpp.jsonl"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=path.parent, prefix="mbpp.")
    try:
        with os.fdopen(handle, "wb") as file, urllib.request.urlopen(MBPP_URL, timeout=60) as response:
            shutil.copyfileobj(response, file)
        os.replace(part, path)
    except OSError as error:
        raise ConnectionError(
            f"{MBPP_URL} cannot be fetched ({error}): try again, or download it elsewhere and give its path as "
            "task.source."
        ) from error
    finally:
        Path(part).unlink(missing_ok=True)
    return path
