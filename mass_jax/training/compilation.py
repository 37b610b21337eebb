"""Keep compiled programs between runs, and ask them what they need."""

import os
from pathlib import Path

import jax
from absl import logging


def enable_compilation_cache(directory: str | os.PathLike[str]) -> bool:
    """Makes every later compilation of this process look in ``directory`` first, and store its result there.

    A cache only saves time: a directory that cannot be written is a warning, not an error.

    Returns:
      Whether the cache is on.
    """
    path = Path(directory).expanduser().absolute()
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as e:
        logging.warning(
            "No compilation cache, programs are compiled anew: '%s' cannot be written: %s", path, e.strerror
        )
        return False
    jax.config.update("jax_compilation_cache_dir", str(path))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return True


def _hear(event: str, duration_secs: float, **details: str | int) -> None:
    if event == "/jax/core/compile/backend_compile_duration":
        _compiled.append(str(details.get("fun_name")))


_compiled: list[str] = []
jax.monitoring.register_event_duration_secs_listener(_hear)


def programs_compiled() -> list[str]:
    """The names of the programs that this process compiled, or took from the cache, since the last call."""
    names = _compiled.copy()
    _compiled.clear()
    return names


def temp_bytes(compiled: jax.stages.Compiled) -> int:
    """The bytes that a program holds while it runs, arguments and results not counted, as its compiler planned them.

    Raises:
      RuntimeError: the backend does not say.
    """
    memory = compiled.memory_analysis()
    if memory is None:
        raise RuntimeError(f"{jax.devices()[0].device_kind} does not report the memory of its programs.")
    return memory.temp_size_in_bytes
