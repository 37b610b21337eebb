"""`mass-serve`: what it refuses before anything is loaded, and how it ends."""

import signal
import socket
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn

from mass_jax.serving import command_line
from mass_jax.serving.command_line import Server, run


@pytest.fixture(autouse=True)
def nothing_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*given: Any) -> None:
        raise AssertionError("a model is loaded")

    monkeypatch.delenv(command_line.KEY, raising=False)
    monkeypatch.setattr(command_line, "MassAdapter", SimpleNamespace(load=load))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--host=0.0.0.0"], "--host=0.0.0.0 can be reached from elsewhere, and there is no key"),
        (["--host=::"], "there is no key: give one by --api-key or MASS_API_KEY, or listen at 127.0.0.1"),
        (["--api-key="], "the key is empty"),
        (["--api-key= x"], "the key is empty, or has other letters"),
        (["--port=70000"], "--port=70000 cannot be listened at"),
        (["--host=no.such.host.invalid", "--api-key=k"], "cannot be listened at"),
        (["--max-body=0"], "--max-body = 0: give a number above 0"),
        (["--max-queue=-1"], "--max-queue = -1"),
        (["--max-seconds=nan"], "--max-seconds = nan"),
        (["--port=http"], "argument --port: invalid int value: 'http'. mass-serve --help shows the options."),
    ],
)
def test_what_is_wrong_is_a_sentence(words: list[str], said: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit, match="2"):
        run(["--model=runs/none", *words])
    told = capsys.readouterr().err
    assert said in told and told.count("\n") == 1


def test_a_port_that_is_in_use_is_said(capsys: pytest.CaptureFixture[str]):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(SystemExit, match="2"):
            run(["--model=runs/none", f"--port={other.getsockname()[1]}"])
    assert "cannot be listened at" in capsys.readouterr().err


def test_an_interrupt_while_it_loads_ends_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(command_line.MassAdapter, "load", lambda *_: signal.raise_signal(signal.SIGINT))
    with pytest.raises(SystemExit, match="130"):
        run(["--model=runs/none", "--port=0"])
    assert capsys.readouterr().err == ""


def test_the_key_of_the_environment_counts(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(command_line.KEY, "of the environment")
    assert command_line._key("0.0.0.0", None) == "of the environment"
    assert command_line._key("0.0.0.0", "given") == "given"


def test_a_notice_before_the_start_ends_it():
    server = Server(uvicorn.Config(lambda: None), SimpleNamespace(open=True))  # type: ignore[arg-type]
    server.handle_exit(signal.SIGTERM, None)
    assert server.should_exit and not server.force_exit


def test_a_second_interrupt_ends_it_at_once():
    server = Server(uvicorn.Config(lambda: None), SimpleNamespace(open=False))  # type: ignore[arg-type]
    server.handle_exit(signal.SIGINT, None)
    assert server.should_exit and server.force_exit
