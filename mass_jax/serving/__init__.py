"""Serve a model over HTTP in the form of OpenAI's interface, each request adapted to before it is answered."""

from mass_jax import extras

extras.require("study")
extras.require("serve")
