"""What was made of GGUF files once: folders in Hugging Face's layout, with the weights dequantised."""

import hashlib
import os
import tempfile
from pathlib import Path

from mass_jax.models.pretrained import folder, gguf_tokenizer
from mass_jax.models.pretrained.errors import PretrainedError
from mass_jax.models.pretrained.gguf_file import GGUF

FORMAT = 1
"""Raise it when what is cached would come out otherwise: older caches are then left alone."""


def folder_of(path: Path, cache_dir: str | os.PathLike[str]) -> Path:
    """The folder that was made of a GGUF file, made now where it is not there.

    Raises:
      PretrainedError: the file cannot be read, or the cache cannot be written.
    """
    stat = path.stat()
    with open(path, "rb") as start:
        key = hashlib.sha256(start.read(1 << 20) + f"{FORMAT} {stat.st_size} {stat.st_mtime_ns}".encode()).hexdigest()[
            :16
        ]
    cached = Path(cache_dir).expanduser() / f"{path.stem}-{key}"
    if (cached / "config.json").is_file():
        return cached
    file = GGUF(path)
    tokenizer = gguf_tokenizer.from_gguf(file.metadata, str(path))
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cached.parent) as scratch:
            model = Path(scratch) / "model"
            tokenizer.save(model)
            folder.write(model, file.config, file.read())
            os.replace(model, cached)
    except OSError as error:
        if not (cached / "config.json").is_file():  # another process may have been faster
            raise PretrainedError(
                f"the weights of {path} cannot be cached in {cached.parent} ({error.strerror}): free some space, or "
                "give another cache_dir."
            ) from None
    return cached
