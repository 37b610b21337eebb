"""The streams: exact resumption, determinism, every problem once a pass, documents as the model reads them."""

import json
from collections import Counter

import numpy as np
import pytest

from mass_jax.models.tokenizer import WordTokenizer
from mass_jax.tasks import pipeline
from mass_jax.tasks.arithmetic import documents as texts
from mass_jax.tasks.worked import writer
from tests.tasks.helpers import small_splits, small_task

TOKENIZER = WordTokenizer(small_task().vocabulary)
WRITE = writer(texts, small_task().rules, ("solve", "synthesise"), ())


def documents(seed=0, **options):
    options = {"length": 25, "batch_size": 8} | options
    return pipeline.document_batches(small_splits()["train"], WRITE, TOKENIZER, seed=seed, **options)


def problems(seed=0, batch_size=7):
    return pipeline.problem_batches(small_splits()["train"], batch_size=batch_size, seed=seed)


def take(stream, count):
    return [next(stream) for _ in range(count)]


def same(a, b) -> bool:
    return all(x == y if isinstance(x, list) else np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("ahead", [0, 4])
def test_documents_are_framed_and_padded(ahead):
    for batch in take(documents(ahead=ahead), 5):
        assert batch.tokens.shape == batch.target.shape == (8, 25)
        assert batch.tokens.dtype == np.int32
        for row, target in zip(*batch, strict=True):
            end = int(np.argmax(row == TOKENIZER.eos_id))
            assert row[0] == TOKENIZER.bos_id
            assert not np.any(row[end + 1 :])
            np.testing.assert_array_equal(target, (np.arange(25) > 0) & (np.arange(25) <= end))
            assert np.all(row[1:end] > TOKENIZER.eos_id)
            assert " ? " in TOKENIZER.decode(row)


@pytest.mark.parametrize("make", [documents, problems])
def test_a_restored_stream_continues_exactly(make):
    stream = make()
    take(stream, 45)  # past the first pass over the problems
    state = json.loads(json.dumps(stream.get_state()))
    expected = take(stream, 6)
    for restored in (stream, make()):
        restored.set_state(state)
        assert same(take(restored, 6), expected)
    assert not same(take(make(), 6), expected)


@pytest.mark.parametrize("make", [documents, problems])
def test_the_seed_decides_the_stream(make):
    assert same(take(make(), 5), take(make(), 5))
    assert not same(take(make(), 5), take(make(seed=1), 5))


def test_making_batches_ahead_changes_nothing():
    assert same(take(documents(ahead=0), 20), take(documents(ahead=4), 20))


def test_every_pass_has_every_problem_once_in_another_order():
    stream = problems(batch_size=10)
    passes = [sum(take(stream, 30), []) for _ in range(2)]
    everything = Counter(small_splits()["train"])
    assert Counter(passes[0]) == Counter(passes[1]) == everything
    assert passes[0] != passes[1]
    assert passes[0] != small_splits()["train"]


def test_batches_run_on_over_the_end_of_a_pass():
    stream = problems(batch_size=7)
    seen = Counter(sum(take(stream, 300), []))  # 7 passes over 300 problems
    assert set(Counter(seen[p] / n for p, n in Counter(small_splits()["train"]).items())) == {7.0}


def test_every_pass_has_new_documents():
    stream = documents(batch_size=300)
    first, second = ({TOKENIZER.decode(row) for row in next(stream).tokens} for _ in range(2))
    assert len(first & second) < 30


@pytest.mark.parametrize("ahead", [0, 4])
def test_a_document_that_is_too_long_is_refused(ahead):
    with pytest.raises(ValueError, match=r"a document takes \d+ tokens, more than the sequence length of 12: raise"):
        take(documents(length=12, ahead=ahead), 5)


def test_a_document_may_fill_its_row():
    packed = pipeline.pack("1 2 3", TOKENIZER, 5)
    assert packed.tokens.tolist() == [1, *TOKENIZER.encode("1 2 3"), 2]
    assert packed.target.tolist() == [False, True, True, True, True]
    with pytest.raises(ValueError, match="takes 5 tokens, more than the sequence length of 4"):
        pipeline.pack("1 2 3", TOKENIZER, 4)


@pytest.mark.parametrize("ahead", [0, 4])
def test_one_problem_or_document_at_a_time(ahead):
    """The smallest setting there is; the same stream, in smaller batches."""
    singles = take(problems(batch_size=1), 14)
    assert sum(singles, []) == sum(take(problems(batch_size=7), 2), []) and {len(batch) for batch in singles} == {1}
    batch = next(documents(batch_size=1, ahead=ahead))
    assert batch.tokens.shape == batch.target.shape == (1, 25)
    alone = pipeline.problem_batches(small_splits()["train"][:1], batch_size=1, seed=0)
    assert take(alone, 3) == [[small_splits()["train"][0]]] * 3


@pytest.mark.parametrize("seed", [2**32, 2**64])
def test_large_seeds_are_seeds(seed):
    assert same(take(problems(seed), 3), take(problems(seed), 3))
    assert not same(take(problems(seed), 3), take(problems(seed + 1), 3))


def test_a_negative_seed_is_refused():
    with pytest.raises(ValueError, match="seed is -1: give 0 or more"):
        problems(seed=-1)


def test_no_problems_are_refused():
    with pytest.raises(ValueError, match="given 0 problems"):
        pipeline.problem_batches([], batch_size=2, seed=0)
    with pytest.raises(ValueError, match="given 0 problems"):
        pipeline.document_batches([], WRITE, TOKENIZER, length=24, batch_size=2, seed=0)
