"""The server in this process: every path, what it answers and what it refuses."""

import dataclasses
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from mass_jax.inference.adapter import MassAdapter
from mass_jax.inference.options import Options
from mass_jax.serving.app import application
from mass_jax.serving.door import Limits
from mass_jax.serving.service import _told
from mass_jax.serving.waiting import Clock, Ticket

MODEL, BASE = "tiny", "tiny:base"


@pytest.fixture(scope="module")
def client(adapter: MassAdapter) -> Iterator[TestClient]:
    app = application(adapter, Limits(body_bytes=4000, queue=4))
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as found:
        yield found


def chat(text: str, **more: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": text}]} | more


def events(text: str) -> list[Any]:
    """What a stream says, its end not included."""
    *lines, last, rest = text.split("\n\n")
    assert last == "data: [DONE]" and rest == ""
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def without_time(mass: dict[str, Any]) -> dict[str, Any]:
    phases = [{k: v for k, v in each.items() if k != "seconds"} for each in mass["phases"]]
    return {k: v for k, v in mass.items() if k not in ("seconds", "practice")} | {"phases": phases}


def test_a_chat_is_what_the_adapter_answers(client: TestClient, adapter: MassAdapter, texts: list[str]):
    expected = adapter.adapt(texts[0], Options(seed=7))
    found = client.post("/v1/chat/completions", json=chat(texts[0], mass={"seed": 7})).json()
    assert found["object"] == "chat.completion" and found["model"] == MODEL and found["id"].startswith("chatcmpl-")
    (choice,) = found["choices"]
    assert choice["message"] == {"role": "assistant", "content": expected.answer}
    assert "practice" not in found["mass"] and found["mass"]["model"] == MODEL
    assert without_time(found["mass"]) == without_time(json.loads(json.dumps(expected.as_json())))
    used = found["usage"]
    assert used["total_tokens"] == used["prompt_tokens"] + used["completion_tokens"] > used["completion_tokens"] > 0
    assert choice["finish_reason"] == ("length" if used["completion_tokens"] == 5 else "stop")


def test_practice_is_returned_to_who_asks_for_it(client: TestClient, adapter: MassAdapter, texts: list[str]):
    body = chat(texts[0], seed=7, mass={"return_practice": True})
    found = client.post("/v1/chat/completions", json=body).json()["mass"]
    assert found["practice"] == adapter.adapt(texts[0], Options(seed=7)).as_json()["practice"] and found["seed"] == 7


def test_the_base_answers_without_an_update(client: TestClient, adapter: MassAdapter, texts: list[str]):
    found = client.post("/v1/chat/completions", json=chat(texts[1], model=BASE)).json()
    assert found["choices"][0]["message"]["content"] == adapter.adapt(texts[1]).answer_before
    assert found["mass"]["updated"] is False and found["model"] == BASE
    refused = client.post("/v1/chat/completions", json=chat(texts[1], model=BASE, mass={"k": 1, "votes": 3}))
    assert refused.status_code == 400 and "mass.k is of an update" in refused.json()["error"]["message"]


def test_a_stream_tells_its_phases_and_says_the_same(client: TestClient, texts: list[str]):
    for mass in ({}, {"return_practice": True}):
        body = chat(texts[0], mass=mass, stream=True, stream_options={"include_usage": True})
        with client.stream("POST", "/v1/chat/completions", json=body) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            told = events(response.read().decode())
        whole = client.post("/v1/chat/completions", json=body | {"stream": False, "stream_options": None}).json()
        assert len({each["id"] for each in told}) == 1 and {each["object"] for each in told} == {
            "chat.completion.chunk"
        }
        names = ["answer_before", "write", "weigh", "adapt", "guard", "answer"]
        phases = [each["mass"] for each in told if "phase" in each.get("mass", {})]
        assert [(each["phase"], each["state"]) for each in phases] == [
            (name, state) for name in names for state in ("begun", "done")
        ]
        assert all(each["choices"][0]["delta"] == {} for each in told[: len(phases)]), (
            "who knows no phases sees nothing"
        )
        spoken = "".join(each["choices"][0]["delta"].get("content", "") for each in told[:-1])
        assert spoken == whole["choices"][0]["message"]["content"]
        assert told[-2]["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"]
        assert without_time(told[-2]["mass"]) == without_time(whole["mass"])
        assert told[-1]["choices"] == [] and told[-1]["usage"] == whole["usage"]
        assert [("practice" in each) for each in phases if each["phase"] == "write"] == [False, bool(mass)]
        assert [("weights" in each) for each in phases if each["phase"] == "weigh"] == [False, bool(mass)]


def test_an_answer_is_cut_where_it_is_asked_to_be(client: TestClient, adapter: MassAdapter, texts: list[str]):
    whole = adapter.adapt(texts[0]).answer
    words = whole.split()
    for body in ({"max_tokens": 2}, {"max_completion_tokens": 2}):
        found = client.post("/v1/chat/completions", json=chat(texts[0], **body)).json()
        assert found["choices"][0]["message"]["content"] == " ".join(words[:2])
        assert found["choices"][0]["finish_reason"] == "length" and found["usage"]["completion_tokens"] == 2
    for stop in (words[1], ["never", words[1]]):
        found = client.post("/v1/chat/completions", json=chat(texts[0], stop=stop)).json()["choices"][0]
        assert found["message"]["content"] == whole[: whole.index(words[1])] and found["finish_reason"] == "stop"


def test_problems_can_be_completed_several_at_once(client: TestClient, adapter: MassAdapter, texts: list[str]):
    ids = adapter.learner.actor.tokenizer.encode(texts[2])
    prompts = [texts[0], texts[1], ids]
    for prompt in (prompts, prompts[:1], texts[0]):
        found = client.post("/v1/completions", json={"model": MODEL, "prompt": prompt}).json()
        answers = [each.answer for each in adapter.adapt(texts[:3] if prompt is prompts else texts[:1])]
        assert [each["text"] for each in found["choices"]] == answers and found["object"] == "text_completion"
        assert [each["index"] for each in found["choices"]] == list(range(len(answers)))
        assert isinstance(found["mass"], list) == (len(answers) > 1)
    one = client.post("/v1/completions", json={"model": MODEL, "prompt": ids, "stream": True})
    assert "".join(each["choices"][0]["text"] for each in events(one.text)) == adapter.adapt(texts[2]).answer


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"model": "other"}, 404, r"model = 'other' is not here: ask for tiny or tiny:base"),
        ({"messages": []}, 400, "messages are of none: a problem stands alone"),
        ({"messages": [{"role": "system", "content": "x"}, {"role": "user", "content": "y"}]}, 400, "of system, user"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400, "a list of parts that are texts"),
        ({"messages": [{"role": "user", "content": "no such word"}]}, 400, "'no such word' cannot be read"),
        ({"messages": [{"role": "user", "content": " "}]}, 400, "has no text"),
        ({"temperature": 0.7}, 400, "temperature = 0.7: answers are greedy: give 0 or leave it out"),
        ({"n": 2}, 400, "n = 2: there is one answer"),
        ({"tools": []}, 400, "tools is no field that this server knows"),
        ({"max_tokens": 0}, 400, "max_tokens = 0: Input should be greater than or equal to 1"),
        ({"stop": [""]}, 400, "stop.0 = ''"),
        ({"seed": -1}, 400, "seed = -1: give a whole number from 0"),
        ({"mass": {"m": 0}}, 400, "mass.m = 0"),
        ({"mass": {"m": 4, "k": 3}}, 400, "cannot be split evenly over inner.steps = 3"),
        ({"mass": {"votes": 2}}, 400, "votes = 2: two that differ decide nothing"),
        ({"mass": {"seconds": 0}}, 400, "seconds = 0"),
        ({"mass": {"M": 1}}, 400, "mass.M is no field"),
        ({"mass": {"m": True}}, 400, "mass.m = True"),
        ({"stream": True, "mass": {"m": 4, "k": 3}}, 400, "cannot be split evenly"),
    ],
)
def test_what_cannot_be_answered_is_a_sentence(
    client: TestClient, texts: list[str], body: Any, status: int, words: str
):
    refused = client.post("/v1/chat/completions", json=chat(texts[0]) | body)
    error = refused.json()["error"]
    assert refused.status_code == status and re.search(words, error["message"]), error
    assert error["type"] == "invalid_request_error" and {"param", "code"} <= error.keys()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"echo": True}, "ask tiny:base"),
        ({"logprobs": 1}, "ask tiny:base"),
        ({"model": BASE, "mass": {}}, "leave mass out"),
        ({"model": BASE, "logprobs": 6}, "logprobs = 6"),
        ({"prompt": []}, "give a text, ids of tokens, or a list of such"),
        ({"prompt": [1, "x"]}, "give a text, ids of tokens, or a list of such"),
        ({"prompt": ["0"] * 5}, "there are 5 prompts, and 4 are the most"),
        ({"prompt": ["0"] * 2, "stream": True}, "there are 2 prompts, and one is streamed"),
        ({"prompt": [[149]], "model": BASE}, "has token 149: give ids from 0 to 148"),
        ({"prompt": [149]}, "there is no token 149"),
        ({"prompt": "who", "model": BASE}, "the prompt cannot be read: the word 'who'"),
        ({"prompt": "0", "model": BASE, "max_tokens": 31}, "2 tokens and max_tokens = 31, but .* holds 32"),
        ({"prompt": "0", "model": BASE, "max_tokens": 0}, "max_tokens = 0 asks for nothing"),
    ],
)
def test_what_cannot_be_completed_is_a_sentence(client: TestClient, texts: list[str], body: Any, words: str):
    refused = client.post("/v1/completions", json={"model": MODEL, "prompt": texts[0]} | body)
    assert refused.status_code == 400 and re.search(words, refused.json()["error"]["message"]), refused.json()


