"""What was made of GGUF files once: the tokenizer, the architecture, and the dequantised weights.

The weights lie as they are used, a file a parameter, so that loading them is no more than mapping them into memory: on
a CPU they are the parameters, and only pages that are read take memory.
"""

import functools
import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.progress import Progress

from mass_jax.models.config import ModelConfig
from mass_jax.models.pretrained import families, folder, gguf_tokenizer
from mass_jax.models.pretrained.errors import PretrainedError
from mass_jax.models.pretrained.gguf_file import GGUF
from mass_jax.parallel import hosts
from mass_jax.types import Params, PyTree

FORMAT = 2
"""Raise it when what is cached would come out otherwise: older caches are then left alone."""
CONFIG = "config.json"
"""Comes last: a folder without it is not complete."""


def folder_of(path: Path, cache_dir: str | os.PathLike[str]) -> Path:
    """The folder that was made of a GGUF file, made now where it is not there.

    It holds ``config.json`` and the tokenizer in Hugging Face's layout, and the weights for `read`.

    Raises:
      PretrainedError: the file cannot be read, or the cache cannot be written.
    """
    cached = Path(cache_dir).expanduser() / f"{path.stem}-{_key(_state(path))}"
    if (cached / CONFIG).is_file():
        return cached
    file = GGUF(path)
    if len(file.parts) > 1:
        cached = cached.with_name(f"{path.stem}-{_key(*map(_state, file.parts))}")
        if (cached / CONFIG).is_file():
            return cached
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cached.parent) as scratch:
            _write(file, Path(scratch) / "model")
            os.replace(Path(scratch) / "model", cached)
    except OSError as error:
        if not (cached / CONFIG).is_file():  # another process may have been faster
            raise PretrainedError(
                f"the weights of {path} cannot be cached in {cached.parent} ({error.strerror}): free some space, or "
                "give another cache_dir."
            ) from None
    return cached


def holds(cached: Path) -> bool:
    """Whether a folder is one of `folder_of`, and not one in Hugging Face's layout."""
    return _file(cached, ("embed",)).is_file()


def read(cached: Path, config: ModelConfig, dtype: str, sharding: PyTree | None) -> Params:
    """The parameters in a folder of `folder_of`; arguments as of `folder.read`.

    Raises:
      PretrainedError: the folder is damaged.
    """

    def one(path: Sequence[Any], shape: jax.ShapeDtypeStruct, place: Any) -> jax.Array:
        file = _file(cached, tuple(key.key for key in path))
        try:
            array = np.load(file, mmap_mode="r").view(np.ndarray)
        except (OSError, ValueError, EOFError) as error:
            raise _damaged(file, str(error)) from None
        if array.shape != shape.shape or array.dtype != np.float32:
            raise _damaged(file, f"it holds {array.dtype} of the shape {array.shape}")
        return hosts.place(array.astype(dtype, copy=False), place)

    shapes = folder.shapes_of(config)
    places = jax.tree.map(lambda _: None, shapes) if sharding is None else sharding
    return jax.tree_util.tree_map_with_path(one, shapes, places)


def _write(file: GGUF, target: Path) -> None:
    tokenizer = gguf_tokenizer.from_gguf(file.metadata, str(file.path))
    if tokenizer.vocab_size > file.config.vocab_size:
        raise PretrainedError(
            f"{file.path} has {tokenizer.vocab_size} tokens, but an embedding of {file.config.vocab_size} rows: get it "
            "again."
        )
    tokenizer.save(target)
    raw = families.to_hugging_face(file.config)
    if families.from_hugging_face(raw, str(file.path)) != file.config:
        raise PretrainedError(f"{file.path} has settings that Hugging Face's layout has no words for: {file.config}.")

    def new(path: tuple[str, ...], shape: tuple[int, ...], dtype: str) -> np.ndarray:
        return np.lib.format.open_memmap(_file(target, path), "w+", np.dtype(dtype), shape)

    console = Console(stderr=True, quiet=not hosts.first(), soft_wrap=True)
    console.print(f"Dequantising {file.path}; later runs read the copy in the cache.", highlight=False, markup=False)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"Dequantising {file.path.name}", total=None)
        file.read(new=new, show=lambda done, all_: progress.update(task, completed=done, total=all_))
    (target / CONFIG).write_text(json.dumps(raw, indent=2), encoding="utf-8")


def _file(cached: Path, path: tuple[str, ...]) -> Path:
    return cached / f"{'.'.join(path)}.npy"


def _state(path: Path) -> tuple[str, int, int, int, int]:
    """What changes when a file does."""
    stat = path.stat()
    return str(path.resolve()), stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


@functools.cache
def _key(*states: tuple[str, int, int, int, int]) -> str:
    """Of the contents of files, read once a process."""
    digest = hashlib.sha256(str(FORMAT).encode())
    for path, *_ in states:
        try:
            with open(path, "rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise PretrainedError(f"{path} cannot be read ({error.strerror}): give a file that can.") from None
    return digest.hexdigest()[:16]


def _damaged(file: Path, what: str) -> PretrainedError:
    return PretrainedError(f"the cached weights {file} are damaged ({what}): remove the folder {file.parent}.")
