"""A main as those of the experiments are."""

import os
import signal
import sys
from pathlib import Path

from mass_jax.runtime import command_line as c
from mass_jax.runtime.workdir import open_workdir


def main(config, workdir):
    open_workdir(workdir, config)
    print("ran", config.outer.learning_rate, config.flag, config.shape, config.size)
    if config.seed == 1:
        config.sed = 2
    if config.seed == 2:
        Path("/dev/full").write_text("more")


def read(config):
    if config.outer.steps < 0:
        raise c.ConfigError("outer.steps is negative.")
    return config


def known(config):
    own = {
        "name": c.Field(None, str, "of the run"),
        "outer.minutes": c.Field(None, float, "at most"),
        "arms.a.outer.steps": c.Field(None, int, "of an arm"),
    }
    return {
        "tags": c.Field((), tuple, "of the run"),
        "outer.steps": c.Field(1, int, "named"),
        "outer.chunk": c.Field(None, int, "how much at once"),
        "outer.decay": c.Field(0.5, float, "of the rate"),
        **(own if "arms" in config else {}),
    }


try:
    c.run(main, read, known)
finally:
    if "--config.seed=3" in sys.argv:  # a notice while Python ends
        os.kill(os.getpid(), signal.SIGINT)