def test_bodies_that_are_none(client: TestClient):
    post = {"Content-Type": "application/json"}
    for content, words in (
        (b"{", "the body is no JSON"),
        (b"[]", "the body = "),
        (b"\xff", "no JSON"),
        (b"{}", "missing"),
    ):
        refused = client.post("/v1/chat/completions", content=content, headers=post)
        assert refused.status_code == 400 and words in refused.json()["error"]["message"], refused.json()
    refused = client.post("/v1/chat/completions", content=b"{}", headers={"Content-Type": "text/plain"})
    assert refused.status_code == 415 and "send application/json" in refused.json()["error"]["message"]
    for size, words in ((4001, "has 4001 bytes, and 4000 are the most"), (10_000_000, "has more than ")):
        refused = client.post("/v1/chat/completions", content=b" " * size, headers=post)
        assert refused.status_code == 413 and words in refused.json()["error"]["message"]
    assert client.post("/v1/chat/completions", content=b" " * 4000, headers=post).status_code == 400
    wrong = client.get("/v1/chat/completions")
    assert wrong.status_code == 405 and wrong.headers["allow"] == "POST"
    assert wrong.json()["error"]["message"] == "/v1/chat/completions takes no GET: ask it by POST."
    assert "there is no /v2 here" in client.get("/v2").json()["error"]["message"]


