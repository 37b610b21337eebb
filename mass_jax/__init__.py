"""MASS: Meta-Adaptation with Self-Synthesis, in JAX."""

__version__ = "0.1.0"
