"""The run of an earlier version, and the command line on it."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from mass_jax.inference import command_line
from mass_jax.inference.adapter import MassAdapter
from mass_jax.study.load import read_config

RUN = Path(__file__).parents[1] / "study" / "earlier" / "run"


class Ended(NamedTuple):
    """How a command ended."""

    status: int | str | None
    out: str
    err: str


Command = Callable[..., Ended]


@pytest.fixture(scope="module")
def adapter() -> MassAdapter:
    return MassAdapter.load(RUN, batch=2)


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """Three problems of the run's domain."""
    return [problem.prompt for problem in read_config(RUN).task.load("test")[:3]]


@pytest.fixture
def command(adapter: MassAdapter, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """`mass-adapt --model RUN` with further words, on what is loaded already."""
    monkeypatch.setattr(MassAdapter, "load", lambda *_, **__: adapter)
    monkeypatch.setattr(command_line, "enable_compilation_cache", lambda: None)

    def run(*words: object) -> Ended:
        with pytest.raises(SystemExit) as ended:
            command_line.run(["--model", str(RUN), *map(str, words)])
        return Ended(ended.value.code, *capsys.readouterr())

    return run
