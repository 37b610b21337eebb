"""Test time: where practice comes from, how its examples are weighed, and a model that adapts before it answers."""

from mass_jax import extras

extras.require("study")
