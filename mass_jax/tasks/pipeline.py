"""Grain pipelines: endless, shuffled, seeded streams whose place can be saved and restored.

Each stream is an iterator with ``get_state()`` and ``set_state(state)``. Its n-th batch depends on the arguments and on
n alone, so a restored stream continues exactly, and every pass over the problems has a new order and new documents.
"""

from collections.abc import Callable, Sequence

import grain
import numpy as np

from mass_jax.tasks.base import Problem
from mass_jax.types import Sequences, Tokenizer

PASSES = 2**31
"""Over the problems: no run sees their end. A dataset without an end has a length that grain cannot divide by 1."""


def pack(text: str, tokenizer: Tokenizer, length: int) -> Sequences:
    """``[BOS] text [EOS]``, padded on the right, [length]; all tokens but the first are predicted.

    Raises:
      ValueError: if the text does not fit.
    """
    start = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
    ids = [*start, *tokenizer.encode(text), tokenizer.eos_id]
    if len(ids) > length:
        raise ValueError(
            f"a document takes {len(ids)} tokens, more than the sequence length of {length}: raise the length (and the "
            f"model's context), or shorten the documents. It reads: {text[:200]}"
        )
    tokens = np.array(ids + [tokenizer.pad_id] * (length - len(ids)), np.int32)
    place = np.arange(length)
    return Sequences(tokens, (place > 0) & (place < len(ids)))


def _batches(problems: Sequence[Problem], batch_size: int, seed: int) -> grain.MapDataset:
    """Endless lists of problems."""
    if not problems:
        raise ValueError("the pipeline was given 0 problems: load a split that has some.")
    if seed < 0:
        raise ValueError(f"the pipeline's seed is {seed}: give 0 or more.")
    # Indices are cheaper to shuffle than elements (grain meters each read), and a batch than its elements one by one.
    indices = grain.MapDataset.range(len(problems)).seed(seed).shuffle().repeat(PASSES).batch(batch_size, batch_fn=list)
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
    """Documents to train on: sequences [batch_size, length], each row as `pack` makes it.

    Args:
      problems: what the documents are about.
      render: writes one document about a problem; all its randomness comes from the generator that it is given.
      tokenizer: encodes the documents.
      length: T; a longer document is a ValueError when it is reached.
      batch_size: B.
      seed: decides order and documents.
      ahead: batches made in advance, in a thread of their own; 0 makes them when asked.

    Raises:
      ValueError: if there are no problems, or the seed is negative.
    """

    def rows(batch: list[Problem], rng: np.random.Generator) -> Sequences:
        return Sequences(*map(np.stack, zip(*(pack(render(p, rng), tokenizer, length) for p in batch), strict=True)))

    return _iterate(_batches(problems, batch_size, seed).random_map(rows), ahead)


def problem_batches(problems: Sequence[Problem], *, batch_size: int, seed: int) -> grain.DatasetIterator:
    """Lists of ``batch_size`` problems, for meta-training.

    Raises:
      ValueError: if there are no problems, or the seed is negative.
    """
    return _iterate(_batches(problems, batch_size, seed), ahead=0)
