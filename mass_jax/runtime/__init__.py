"""What every run needs: its directory, command line, checkpoints, metrics and guards."""

from mass_jax import extras

extras.require("study")