def test_models_are_listed(client: TestClient):
    assert [each["id"] for each in client.get("/v1/models").json()["data"]] == [MODEL, BASE]
    assert client.get(f"/v1/models/{BASE}").json()["object"] == "model"
    assert client.get("/v1/models/none").status_code == 404


def test_texts_become_tokens_and_texts_again(client: TestClient, texts: list[str]):
    info = client.get("/tokenizer_info").json()
    assert (info["eos_token"], info["bos_token"]) == ("<eos>", "<bos>")
    bare, opened = (
        client.post("/tokenize", json={"prompt": texts[0], "add_special_tokens": add}).json() for add in (False, True)
    )
    assert opened["tokens"] == [1, *bare["tokens"]] and opened["count"] == len(opened["tokens"])
    assert client.post("/detokenize", json=bare).json() == {"prompt": texts[0]}
    assert client.post("/tokenize", json={"prompt": "who"}).status_code == 400
    assert client.post("/detokenize", json={"tokens": [149]}).status_code == 400


def test_what_is_counted(client: TestClient, texts: list[str]):
    def counts() -> dict[str, float]:
        lines = client.get("/metrics").text.splitlines()
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line[:1] != "#"}

    before = counts()
    client.post("/v1/chat/completions", json=chat(texts[0]))
    client.post("/v1/chat/completions", json={})
    client.get("/some/other")
    after = counts()
    grown = {name for name in after if after[name] > before.get(name, 0)}
    assert {
        'mass_requests_total{path="/v1/chat/completions",status="200"}',
        'mass_requests_total{path="/v1/chat/completions",status="400"}',
        'mass_requests_total{path="other",status="404"}',
        'mass_answers_total{updated="true"}',
        'mass_tokens_total{phase="write"}',
        'mass_phase_seconds_count{phase="adapt"}',
        "mass_batch_rows_count",
    } <= grown
    assert after["mass_waiting"] == after["mass_running"] == 0


