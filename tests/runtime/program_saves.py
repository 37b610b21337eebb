"""Saves one checkpoint after the other until it is killed."""

import sys

import numpy as np

from mass_jax.runtime.checkpoint import Checkpointer

checkpointer = Checkpointer(sys.argv[1], keep=2)
step = checkpointer.latest_step() or 0
while True:
    step += 1
    checkpointer.save(step, {"x": np.random.default_rng(step).normal(size=200_000)}, extra={"step": step})
    print(step, flush=True)
