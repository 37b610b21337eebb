"""How processes meet before the runtime starts, and what is said where they do not; without any runtime."""

import contextlib
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

import pytest

from experiments.benchmarks.pod_local import free_port
from mass_jax.parallel import rendezvous
from mass_jax.parallel.rendezvous import JoinError


def together(*calls: Callable[[], object]) -> list[object]:
    """What each of several processes gets, or the words of its error."""
    with ThreadPoolExecutor(len(calls)) as pool:
        futures = [pool.submit(call) for call in calls]
        return [str(future.exception()) if future.exception() else future.result() for future in futures]


def processes(*told: tuple[int, int], patience: float = 100.0, at: str | None = None) -> list[object]:
    """What processes get that were told such counts and numbers."""
    at = at or f"localhost:{free_port()}"
    return together(*(lambda told=told: rendezvous.meet(at, *told, patience) for told in told))


def knock(at: str, said: bytes) -> None:
    """Say something to the first process as soon as it listens, and go."""
    host, port = at.split(":")
    while True:
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection((host, port)) as line:
            line.sendall(said)
            return


@pytest.mark.parametrize(
    "before",
    [
        b"GET / HTTP/1.1\n",
        b"[]\n",
        b"[" * 9999,
        b'{"processes": 3, "process": []}\n',
        b"",
        b'{"processes": 3, "process": 1}\n',
    ],
    ids=lambda said: str(said[:40]),
)
def test_those_who_agree_have_lines_to_each_other(before: bytes):
    # Whoever else comes, be it a process that was killed while it waited, and that is there again.
    at = f"127.0.0.1:{free_port()}"
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(rendezvous.meet, at, 3, 0, 100.0)
        knock(at, before)
        others = processes((3, 1), (3, 2), at=at)
        first = waiting.result()
    assert set(first) == {1, 2} and all(set(other) == {0} for other in others)
    for number, other in enumerate(others, 1):
        rendezvous.send(first[number], {"process": 0, "status": number})
        assert rendezvous.hear(other[0]) == {"process": 0, "status": number}
        other[0].close()
        assert rendezvous.hear(first[number]) is None


def test_who_has_gone_again_is_waited_for():
    at = f"127.0.0.1:{free_port()}"
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(rendezvous.meet, at, 3, 0, 100.0)
        knock(at, b'{"processes": 3, "process": 1}\n')
        second = pool.submit(rendezvous.meet, at, 3, 2, 100.0)
        assert not wait([first, second], timeout=0.5).done
        (there_again,) = processes((3, 1), at=at)
        assert set(first.result()) == {1, 2} and set(second.result()) == set(there_again) == {0}


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ([(2, 0), (3, 1)], "process 0 was told --processes=2, process 1 3"),
        ([(3, 0), (2, 1)], "process 0 was told --processes=3, process 1 2"),
        ([(2, 0), (2, 2)], "--process=2 is none of --processes=2"),
        ([(3, 0), (3, 1), (3, 1)], "two processes were told --process=1"),
    ],
)
def test_those_who_do_not_are_all_told_so_at_once(told: list[tuple[int, int]], words: str):
    # Who waited to the end would never see the words of a contradiction: patience is longer than any run of the tests.
    assert all(words in str(each) for each in processes(*told, patience=3600.0))


def test_who_does_not_come_is_named():
    waited, other = processes((3, 0), (3, 2), patience=1.0)
    assert waited == other and "process 1 of 3 did not come to 127.0.0.1:" in waited
    (alone,) = processes((2, 1), patience=0.5)
    assert "no first process was found at localhost:" in alone and "Connection refused" in alone


def test_a_port_that_is_taken_is_a_sentence_for_all():
    with socket.create_server(("127.0.0.1", 0)) as other_program:
        at = f"127.0.0.1:{other_program.getsockname()[1]}"
        first, second = processes((2, 0), (2, 1), patience=1.0, at=at)
    assert "cannot listen" in first and "Address already in use" in first and at in first
    assert "no first process was found" in second


@pytest.mark.parametrize(
    ("coordinator", "words"),
    [
        ("localhost", "is not host:port"),
        ("localhost:99999", "port from 1 to 65535"),
        (":1", "is not host:port"),
    ],
)
def test_a_coordinator_that_is_none_is_a_sentence(coordinator: str, words: str):
    with pytest.raises(JoinError, match=words):
        rendezvous.meet(coordinator, 2, 0, 1.0)


def test_only_the_address_given_is_listened_at(monkeypatch: pytest.MonkeyPatch):
    assert str(rendezvous.listen_address("127.0.0.1:1234")) == "127.0.0.1:1234"
    assert str(rendezvous.listen_address("[::1]:1234")) == "[::1]:1234"
    monkeypatch.setenv("JAX_COORDINATOR_BIND_ADDRESS", "0.0.0.0:99")
    assert str(rendezvous.listen_address("127.0.0.1:1234")) == "0.0.0.0:99"
