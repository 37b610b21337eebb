"""The comparison with another implementation sees what agrees, and what does not."""

import numpy as np
import pytest

from experiments.benchmarks import pretrained
from mass_jax.models.pretrained import source
from tests.models.pretrained import byte_model
from tests.models.pretrained.conftest import our_logits


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> source.Pretrained:
    path = tmp_path_factory.mktemp("model")
    byte_model.write(path, context=64)
    return source.load(str(path), scan_layers=True)


def test_greedy_tokens_and_logits_are_compared_one_by_one(model: source.Pretrained):
    asked, new = ["2 + 2 = ", "two"], 5

    def same(ids_T: np.ndarray) -> np.ndarray:
        return our_logits(model.config, model.params, ids_T[None])[0]

    def other(ids_T: np.ndarray) -> np.ndarray:
        """Another largest logit behind the first token that is written."""
        found = same(ids_T).copy()
        found[len(ids_T) - new, found[len(ids_T) - new].argmin()] += 100
        return found

    (_, positions, difference), (_, count, agreed) = pretrained.agreement(model, same, asked, new)
    assert (positions, count, agreed) == (str(8 + 3 + 2 * new), str(2 * new), str(2 * new))
    assert float(difference) < 1e-5
    (_, _, difference), (_, _, agreed) = pretrained.agreement(model, other, asked, new)
    assert (float(difference), agreed) == (100, str(2 * new - 2))


def test_texts_hold_what_is_not_composed_and_are_of_a_seed():
    tokenizer = byte_model.make_tokenizer()
    written = pretrained.texts(tokenizer, 200)
    assert written == pretrained.texts(tokenizer, 200) and len(set(written)) > 190
    assert any("e\u0301" in text for text in written)
    assert not any(special in text for special in tokenizer.special_tokens for text in written)


def test_chats_are_of_all_lengths():
    chats = [*pretrained.conversations()]
    assert [len(chat) for chat in chats] == [1, 2, 3, 4, 5, 6]
    assert all(chat[-1]["role"] == "user" for chat in chats)
