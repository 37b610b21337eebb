"""Tables, figures and the page of a finished run, from the files in its directory."""

from mass_jax import extras

extras.require("study")
