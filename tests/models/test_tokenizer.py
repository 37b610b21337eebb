"""The word tokenizer."""

import numpy as np
import pytest

from mass_jax.models.tokenizer import WordTokenizer

WORDS = ("?", "=", "1>2", "f1,2,3")


def test_round_trip_and_special_ids():
    tokenizer = WordTokenizer(WORDS)
    assert tokenizer.vocab_size == 7
    assert (tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id) == (0, 1, 2)
    assert tokenizer.encode("1>2 ? f1,2,3") == [5, 3, 6]
    assert tokenizer.decode([5, 3, 6]) == "1>2 ? f1,2,3"
    assert tokenizer.encode("") == []


def test_decoding_stops_at_the_end_and_drops_padding():
    tokenizer = WordTokenizer(WORDS)
    assert tokenizer.decode(np.array([1, 3, 0, 4, 2, 5, 2])) == "? ="
    assert tokenizer.decode([]) == ""


@pytest.mark.parametrize("text", ["1>3", "? unknown =", "1>2?", "<bos>x"])
def test_an_unknown_word_is_named(text):
    with pytest.raises(ValueError, match="the word '.*' is not in the vocabulary"):
        WordTokenizer(WORDS).encode(text)


@pytest.mark.parametrize("words", [("a", "a"), ("a", "<eos>")])
def test_a_repeated_word_is_refused(words):
    with pytest.raises(ValueError, match="repeated words"):
        WordTokenizer(words)
