"""Whether a scorer makes what it says of itself."""

from functools import partial

import jax
import jax.numpy as jnp

from mass_jax.mass import scorer
from mass_jax.mass.method import Method
from mass_jax.mass.packing import PracticeArrays
from mass_jax.mass.scorers.registry import SCORERS
from mass_jax.models.pretrained import folder
from mass_jax.planning.lower import key, sequences, struct

STAND_INS = 3
"""Problems whose practice a scorer is tried on; nothing is computed."""


def try_scorer(method: Method, checks: int) -> None:
    """Trace the method's scorer on practice of which only the shapes are known.

    Args:
      method: of the arm that trains it.
      checks: how many checks the task has.

    Raises:
      ValueError: its features or logits are of another shape, or its head is none.
    """
    kind, lengths = SCORERS[method.scorer.kind], method.lengths
    shape = (STAND_INS, method.generator.examples)
    practice = PracticeArrays(
        sequences(*shape, lengths.prompt + lengths.synthesis),
        sequences(*shape, checks, lengths.check),
        sequences(*shape, lengths.practice),
        struct(shape, jnp.bool_),
    )
    count = scorer.feature_count(method, checks)
    features = jax.eval_shape(partial(kind.features, method.model), folder.shapes_of(method.model), practice)
    _expect("features", features, (*shape, count), f"feature_count is {count}")
    head = jax.eval_shape(partial(kind.init, count, method.scorer.hidden), key())
    if not isinstance(head, dict) or "gate" in head:
        raise ValueError(f"init gives {head}: give a dictionary, in which the name 'gate' is not taken")
    _expect("logits", jax.eval_shape(kind.logits, head, features), shape, "each example has one")


def _expect(what: str, found: object, shape: tuple[int, ...], why: str) -> None:
    if getattr(found, "shape", None) != shape:
        raise ValueError(f"{what} gives {found} where {why}: give an array of the shape {shape}")
