from mass_jax import extras

extras.require("study")
