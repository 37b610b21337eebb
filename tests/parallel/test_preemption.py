"""A notice ends a program with its status and a sentence, and a second one even where it hangs."""

import signal
import subprocess

import pytest

from tests import programs


def started(where: str, hangup: str) -> subprocess.Popen[str]:
    """The program; ``hangup`` is what the signal of a terminal that closes does, until the program asks for another."""
    return subprocess.Popen(
        ["env", f"--{hangup}-signal=HUP", *programs.command("parallel.program_notice", where)],
        cwd=programs.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    ("where", "number", "status"),
    [("works", signal.SIGINT, 130), ("works", signal.SIGHUP, 129), ("hangs", signal.SIGTERM, 75)],
)
def test_a_notice_is_a_sentence_and_a_status(where: str, number: signal.Signals, status: int):
    with started(where, "default") as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
            process.send_signal(number)
            if where == "hangs":
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(0.5)
                process.send_signal(number)
            printed, errors = process.communicate(timeout=600)
        finally:
            process.kill()
    assert process.returncode == status
    assert errors.startswith("Stopped") and errors.count("\n") == 1, errors
    assert (printed == "tidied up\n") == (where == "works")


def test_under_nohup_a_terminal_that_closes_ends_nothing():
    with started("works", "ignore") as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
            process.send_signal(signal.SIGHUP)
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=600)
        finally:
            process.kill()
    assert process.returncode == 75
