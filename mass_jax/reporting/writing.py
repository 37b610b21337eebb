"""Writing a page or a file of tables: who reads it finds the one before or the new one, never a part."""

import errno
import os
from pathlib import Path


def replace(path: Path, text: str) -> None:
    """Writes a text file as a whole.

    Raises:
      OSError: it cannot be written, and names the file; the one before is as it was.
    """
    if path.exists() and not path.is_file():  # a device would be gone
        kind = errno.EISDIR if path.is_dir() else errno.EINVAL
        raise OSError(kind, os.strerror(kind) if path.is_dir() else "it is no file of data", str(path))
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:  # that of a full disk names no file
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)
