"""What is to be done: the same texts, steps and adapter for both. Nothing here imports jax or torch."""

from typing import NamedTuple

import numpy as np

from mass_jax.runtime.memory import peak_host_bytes


class Size(NamedTuple):
    """Of the work on one problem; lengths are in tokens.

    Attributes:
      prompt: of what is read before practice or an answer is written.
      written: of each practice example, as it is written.
      practice: of each practice example, as it is learned from.
      answer: of the answer.
      examples: M.
      steps: K; each takes its own M / K examples.
      rank: of the adapter, on all projections.
      rate: of SGD.
    """

    prompt: int = 64
    written: int = 24
    practice: int = 48
    answer: int = 24
    examples: int = 6
    steps: int = 2
    rank: int = 8
    rate: float = 0.5


class Work(NamedTuple):
    """The texts of P problems, as tokens.

    Attributes:
      prompts_PxT: int32.
      practice_PxMxT: int32. What is learned from is given, and not what was sampled: that differs.
      target_PxMxT: bool, of practice: the second half of each.
    """

    prompts_PxT: np.ndarray
    practice_PxMxT: np.ndarray
    target_PxMxT: np.ndarray


def make_work(size: Size, problems: int, vocabulary: int, seed: int = 0) -> Work:
    """Random texts; none of their tokens is a special one of SmolLM2."""
    rng = np.random.default_rng(seed)

    def tokens(*shape: int) -> np.ndarray:
        return rng.integers(min(1000, vocabulary // 2), vocabulary, shape).astype(np.int32)

    practice = tokens(problems, size.examples, size.practice)
    target = np.broadcast_to(np.arange(size.practice) >= size.practice // 2, practice.shape)
    return Work(tokens(problems, size.prompt), practice, target.copy())


def peak() -> str:
    """The most memory that this process had, for its starter to read."""
    return f"peak {peak_host_bytes()} bytes"
