"""Described TPUs: devices that need not exist, to compile for with libtpu."""

import importlib.metadata
import importlib.util
import os

import jax
from jax.experimental import topologies

from mass_jax.errors import InputError


def described_devices(topology: str) -> list[jax.Device]:
    """The chips of a described TPU, such as ``v5e:4x4``.

    Raises:
      InputError: libtpu is not installed, or does not know ``topology``.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise InputError(
            "libtpu, the compiler for TPUs, is not installed: pip install -e '.[plan]' brings it; no TPU is needed."
        )
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # else libtpu asks the cloud's metadata server, and waits
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")  # a described TPU is nobody's: no need of its lock
    try:
        return list(topologies.get_topology_desc(topology, platform="tpu").devices)
    except Exception as error:
        raise InputError(f"--topology={topology} is unknown to libtpu ({error}); try v5p:2x2x1.") from error


def versions() -> dict[str, str | None]:
    """Versions of the packages that decide a compiled program."""
    installed = {name: importlib.util.find_spec(name) for name in ("jax", "libtpu")}
    return {name: importlib.metadata.version(name) if found else None for name, found in installed.items()}
