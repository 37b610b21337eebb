"""Answer single problems with a trained model: quick, within a budget, explained."""

from mass_jax import extras

extras.require("study")
