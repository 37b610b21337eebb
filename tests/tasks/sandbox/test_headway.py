"""What is told of processes that work, wait and stand still; none of it depends on how busy the machine is."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from mass_jax.tasks.sandbox import headway

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux says it")
WORKS = """
import threading
def work():
    print(flush=True)
    while True: pass
"""
ASLEEP = "print(flush=True); input()"
THREAD = f"{WORKS}threading.Thread(target=work).start()"
CHILD = f"{WORKS}import os\nos.wait() if os.fork() else work()"


@contextlib.contextmanager
def process(code: str) -> Iterator[subprocess.Popen]:
    """One that has come to where it prints a line; it ends with all that it has started."""
    command = [sys.executable, "-S", "-E", "-c", code]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, start_new_session=True, **pipes) as running:
        try:
            assert running.stdout.readline()
            yield running
        finally:
            os.killpg(running.pid, signal.SIGKILL)


@pytest.mark.parametrize("code", [THREAD, CHILD], ids=["a thread", "a child"])
def test_who_works_is_ready_and_moves_however_little_it_is_let(code: str):
    with process(code) as running:
        while any(not headway.ready(running.pid) for _ in range(3)):  # it may still be printing
            pass
        watch = headway.Watch(running.pid)
        assert all(watch.moved() for _ in range(20))


def test_who_sleeps_or_is_stopped_does_not_move():
    with process(ASLEEP) as running:
        watch = headway.Watch(running.pid)
        while watch.moved():
            time.sleep(0.01)
        assert headway.used(running.pid) > 0
    with process(THREAD) as running:
        running.send_signal(signal.SIGSTOP)
        watch = headway.Watch(running.pid)
        while watch.moved():
            time.sleep(0.01)


def test_of_a_process_that_is_gone_nothing_is_said():
    with process(ASLEEP) as running:
        pass
    assert headway.used(running.pid) == 0 and not headway.ready(running.pid)
