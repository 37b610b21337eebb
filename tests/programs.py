"""Starts what a test needs a process of its own for: modules beside the tests, named ``program_...``."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def command(module: str, *words: str) -> list[str]:
    """The command that runs ``tests.<module>``."""
    return python(f"tests.{module}", *words)


def python(module: str, *words: str) -> list[str]:
    """The command that runs any module."""
    return [sys.executable, "-m", "tests.run", module, *words]


def environment(devices: int = 1, **more: str) -> dict[str, str]:
    """This process's environment, on the CPU, which is shown as so many devices: fixed when the backend starts."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    return os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)} | more


def run(module: str, *words: str, devices: int = 1, **more: str) -> str:
    """What a program prints, which has to end well."""
    done = subprocess.run(
        command(module, *words), cwd=ROOT, env=environment(devices, **more), capture_output=True, text=True
    )
    assert done.returncode == 0, f"status {done.returncode}: {done.stderr[-3000:]}"
    return done.stdout


class Forks:
    """Runs modules as programs, one after another, without the seconds in which each would import its libraries."""

    def __init__(self, folder: Path, *shared: str):
        """``folder`` is for what they read and print; ``shared`` are modules that are imported once."""
        self._folder = folder
        self._process = subprocess.Popen(
            command("program_forks", *shared),
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, module: str, *words: str, cwd: Path = ROOT, given: str = "") -> subprocess.CompletedProcess[str]:
        """What `subprocess.run` would return of ``python -m module words``, which reads what is ``given``."""
        (self._folder / "in").write_text(given)
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps([module, words, str(cwd), str(self._folder)]) + "\n")
        self._process.stdin.flush()
        status = int(self._process.stdout.readline())
        out, err = ((self._folder / name).read_text() for name in ("out", "err"))
        return subprocess.CompletedProcess([module, *words], status, out, err)

    def close(self) -> None:
        """No more will be run."""
        self._process.communicate()
