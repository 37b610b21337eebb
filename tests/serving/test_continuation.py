"""Texts that the un-adapted model goes on after, and their likelihoods: those of the model's own functions."""

import json
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from starlette.testclient import TestClient

from mass_jax.adapt.run import Ready, solve
from mass_jax.inference.adapter import MassAdapter
from mass_jax.models import decoder
from mass_jax.serving import continuation, replies
from mass_jax.serving.app import application
from mass_jax.serving.continuation import Continued

BASE = "tiny:base"


@pytest.fixture(scope="module")
def client(adapter: MassAdapter) -> Iterator[TestClient]:
    with TestClient(application(adapter), base_url="http://localhost") as found:
        yield found


def complete(client: TestClient, prompt: Any, **more: Any) -> list[dict[str, Any]]:
    response = client.post("/v1/completions", json={"model": BASE, "prompt": prompt} | more)
    assert response.status_code == 200, response.text
    return response.json()["choices"]


def log_probs(adapter: MassAdapter, ids: list[int]) -> list[float]:
    actor = adapter.learner.actor
    return np.asarray(decoder.token_log_probs(actor.method.model, actor.params, None, jnp.asarray([ids])))[0].tolist()


def test_it_goes_on_as_the_model_does(client: TestClient, adapter: MassAdapter, texts: list[str]):
    actor = adapter.learner.actor
    expected = solve(actor, [], Ready(texts, actor.method.lengths.prompt, None, None))
    found = complete(client, texts)
    assert [each["text"].strip() for each in found] == expected and any(expected)
    ids = [[1, *actor.tokenizer.encode(text)] for text in texts]
    assert complete(client, ids) == found, "ids are read as they are"
    assert complete(client, texts[0]) == found[:1], "the same alone and beside others"


def test_it_ends_where_it_is_asked_to(client: TestClient, texts: list[str]):
    (whole,) = complete(client, texts[0], max_tokens=4)
    (two,) = complete(client, texts[0], max_tokens=2)
    words = whole["text"].split()
    assert len(words) == 4 and two["text"].split() == words[:2] and two["finish_reason"] == "length"
    (stopped,) = complete(client, texts[0], max_tokens=4, stop=f" {words[2]}", echo=True, logprobs=0)
    assert stopped["text"].split() == [*texts[0].split(), *words[:2]] and stopped["finish_reason"] == "stop"
    assert len(stopped["logprobs"]["tokens"]) == 1 + len(texts[0].split()) + 2
    (ended,) = complete(client, texts[0], max_tokens=15)
    assert ended["finish_reason"] == "stop" and ended["text"].split()[:4] == words


@pytest.mark.parametrize("new", [0, 1, 3])
def test_every_token_of_an_echo_has_its_likelihood(
    client: TestClient, adapter: MassAdapter, texts: list[str], new: int
):
    tokenizer = adapter.learner.actor.tokenizer
    for text, found in zip(texts, complete(client, texts, max_tokens=new, echo=True, logprobs=5), strict=True):
        assert found["text"].split()[: len(text.split())] == text.split()
        told = found["logprobs"]
        ids = [1, *tokenizer.encode(found["text"])]
        assert len(ids) == 1 + len(text.split()) + new
        assert "".join(told["tokens"]) == found["text"] and told["tokens"][0] == ""
        assert [
            found["text"][at:][: len(t)] for at, t in zip(told["text_offset"], told["tokens"], strict=True)
        ] == told["tokens"]
        assert told["token_logprobs"][0] is None and told["top_logprobs"][0] is None
        np.testing.assert_allclose(told["token_logprobs"][1:], log_probs(adapter, ids), rtol=1e-4, atol=1e-5)
        for i, row in enumerate(told["top_logprobs"][1:], start=1):
            assert row[told["tokens"][i]] == told["token_logprobs"][i] and 5 <= len(row) <= 6
        # What was written is the likeliest there, to the last bit: so a client tells what is greedy.
        for i in range(len(ids) - new, len(ids)):
            assert told["token_logprobs"][i] == max(told["top_logprobs"][i].values())


def test_without_an_echo_the_continuation_alone_is_told(client: TestClient, texts: list[str]):
    (found,) = complete(client, texts[0], max_tokens=3, logprobs=1)
    (echoed,) = complete(client, texts[0], max_tokens=3, logprobs=1, echo=True)
    assert found["logprobs"]["tokens"] == echoed["logprobs"]["tokens"][-3:]
    assert found["logprobs"]["token_logprobs"] == echoed["logprobs"]["token_logprobs"][-3:]
    assert found["logprobs"]["text_offset"][0] == 0 and echoed["text"].endswith(found["text"])


def test_a_text_without_tokens_is_gone_on_after(client: TestClient, adapter: MassAdapter):
    assert complete(client, "", max_tokens=2) == complete(client, [[1]], max_tokens=2)
    assert complete(client, [[]], max_tokens=2) == complete(client, [[2]], max_tokens=2)


def test_it_is_streamed(client: TestClient, texts: list[str]):
    response = client.post("/v1/completions", json={"model": BASE, "prompt": texts[0], "stream": True})
    *lines, last, _ = response.text.split("\n\n")
    told = [json.loads(line.removeprefix("data: ")) for line in lines]
    assert last == "data: [DONE]" and told[-1]["choices"][0]["finish_reason"] in ("stop", "length")
    assert "".join(each["choices"][0]["text"] for each in told) == complete(client, texts[0])[0]["text"]


def test_equal_shapes_go_together(adapter: MassAdapter, texts: list[str]):
    actor = adapter.learner.actor
    rows = [continuation.asked(actor, text, new, False) for text, new in ((texts[0], 3), (texts[1], 9), (texts[2], 4))]
    assert len({row.together for row in rows}) == 1 and {row.new for row in rows} == {3, 4, 9}
    scored = continuation.asked(actor, texts[0], 3, True)
    assert scored.together != rows[0].together
    assert all(sum(continuation.asked(actor, (1,) * n, 32 - n, True).padded) <= 32 for n in range(1, 33))


class Bytes:
    """Two tokens look the same."""

    def decode(self, ids: list[int]) -> str:
        return "".join("ab??"[i] for i in ids)


def test_of_tokens_that_look_the_same_the_likelier_is_told(adapter: MassAdapter):
    row = continuation.Continue((0, 2), 0, (16, 0), True)
    found = Continued((), False, (None, -2.0), ((), ((3, -1.0), (2, -2.0), (1, -3.0))))
    choice = replies.of_text(Bytes(), row, found, (), (True, 5))  # type: ignore[arg-type]
    assert choice.logprobs is not None and choice.text == "a?"
    assert choice.logprobs["top_logprobs"][1] == {"?": -1.0, "b": -3.0} and choice.logprobs["token_logprobs"][1] == -2.0
