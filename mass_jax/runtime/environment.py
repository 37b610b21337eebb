"""What a run was made with: code, packages, devices, processor, date."""

import datetime
import importlib
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")
CPU_INFO = Path("/proc/cpuinfo")


def describe() -> dict[str, Any]:
    """Returns what JSON can hold.

    ``commit`` and ``uncommitted`` as `commit` returns them; ``date``, ISO 8601 with the offset from UTC; ``python`` and
    ``packages``, their versions by name, None where one is not installed; ``devices``: their ``platform``, ``kind`` and
    ``count`` over all ``processes``; ``cpu``: the ``model``, None where the system does not tell, and its ``cores``.
    """
    device, (head, changed) = jax.devices()[0], commit()
    return {
        "commit": head,
        "uncommitted": changed,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "packages": {"mass_jax": _own_version()} | {name: _version(name) for name in PACKAGES},
        "devices": {
            "platform": device.platform,
            "kind": device.device_kind,
            "count": jax.device_count(),
            "processes": jax.process_count(),
        },
        "cpu": {"model": cpu_model(), "cores": os.cpu_count()},
    }


def commit(folder: Path = Path(__file__).parents[1]) -> tuple[str, bool | None]:
    """The commit of the code in ``folder``, and whether tracked files differ from it.

    Where it lies in no repository of its own (an installed package may lie in somebody else's), the package's version
    and None.
    """

    def git(*words: str) -> str:
        command = ["git", "-C", str(folder), *words]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return f"mass_jax {_own_version()}", None


def command() -> str:
    """The command line of this process, as a shell takes it."""
    return shlex.join(["python", *sys.orig_argv[1:]])


def cpu_model() -> str | None:
    """The name of the first processor, as the system gives it."""
    try:
        lines = CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or None
    names = (line.partition(":")[2].strip() for line in lines if line.lower().startswith("model name"))
    return next(names, platform.processor() or None)


def versions() -> dict[str, str]:
    """Of what decides an answer."""
    return {"mass_jax": _own_version(), "jax": jax.__version__}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _own_version() -> str:
    """The package's: its face imports what lies above this module, so it is asked for when it is needed."""
    return str(importlib.import_module("mass_jax").__version__)
