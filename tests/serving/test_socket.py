"""The server over a socket: many at once, clients that leave, time that is over; and OpenAI's own client."""

import http.client
import json
import socket
import threading
import time
from types import SimpleNamespace
from typing import Any

import jax
import openai
import pytest

from mass_jax.inference.adapter import Event, MassAdapter, Watch
from mass_jax.inference.options import Options
from mass_jax.serving import engine, service, waiting
from mass_jax.serving.app import application
from mass_jax.serving.door import Limits
from tests.serving.conftest import Served, serving, until


def chat(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "tiny", "messages": [{"role": "user", "content": text}]} | more


class Blocked:
    """In place of the model: a batch that runs until it may end, or is abandoned."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.may, self.stopped, self.batches = threading.Event(), threading.Event(), list[int]()
        self._answer = engine.answer
        monkeypatch.setattr(engine, "answer", self.answer)

    def answer(self, adapter: MassAdapter, rows: Any, watch: Watch) -> Any:
        self.batches.append(len(rows))
        try:
            while not self.may.wait(0.01):
                watch(Event("write"))
        except BaseException:
            self.stopped.set()
            raise
        return self._answer(adapter, rows, watch)


@pytest.fixture
def blocked(monkeypatch: pytest.MonkeyPatch) -> Blocked:
    return Blocked(monkeypatch)


@pytest.mark.parametrize("stream", [False, True])
def test_the_work_of_who_leaves_is_stopped(small: Served, blocked: Blocked, texts: list[str], stream: bool):
    connection = small.sent("/v1/chat/completions", chat(texts[0], stream=stream))
    until(lambda: small.service.worker.running == 1)
    waiting = small.sent("/v1/chat/completions", chat(texts[1], stream=stream))
    until(lambda: small.service.worker.waiting == 1)
    waiting.close()
    until(lambda: small.service.worker.waiting == 0)
    assert not blocked.stopped.is_set()
    if stream:
        assert connection.getresponse().readline().startswith(b"data: ")
    connection.close()
    assert blocked.stopped.wait(300)
    blocked.may.set()
    assert small.sent("/v1/chat/completions", chat(texts[2])).getresponse().status == 200, "the next is answered"


def test_who_leaves_in_the_midst_of_a_body_is_no_fault_of_the_server(small: Served):
    with socket.create_connection(("127.0.0.1", small.port), timeout=300) as leaving:
        head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        leaving.sendall(f"{head}Content-Length: 9\r\n\r\n{{".encode())

    def counted() -> list[str]:
        (found,) = small.service.metrics.requests.collect()
        return [each.labels["status"] for each in found.samples if each.name == "mass_requests_total"]

    until(counted)
    assert counted() == ["499"]


def test_one_of_two_that_leaves_does_not_take_the_other_along(small: Served, blocked: Blocked, texts: list[str]):
    first = small.sent("/v1/chat/completions", chat(texts[5]))
    until(lambda: small.service.worker.running == 1)
    leaving, staying = (small.sent("/v1/chat/completions", chat(text)) for text in texts[:2])
    until(lambda: small.service.worker.waiting == 2)
    first.close()
    until(lambda: small.service.worker.running == 2)
    leaving.close()
    blocked.may.set()
    assert staying.getresponse().status == 200 and blocked.batches == [1, 2]


def test_who_finds_no_room_is_told(small: Served, blocked: Blocked, texts: list[str]):
    sent = [small.sent("/v1/chat/completions", chat(texts[0]))]
    until(lambda: small.service.worker.running == 1)
    for i in range(1, 4):
        sent.append(small.sent("/v1/chat/completions", chat(texts[i])))
        until(lambda: small.service.worker.waiting == i)  # noqa: B023
    refused = small.sent("/v1/chat/completions", chat(texts[4])).getresponse()
    assert refused.status == 429 and refused.headers["Retry-After"] == "1"
    assert "3 requests are waiting" in json.load(refused)["error"]["message"]
    blocked.may.set()
    assert [each.getresponse().status for each in sent] == [200] * 4 and blocked.batches[0] == 1


def test_time_that_is_over_is_told(adapter: MassAdapter, blocked: Blocked, texts: list[str]):
    with serving(application(adapter, Limits(seconds=0.5))) as served:
        response = served.sent("/v1/chat/completions", chat(texts[0])).getresponse()
        error = json.load(response)["error"]
        assert response.status == 504
        assert "no answer within 0.5 seconds" in error["message"] and error["code"] == "timeout"
        assert blocked.stopped.wait(300), "and nothing works on for nobody"
        # A body that does not come takes no longer.
        with socket.create_connection(("127.0.0.1", served.port), timeout=300) as slow:
            head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            slow.sendall(f"{head}Content-Length: 9\r\n\r\n{{".encode())
            assert slow.recv(4096).startswith(b"HTTP/1.1 408")


def test_time_that_is_over_is_told_within_a_stream(
    adapter: MassAdapter, blocked: Blocked, texts: list[str], monkeypatch: pytest.MonkeyPatch
):
    now = [0.0]
    monkeypatch.setattr(waiting, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(service, "PULSE", 0.01)
    with serving(application(adapter, Limits(seconds=1000))) as served:
        response = served.sent("/v1/chat/completions", chat(texts[0], stream=True)).getresponse()
        assert response.status == 200 and response.readline().startswith(b"data: ")
        now[0] = 1001.0
        error = json.loads(response.read().decode().strip().rpartition("data: ")[2])["error"]
        assert "no answer within 1000 seconds" in error["message"] and blocked.stopped.wait(300)


@pytest.mark.parametrize("stream", [False, True])
def test_making_a_program_takes_none_of_the_time(
    adapter: MassAdapter, blocked: Blocked, texts: list[str], stream: bool
):
    limit, made = 0.5, "/jax/core/compile/backend_compile_duration"
    with serving(application(adapter, Limits(seconds=limit))) as served:
        jax.monitoring.record_scalar(made, 0.0)  # as JAX says that it begins
        try:
            connection = served.sent("/v1/chat/completions", chat(texts[0], stream=stream))
            until(lambda: served.service.worker.running == 1)
            time.sleep(2 * limit)
            blocked.may.set()
            response = connection.getresponse()
            assert response.status == 200 and b"answer_before" in response.read()
        finally:
            jax.monitoring.record_event_duration_secs(made, 0.0)


def test_answers_are_not_mixed_up(served: Served, adapter: MassAdapter, texts: list[str]):
    expected = [adapter.adapt(text, Options(seed=i)) for i, text in enumerate(texts)]
    found: dict[int, Any] = {}

    def ask(i: int) -> None:
        body = chat(texts[i], seed=i, mass={"return_practice": True})
        found[i] = json.load(served.sent("/v1/chat/completions", body).getresponse())

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(texts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, each in enumerate(expected):
        assert found[i]["choices"][0]["message"]["content"] == each.answer
        assert found[i]["mass"]["practice"] == each.as_json()["practice"]
        assert found[i]["mass"]["answer_before"] == each.answer_before


def test_the_real_client(served: Served, adapter: MassAdapter, texts: list[str]):
    client = openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0)
    expected = adapter.adapt(texts[0], Options(seed=3))
    assert [model.id for model in client.models.list()] == ["tiny", "tiny:base"]
    asked: dict[str, Any] = {
        "model": "tiny",
        "messages": [{"role": "user", "content": texts[0]}],
        "extra_body": {"mass": {"seed": 3}},
    }
    found = client.chat.completions.create(**asked)
    assert found.choices[0].message.content == expected.answer
    assert found.mass["updated"] is expected.updated and found.usage is not None
    pieces = list(client.chat.completions.create(**asked, stream=True))
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == expected.answer
    assert [piece.mass["phase"] for piece in pieces[:-2:2]][:2] == ["answer_before", "write"]
    text = client.completions.create(model="tiny:base", prompt=texts[0], max_tokens=2, logprobs=1, echo=True)
    assert text.choices[0].logprobs is not None and text.choices[0].logprobs.token_logprobs is not None
    assert text.choices[0].text.startswith(texts[0]) and len(text.choices[0].logprobs.token_logprobs) > 2
    with pytest.raises(openai.NotFoundError, match="ask for tiny or tiny:base"):
        client.chat.completions.create(model="gpt", messages=asked["messages"])
    with pytest.raises(openai.BadRequestError, match="answers are greedy"):
        client.chat.completions.create(model="tiny", messages=asked["messages"], temperature=1)


def test_a_connection_is_kept(served: Served):
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=300)
    for _ in range(2):
        connection.request("GET", "/health")
        assert json.load(connection.getresponse()) == {"status": "ok"}
