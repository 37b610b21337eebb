"""The vocabulary: every pytree and callable that the folders exchange.

Shape letters, used in docstrings and as array suffixes throughout the package:

    P  problems in a batch            M  practice examples a problem
    K  inner steps                    N  practice examples used in one inner step
    B  sequences in a batch           T  tokens in a sequence
    D  model width                    H  attention heads (G key-value heads, C channels a head)
    L  layers                         V  vocabulary
    S  samples drawn for one prompt   R  adapter rank
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

Array = jax.Array
AnyArray = jax.Array | np.ndarray
"""On the device or on the host: what crosses from one to the other."""
PyTree = Any

Params = PyTree
"""What an inner run trains: a pytree of floating arrays (an adapter, or a whole model)."""

Meta = PyTree
"""What is meta-learned: any pytree of floating arrays that enters the inner loss or the inner optimiser."""

Batch = PyTree
"""The data of one inner step. Stacked over steps, every leaf gains a leading axis K."""

OptState = PyTree


class Sequences(NamedTuple):
    """Token sequences, part of which is predicted.

    Attributes:
      tokens: int32 [..., T], padded on the right.
      target: bool [..., T], True for the tokens whose prediction counts; never the first.
    """

    tokens: AnyArray
    target: AnyArray


class Tokenizer(Protocol):
    """Text to token ids and back.

    Attributes:
      pad_id: fills sequences on the right; it may be a token with a meaning, for nothing is told by its value.
      bos_id: what a sequence starts with, or None where the model expects nothing.
      eos_id: what a text or a turn is ended with.
      stop_ids: each of them ends a completion; `eos_id` is one.
    """

    pad_id: int
    bos_id: int | None
    eos_id: int
    stop_ids: tuple[int, ...]

    @property
    def vocab_size(self) -> int:
        """V."""

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without BOS and EOS."""

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text up to the first token that ends a completion."""


class InnerOptimizer(NamedTuple):
    """A differentiable optimiser whose hyper-parameters may be meta-learned.

    Attributes:
      init: ``init(params) -> state``. State leaves may be floating (moments) or integer (step counts).
      update: ``update(grads, state, params, meta) -> (new_params, new_state)``: one step, already applied.
    """

    init: Callable[[Params], OptState]
    update: Callable[[Params, OptState, Params, Meta], tuple[Params, OptState]]


class InnerProblem(NamedTuple):
    """What is differentiated: a short training run, described by its loss and its optimiser.

    Attributes:
      loss: ``loss(params, meta, batch) -> scalar``. Every operation in it needs a jvp of its vjp. A loss that is a sum
        over the examples of ``batch`` may be microbatched.
      optimizer: the inner optimiser.
      gradient: ``gradient(params, meta, batch) -> (loss, grads)``, what the optimiser is fed in place of the gradient
        of ``loss``: a differentiable vector field, additive over examples like the loss (normalised gradients of each
        example, say). None for ``jax.value_and_grad(loss)``.
      axis: the name of a mesh axis over which the examples of a step are spread, where an estimator runs inside
        ``jax.shard_map``: every device then has a share of ``batch``, all have the same parameters and meta, and
        gradients and second-order products are summed over the axis once a step. None for a batch that is whole.
    """

    loss: Callable[[Params, Meta, Batch], Array]
    optimizer: InnerOptimizer
    gradient: Callable[[Params, Meta, Batch], tuple[Array, Params]] | None = None
    axis: str | None = None


class MetaGradient(NamedTuple):
    """What an estimator returns.

    Attributes:
      meta: d L_outer / d meta, the structure of ``meta``.
      init: d L_outer / d init, the structure of ``params``, or None where it was not asked for.
      diagnostics: scalars that tell how far the estimate can be trusted; empty for exact estimators.
    """

    meta: Meta
    init: Params | None
    diagnostics: dict[str, Array]
