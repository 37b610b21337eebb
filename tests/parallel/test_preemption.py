"""A notice ends a program with its status and a sentence, and a second one even where it hangs."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
import ctypes, sys, threading, time
from mass_jax.parallel import preemption

preemption.PATIENCE = {number: 0.1 for number in preemption.PATIENCE}
preemption.leave_on_notice()
if sys.argv[1] == "hangs":
    # A mutex that this thread has already: a wait in which no handler of Python's is called.
    mutex, lock = ctypes.create_string_buffer(128), ctypes.CDLL(None).pthread_mutex_lock
    lock(mutex)
    threading.Timer(0.5, print, ["ready"], {"flush": True}).start()
    lock(mutex)
try:
    print("ready", flush=True)
    time.sleep(60)
finally:
    print("tidied up", flush=True)
"""


@pytest.mark.parametrize(("where", "number", "status"), [("works", signal.SIGINT, 130), ("hangs", signal.SIGTERM, 75)])
def test_a_notice_is_a_sentence_and_a_status(where: str, number: signal.Signals, status: int):
    command = [sys.executable, "-c", PROGRAM, where]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
            process.send_signal(number)
            if where == "hangs":
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(0.5)
                process.send_signal(number)
            printed, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == status
    assert errors.startswith("Stopped") and errors.count("\n") == 1, errors
    assert (printed == "tidied up\n") == (where == "works")
