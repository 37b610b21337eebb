"""The peak is this process's own, whoever started it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mass_jax.runtime.memory import peak_host_bytes
from tests import programs

MIB = 2**20
CHILD = "from mass_jax.runtime.memory import peak_host_bytes; print(peak_host_bytes())"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the kernel tells only the peak of its starter, too")
def test_the_peak_is_of_this_process_and_not_of_its_starter():
    before = peak_host_bytes()
    held = np.ones(before + 200 * MIB, np.uint8)
    assert peak_host_bytes() >= before + 150 * MIB
    command = [sys.executable, "-c", CHILD]
    done = subprocess.run(
        command, cwd=programs.ROOT, env=programs.environment(), check=True, capture_output=True, text=True
    )
    assert 5 * MIB < int(done.stdout) < 150 * MIB < held.nbytes
