"""A main without a config, beside a library that says much."""

from absl import logging

from mass_jax.runtime import program

program.run(lambda: logging.info("of a library"))
