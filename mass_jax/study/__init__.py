"""A study: a config, its data and base, the arms that are trained, and what they are measured by."""

from mass_jax import extras

extras.require("study")
