"""Starts what a test needs a process of its own for: modules beside the tests, named ``program_...``."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def command(module: str, *words: str) -> list[str]:
    """The command that runs ``tests.<module>``."""
    return [sys.executable, "-m", f"tests.{module}", *words]


def environment(devices: int = 1, **more: str) -> dict[str, str]:
    """This process's environment, on the CPU, which is shown as so many devices: fixed when the backend starts."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    return os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)} | more


def run(module: str, *words: str, devices: int = 1, **more: str) -> str:
    """What a program prints, which has to end well."""
    done = subprocess.run(
        command(module, *words), cwd=ROOT, env=environment(devices, **more), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
