"""Safeguards: what an update may learn from, how far it may go, and what is kept of it."""

from mass_jax import extras

extras.require("study")
