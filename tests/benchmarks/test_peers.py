"""What the comparison with PyTorch says without PyTorch, and the arithmetic of its rows."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from experiments.benchmarks.peers import __main__ as peers
from experiments.benchmarks.peers.worker import Call

ROOT = Path(__file__).resolve().parents[2]


def test_missing_peers_are_a_sentence_with_the_way_out():
    program = (
        "import importlib.util, runpy, sys\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'torch' else find(name, *rest)\n"
        "sys.argv = ['peers']\n"
        "runpy.run_module('experiments.benchmarks.peers', run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=os.environ, capture_output=True, text=True)
    assert done.returncode != 0
    assert "not installed here: torch" in done.stderr and "`make peers`" in done.stderr
    assert "Traceback" not in done.stderr


def test_ratios_are_taken_within_a_round_and_errors_against_the_reference():
    reference = np.asarray([3.0, 4.0])

    def call(seconds, gradient):
        return Call(seconds=seconds, cpu_seconds=2 * seconds, peak_bytes=0, gradient=np.asarray(gradient))

    made = {
        peers.OURS: [call(1.0, [3.0, 4.0]), call(10.0, [3.0, 4.0]), call(2.0, [3.0, 4.0])],
        "other": [call(3.0, [3.0, 4.5]), call(30.0, [3.0, 4.5]), call(4.0, [3.0, 4.5])],
    }
    memory, facts = {peers.OURS: 2_000_000, "other": 50_000_000}, {peers.OURS: {}, "other": {}}
    ours, other = peers.rows(made, memory, facts, reference)
    assert ours["ratio_to_adjoint"] == 1.0 and other["ratio_to_adjoint"] == 3.0  # not 4 / 2, nor a mean
    assert other["seconds"] == 4.0
    assert other["peak_rss_delta_mb"] == 50.0 and other["memory_to_adjoint"] == 25.0
    np.testing.assert_allclose([ours["rel_err"], other["rel_err"]], [0.0, 0.1])
