"""Two real processes restore the same step, whatever one of them sees."""

import json
import subprocess
from pathlib import Path

import pytest

from experiments.benchmarks.pod_local import free_port
from tests import programs


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_two_processes_restore_the_same_step(tmp_path: Path):
    port = str(free_port())
    running = [
        subprocess.Popen(
            programs.command("runtime.program_restore", str(tmp_path / "c"), port, me),
            env=programs.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for me in "01"
    ]
    try:
        for process in running:
            printed, errors = process.communicate(timeout=600)
            assert process.returncode == 0, errors[-3000:]
            found = json.loads(printed.splitlines()[-1])
            assert found == {"once": 3, "damaged": 2, "split": 2, "whole": 2}
    finally:
        for process in running:
            process.kill()
