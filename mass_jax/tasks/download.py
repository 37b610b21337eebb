"""Files from their public addresses, kept where other data are; what is damaged is fetched anew."""

import hashlib
import http.client
import os
import shutil
import tempfile
import urllib.request
from pathlib import Path
from typing import NamedTuple


class Address(NamedTuple):
    """A file on the web, and its SHA-256 where it is known."""

    url: str
    sha256: str | None = None


def download(address: Address, folder: Path) -> Path:
    """The file of an address in ``folder``; one that is already there is taken as it is, unless it is damaged.

    Raises:
      ConnectionError: it cannot be fetched.
      ValueError: what is fetched is damaged.
    """
    path = folder / address.url.rpartition("/")[2]
    if path.exists() and not _damage(path, address):
        return path
    folder.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=folder, prefix=f"{path.name}.")
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            try:
                with urllib.request.urlopen(address.url, timeout=60) as response:
                    shutil.copyfileobj(response, file)
                    told = response.headers.get("Content-Length")
                if told is not None and file.tell() != int(told):  # a short answer is no error to http.client
                    raise OSError(f"it broke off after {file.tell()} of {told} bytes")
            except (OSError, http.client.HTTPException) as error:
                raise ConnectionError(
                    f"{address.url} cannot be fetched ({error}): try again, or download it elsewhere and give its "
                    "folder or path as task.source."
                ) from error
        if damage := _damage(part, address):
            raise ValueError(
                f"{address.url} is not the file it was: {damage}. Try again, or give a folder with the data as "
                "task.source."
            )
        part.replace(path)  # a killed download leaves no file of this name
    finally:
        part.unlink(missing_ok=True)
    return path


def _damage(path: Path, address: Address) -> str:
    """What is wrong with a file, or an empty string: by its SHA-256 where that is known, else by its first bytes."""
    content = path.read_bytes()
    if address.sha256 is not None:
        right = hashlib.sha256(content).hexdigest() == address.sha256
        return "" if right else f"its SHA-256 should be {address.sha256}"
    if address.url.endswith(".parquet") and not (content[:4] == content[-4:] == b"PAR1"):
        return f"it is no whole parquet file but begins with {content[:40]!r}"
    return ""
