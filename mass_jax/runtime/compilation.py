"""Keep compiled programs between runs, and ask them what they need."""

import os
import stat
import threading
import time
import warnings
from pathlib import Path

import jax
from absl import logging


def enable_compilation_cache() -> bool:
    """Makes every later compilation of this process look into a directory first, and store its result there.

    ``JAX_COMPILATION_CACHE_DIR`` names it; without that it is ``mass_jax/compiled`` in the user's own cache
    (``XDG_CACHE_HOME``, or ``~/.cache``). What is in it is run as it is, so that it is used only where nobody else can
    write there. A cache only saves time: where there is none, that is a warning and not an error, and where it cannot
    grow, it does not.

    Returns:
      Whether the cache is on.
    """
    if named := os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        path, trusted = Path(named).expanduser().absolute(), True
    else:
        home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        path, trusted = Path(home).expanduser().absolute() / "mass_jax" / "compiled", False
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(path, os.W_OK):
            raise PermissionError(13, "it cannot be written")
        found = path.lstat()
        if not trusted and (found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o022):
            raise PermissionError(13, "it is another user's, or others may write there")
    except OSError as e:
        logging.warning(
            "No compilation cache, programs are compiled anew: '%s': %s. JAX_COMPILATION_CACHE_DIR names another one.",
            path,
            e.strerror,
        )
        return False
    # On a full disk JAX would say it of every program.
    warnings.filterwarnings("ignore", "Error writing persistent compilation cache entry")
    jax.config.update("jax_compilation_cache_dir", str(path))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return True


class _Compiling:
    """What JAX says of its own work: tracing, lowering and compiling, which lie within each other."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._under_way, self._since, self._spent = 0, 0.0, 0.0
        self._lock = threading.Lock()

    def begins(self, event: str, value: float, **details: str | int) -> None:
        """Hears a scalar."""
        if event.startswith(_COMPILE):
            with self._lock:
                self._since = self._since if self._under_way else time.monotonic()
                self._under_way += 1

    def ends(self, event: str, duration_secs: float, **details: str | int) -> None:
        """Hears a duration."""
        if event.startswith(_COMPILE):
            with self._lock:
                self._under_way -= 1
                self._spent += 0.0 if self._under_way else time.monotonic() - self._since
        if event == f"{_COMPILE}backend_compile_duration":
            self.names.append(str(details.get("fun_name")))

    def seconds(self) -> float:
        """So far, with what is under way."""
        with self._lock:
            return self._spent + (time.monotonic() - self._since if self._under_way else 0.0)


_COMPILE = "/jax/core/compile/"
_compiling = _Compiling()
jax.monitoring.register_scalar_listener(_compiling.begins)
jax.monitoring.register_event_duration_secs_listener(_compiling.ends)


def programs_compiled() -> list[str]:
    """The names of the programs that this process compiled, or took from the cache, since the last call."""
    names = _compiling.names.copy()
    _compiling.names.clear()
    return names


def seconds_compiling() -> float:
    """Seconds by the clock in which this process has made programs so far, also of the one that is being made."""
    return _compiling.seconds()


def temp_bytes(compiled: jax.stages.Compiled) -> int:
    """The bytes that a program holds while it runs, arguments and results not counted, as its compiler planned them.

    Raises:
      RuntimeError: the backend does not say.
    """
    memory = compiled.memory_analysis()
    if memory is None:
        raise RuntimeError(f"{jax.devices()[0].device_kind} does not report the memory of its programs.")
    return memory.temp_size_in_bytes
