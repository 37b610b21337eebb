"""MASS: Meta-Adaptation with Self-Synthesis, in JAX."""
