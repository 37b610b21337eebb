"""A main as those of the experiments are."""

from mass_jax.runtime import command_line as c
from mass_jax.runtime.workdir import open_workdir


def main(config, workdir):
    open_workdir(workdir, config)
    print("ran", config.outer.learning_rate, config.flag, config.shape, config.size)
    if config.seed == 1:
        config.sed = 2


def read(config):
    if config.outer.steps < 0:
        raise c.ConfigError("outer.steps is negative.")
    return config


def optional(config):
    return {
        "tags": c.Default((), tuple, "of the run"),
        "outer.steps": c.Default(1, int, "named"),
        "outer.chunk": c.Default(None, int, "how much at once"),
        "outer.decay": c.Default(0.5, float, "of the rate"),
    }


c.run(main, read, optional)
