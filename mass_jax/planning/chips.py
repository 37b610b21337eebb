"""The one table of chips, with the numbers that their makers publish."""

from typing import NamedTuple

GIB = 2.0**30


class Chip(NamedTuple):
    """A chip; what nothing here asks of it is None.

    Attributes:
      kind: the beginning of its ``jax.Device.device_kind``.
      flops: dense bfloat16, FLOPs a second.
      capacity: bytes that a program can take.
      memory: bytes a second from its memory.
      links: bytes a second over all of its links.
    """

    kind: str
    flops: float
    capacity: float | None = None
    memory: float | None = None
    links: float | None = None


CHIPS = {
    "v4": Chip("TPU v4", 275e12),
    "v5e": Chip("TPU v5 lite", 197e12, 15.75 * GIB, 819e9, 200e9),
    "v5p": Chip("TPU v5", 459e12, 95.74 * GIB, 2765e9, 600e9),
    "v6e": Chip("TPU v6 lite", 918e12, 31.25 * GIB, 1640e9, 448e9),
    "a100": Chip("NVIDIA A100", 312e12),
    "h100": Chip("NVIDIA H100", 989e12),
    "h200": Chip("NVIDIA H200", 989e12),
}
PLANNED = tuple(name for name, chip in CHIPS.items() if chip.capacity is not None)
"""Those that `make plan` and the cost model know all of."""


def peak_flops(device_kind: str) -> float | None:
    """What a device can do in bfloat16, FLOPs a second; None where that is not known."""
    return next((chip.flops for chip in CHIPS.values() if device_kind.startswith(chip.kind)), None)
