"""What a program asks of the model, whatever the machine: which derivative, of how many tokens, how often."""

from typing import NamedTuple


class Kind(NamedTuple):
    """How often one call of the model does what a forward pass does.

    Attributes:
      matrices: products with a matrix of the model, in layers and for logits.
      attention: products of queries, keys and values, which are all differentiated.
      adapter: products with an adapter, likewise.
      again: as these three, what is recomputed of a layer that is rematerialised.
      passes: over the layers, each of which gathers the matrices; and the same with rematerialisation.
      stream: how often the residual stream is gathered or summed over ``tensor`` in a layer that is rematerialised:
        twice each way into and out of its halves, and twice into the halves that are recomputed.
      alive: forward passes' worth of activations at once.
      trains: whether the model's own gradient is computed, and summed over the chips that have other problems.
      outer: products with an outer adapter beyond those with the matrices, among which they are counted: 1 where its
        own gradient is computed, and summed likewise; -1 where the base is read without it.
    """

    matrices: int
    attention: int
    adapter: int
    again: tuple[int, int, int]
    passes: tuple[int, int]
    stream: int
    alive: int
    trains: bool = False
    outer: int = 0


FORWARD = Kind(1, 1, 1, (0, 0, 0), (1, 1), 4, 1)
GRADIENT = Kind(2, 3, 3, (1, 1, 1), (1, 2), 10, 2)
"""By the adapter."""
TRAIN = Kind(3, 3, 0, (1, 1, 0), (1, 2), 10, 2, trains=True)
"""By the model's own parameters."""
TRAIN_OUTER = Kind(2, 3, 0, (1, 1, 0), (1, 2), 10, 2, outer=1)
"""By the outer adapter."""
BASE = FORWARD._replace(outer=-1)
"""A forward pass of the base."""
HESSIAN = Kind(4, 9, 8, (2, 3, 3), (1, 2), 20, 4)
"""A Hessian-vector product: what the gradient by the adapter takes, and its derivative along a direction."""
TANGENT = Kind(2, 3, 3, (0, 0, 0), (1, 1), 8, 2)
"""The forward derivative of a forward pass."""


class Call(NamedTuple):
    """Calls of the model, one after another.

    Attributes:
      kind: what is computed.
      sequences: read at once, of each of the problems that are done at once.
      length: tokens of each.
      logits: positions of each that have any; None for all.
      adapted: whether there is an adapter.
      at_once: problems done at once.
      times: how often.
      keys: that a token sees; None for ``length``.
    """

    kind: Kind
    sequences: int
    length: int
    logits: int | None = None
    adapted: bool = False
    at_once: int = 1
    times: int = 1
    keys: int | None = None

    @property
    def tokens(self) -> int:
        """Read in one of them."""
        return self.sequences * self.at_once * self.length


class Asked(NamedTuple):
    """What one run of a program takes.

    Attributes:
      calls: of the model.
      copies: of the parameters among its arguments; of the optimiser's state as many as it is worth.
      outer: the same of an outer adapter, where there is one.
      adapters: how many adapters' worth of bytes lie among its arguments.
      cached: sequences whose keys and values lie among its arguments, and slots of each.
    """

    calls: tuple[Call, ...]
    copies: float = 1
    adapters: int = 0
    cached: tuple[int, int] = (0, 0)
    outer: float = 1
