"""Grain pipelines: endless, shuffled, seeded streams whose place can be saved and restored.

Each stream is an iterator with ``get_state()`` and ``set_state(state)``. Its n-th batch depends on the arguments and on
n alone, so a restored stream continues exactly, and every pass over the problems has a new order and new documents.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import grain
import numpy as np

from mass_jax.tasks.base import Problem


class Tokenizer(Protocol):
    """What a pipeline asks of a tokenizer."""

    pad_id: int
    bos_id: int
    eos_id: int

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without BOS and EOS."""


def pack(text: str, tokenizer: Tokenizer, length: int) -> np.ndarray:
    """``[BOS] text [EOS]``, padded on the right: int32 [length].

    Raises:
      ValueError: if the text does not fit.
    """
    ids = [tokenizer.bos_id, *tokenizer.encode(text), tokenizer.eos_id]
    if len(ids) > length:
        raise ValueError(
            f"a document takes {len(ids)} tokens, more than the sequence length of {length}: raise the length (and the "
            f"model's context), or shorten the documents. It reads: {text[:200]}"
        )
    return np.array(ids + [tokenizer.pad_id] * (length - len(ids)), np.int32)


def _batches(problems: Sequence[Problem], batch_size: int, seed: int) -> grain.MapDataset:
    """Endless lists of problems."""
    if not problems:
        raise ValueError("the pipeline was given 0 problems: load a split that has some.")
    # Indices are cheaper to shuffle than elements (grain meters each read), and a batch than its elements one by one.
    indices = grain.MapDataset.range(len(problems)).seed(seed).shuffle().repeat().batch(batch_size, batch_fn=list)
    return indices.map(lambda batch: [problems[i] for i in batch])


def _iterate(dataset: grain.MapDataset, ahead: int) -> grain.DatasetIterator:
    # One thread keeps the order and hides the work behind the training step; more would fight over the interpreter.
    options = grain.ReadOptions(num_threads=min(ahead, 1), prefetch_buffer_size=ahead)
    return iter(dataset.to_iter_dataset(options))


def document_batches(
    problems: Sequence[Problem],
    render: Callable[[Problem, np.random.Generator], str],
    tokenizer: Tokenizer,
    *,
    length: int,
    batch_size: int,
    seed: int,
    ahead: int = 4,
) -> grain.DatasetIterator:
    """Pretraining documents: int32 [batch_size, length], each row as `pack` makes it.

    Args:
      problems: what the documents are about.
      render: writes one document about a problem; all its randomness comes from the generator that it is given.
      tokenizer: encodes the documents.
      length: T; a longer document is a ValueError when it is reached.
      batch_size: B.
      seed: decides order and documents.
      ahead: batches made in advance, in a thread of their own; 0 makes them when asked.

    Raises:
      ValueError: if there are no problems.
    """

    def rows(batch: list[Problem], rng: np.random.Generator) -> np.ndarray:
        return np.stack([pack(render(problem, rng), tokenizer, length) for problem in batch])

    return _iterate(_batches(problems, batch_size, seed).random_map(rows), ahead)


def problem_batches(problems: Sequence[Problem], *, batch_size: int, seed: int) -> grain.DatasetIterator:
    """Lists of ``batch_size`` problems, for meta-training.

    Raises:
      ValueError: if there are no problems.
    """
    return _iterate(_batches(problems, batch_size, seed), ahead=0)