def test_without_the_key_nobody_is_answered(adapter: MassAdapter):
    with TestClient(application(adapter, key="a secret"), base_url="http://example.org") as client:
        for given in (None, "Bearer a secre", "Bearer", "Basic a secret", "Bearer a secret\xe9"):
            headers = {} if given is None else {"Authorization": given.encode("latin-1")}
            refused = client.get("/v1/models", headers=headers)  # type: ignore[arg-type]
            assert refused.status_code == 401 and refused.json()["error"]["code"] == "invalid_api_key"
            assert client.get("/metrics", headers=headers).status_code == 401  # type: ignore[arg-type]
        assert client.get("/v1/models", headers={"Authorization": "Bearer a secret"}).status_code == 200
        assert client.get("/health").json() == {"status": "ok"}


@pytest.mark.parametrize(
    ("host", "status"), [("127.0.0.1", 200), ("[::1]:80", 200), ("localhost:1", 200), ("evil.example", 403)]
)
def test_without_a_key_only_this_machine_is_answered(client: TestClient, host: str, status: int):
    assert client.get("/v1/models", headers={"Host": host}).status_code == status


def test_who_closes_says_so(adapter: MassAdapter, texts: list[str]):
    app = application(adapter)
    with TestClient(app, base_url="http://localhost") as client:
        app.state.service.worker.close()
        assert client.get("/health").status_code == 503 and client.get("/health").json()["status"] == "draining"
        refused = client.post("/v1/chat/completions", json=chat(texts[0]))
        assert refused.status_code == 503 and refused.headers["retry-after"] == "5"
        assert refused.json()["error"]["type"] == "server_error"


def test_what_nobody_foresaw_is_told_without_details(adapter: MassAdapter, texts: list[str], monkeypatch):
    broken = dataclasses.replace(adapter, learner=dataclasses.replace(adapter.learner, actor=None))  # type: ignore[arg-type]
    with TestClient(application(broken), base_url="http://localhost", raise_server_exceptions=False) as client:
        refused = client.post("/v1/chat/completions", json=chat(texts[0]))
        assert refused.status_code == 500 and refused.json()["error"]["message"].endswith("its log says why.")


def test_a_silent_stream_shows_that_it_lives(monkeypatch: pytest.MonkeyPatch):
    import asyncio
    from types import SimpleNamespace

    from mass_jax.inference.adapter import Event
    from mass_jax.serving import service

    monkeypatch.setattr(service, "PULSE", 0.001)

    async def heard() -> list[Any]:
        ticket, found = Ticket(SimpleNamespace(together=1)), list[Any]()  # type: ignore[arg-type]
        async for each in _told(ticket, Event("write"), Clock(300)):
            found.append(each)
            if each is None and found.count(None) == 1:
                ticket.job.tell("the result")
        return found

    found = asyncio.run(heard())
    assert found[0] == Event("write") and found[1] is None and found[-1] == "the result"
