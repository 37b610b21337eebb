"""Writing a page or a file of tables: who reads it finds the one before or the new one, never a part."""

import os
from pathlib import Path


def replace(path: Path, text: str) -> None:
    """Writes a text file as a whole.

    Raises:
      OSError: it cannot be written, and names the file; the one before is as it was.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:  # that of a full disk names no file
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)
