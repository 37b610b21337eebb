"""What orbax says beside what it raises is not seen; all else is."""

import asyncio
import gc
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import tensorstore

from mass_jax.runtime import chatter


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is shown of exceptions that cannot be raised."""
    shown: list[str] = []
    plain = lambda unraisable: shown.append(str(unraisable.exc_value))  # noqa: E731
    monkeypatch.setattr(sys, "unraisablehook", chatter.without_leftovers(plain))
    return shown


def in_file(path: str) -> Callable[[Any], Coroutine]:
    """A coroutine function that waits, and raises when it is thrown away."""
    lines = ("async def waits(answer):", " try: await answer", " finally: raise ValueError('thrown away')")
    exec(compile("\n".join(lines), path, "exec"), defined := {})
    return defined["waits"]


def test_of_a_save_that_fails_only_its_exception_is_seen(seen: list[str]):
    promise, answer = tensorstore.Promise.new()

    async def fails() -> None:
        raise OSError("No space left on device")

    async def save(write: Coroutine) -> None:
        await asyncio.gather(write, fails())

    loop = asyncio.new_event_loop()
    with pytest.raises(OSError, match="No space"):
        loop.run_until_complete(save(in_file(os.path.join("lib", "orbax", "writes.py"))(answer)))
    loop.close()
    promise.set_result(1)
    del promise, answer, loop
    gc.collect()
    assert seen == []


def test_what_others_cannot_raise_is_seen(seen: list[str]):
    class Broken:
        def __del__(self) -> None:
            raise RuntimeError("Event loop is closed")

    Broken()
    thrown = in_file("own.py")(asyncio.Future(loop=asyncio.new_event_loop()))
    thrown.send(None)
    del thrown
    assert seen == ["Event loop is closed", "thrown away"]
