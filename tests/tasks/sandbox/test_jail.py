"""Hostile programs in jails: none leaves, none passes, and nothing is left of any."""

import contextlib
import os
import platform
import re
import socket
import time
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from experiments.benchmarks.jails.attacks import ATTACKS, written
from mass_jax.tasks.code import judge
from mass_jax.tasks.sandbox import jail, syscalls
from mass_jax.tasks.sandbox.jail import Jail, Limits
from mass_jax.tasks.sandbox.server import WALLS

TESTS = {"setup": "", "asked": ["f"], "tests": ["assert f() == 'done'"]}
LIMITS = {"seconds": 1}


@contextlib.contextmanager
def without(*walls: str) -> Iterator[None]:
    """Servers that are started meanwhile find that these walls cannot be built."""
    taken = "".join(f"server.WALLS[{wall!r}] = taken\n" for wall in walls)
    code = f"from mass_jax.tasks.sandbox import server\ndef taken(): raise OSError('taken away')\n{taken}main(sys"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jail, "_PROGRAM", jail._PROGRAM.replace("; ", "\n").replace("main(sys", code))
        yield


@pytest.fixture(scope="module", params=["all walls", "no namespaces"])
def held(request) -> Iterator[Jail]:
    """One server for all attacks."""
    taken = [wall for wall in ("namespaces",) if request.param != "all walls"]
    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("SECRET", "of the parent")
        with without(*taken):
            server = stack.enter_context(Jail(judge.ROLES, anyhow=True))
        needs(server, {*WALLS} - {*taken})
        patch.setattr(judge, "_jail", lambda: server)
        yield server


def needs(server: Jail, walls: Collection[str]) -> None:
    if lacking := server.missing.keys() & walls:
        pytest.skip(f"this system has not {', '.join(lacking)}: {jail.described(server.missing)}")


def children(pid: int | str) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def left(pid: int | str) -> list[str]:
    """What the process has started and has not ended, and its open files."""
    files = []
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # that of the listing itself
            files.append(os.readlink(each))
    return [f"process {child}" for child in children(pid)] + sorted(files)


def test_a_right_solution_passes(held: Jail):
    assert judge.judge("def f(): return 'done'", TESTS, LIMITS) == {"passed": 1, "reason": ""}


@pytest.mark.parametrize("name", ATTACKS)
def test_no_attack_leaves_its_jail_or_passes(held: Jail, name: str, tmp_path: Path):
    secret = tmp_path / "secret"
    secret.write_text("of the parent")
    found = judge.judge(written(name, str(secret), os.getpid()), TESTS, LIMITS)
    assert found["passed"] == 0
    assert re.search(ATTACKS[name][1], found["reason"]), found["reason"]
    assert secret.read_text() == "of the parent" and not Path("/tmp/outside").exists()


def test_the_walls_of_namespaces_hold_without_the_list_of_calls(monkeypatch, tmp_path: Path):
    """What another list of calls would let through: no other process, no network, nothing that goes on."""
    secret = tmp_path / "secret"
    secret.write_text("of the parent")
    with without("seccomp", "landlock"), Jail(judge.ROLES, anyhow=True) as server:
        needs(server, ["namespaces"])
        monkeypatch.setattr(judge, "_jail", lambda: server)
        names = (
            "the parent's files",
            "passwords",
            "a signal to the test",
            "writing at the root",
            "its own /proc",
            "a mount",
        )
        for name in names:
            assert judge.judge(written(name, str(secret), os.getpid()), TESTS, LIMITS)["passed"] == 0, name
        bomb = "import os\ndef f():\n try:\n  while True: os.fork() or os.setsid()\n except OSError: return 'no more'"
        assert judge.judge(bomb, TESTS, LIMITS)["passed"] == 0
        network = "import socket\ndef f(): return socket.create_connection(('127.0.0.1', 1), 1)"
        assert "Network is unreachable" in judge.judge(network, TESTS, LIMITS)["reason"]
        # All that the bomb has started, and that would count against these, has ended with it.
        assert judge.judge("import os\ndef f(): return os.fork() and 'done'", TESTS, LIMITS)["passed"] == 1


@pytest.mark.parametrize("held", ["all walls"], indirect=True)
def test_what_never_ends_is_ended_by_its_processor_time_or_by_the_clock(held: Jail, monkeypatch):
    in_c = "import itertools\ndef f(): sum(itertools.repeat(1))"
    assert judge.judge(in_c, TESTS, LIMITS)["reason"] == "over the time limit of 1 s"
    endless = {**TESTS, "tests": ["while True: pass"]}
    found = judge.judge("def f(): return 'done'", endless, LIMITS)
    assert found == {"passed": 0, "reason": "the tests: over the time limit of 1 s"}
    monkeypatch.setattr(jail, "_PATIENCE", 0.2)
    asleep = "import time\ndef f(): time.sleep(999)"
    assert judge.judge(asleep, TESTS, LIMITS)["reason"] == "the tests: it did nothing for 0.2 s"
    waits = [True, True, False]  # as where others have the processor
    monkeypatch.setattr(jail.headway, "ready", lambda pid: waits.pop(0) if waits else False)
    assert judge.judge(asleep, TESTS, LIMITS)["reason"] == "the tests: it did nothing for 0.2 s"
    assert not waits, "who stands in line for a processor is not given up"


def test_who_was_kept_waiting_itself_gives_nobody_up(held: Jail, monkeypatch):
    monkeypatch.setattr(jail, "_PATIENCE", 0.2)
    serve, calls = jail._serve, list[int]()

    def slowly(*given):
        calls.append(1)
        serve(*given)
        time.sleep(0.3 if len(calls) < 6 else 0.0)  # as where others have the processor

    monkeypatch.setattr(jail, "_serve", slowly)
    asleep = "import time\ndef f(): time.sleep(999)"
    assert judge.judge(asleep, TESTS, LIMITS)["reason"] == "the tests: it did nothing for 0.2 s"
    assert len(calls) >= 6, "nobody is given up by one who looks late"


def test_a_crash_is_told_of_a_process_that_was_killed_while_it_was_dying():
    def told(status: int, killed: bool) -> str:
        cell = jail._Cell(1, socket.socket(), 0, b"")
        with cell.control:
            return jail._report(cell, {"status": status, "seconds": 0.0, "killed": killed}, Limits()).reason

    assert told(-11, True) == told(-11, False) == "it was ended by SIGSEGV"
    assert told(-9, True) == ""


def test_a_server_is_waited_for_as_long_as_it_gets_on(monkeypatch):
    monkeypatch.setattr(jail, "_ANSWERS", 0.01)
    with Jail(judge.ROLES, anyhow=True) as server:
        needs(server, [])
    monkeypatch.setattr(jail.headway.Watch, "moved", lambda self: False)
    with pytest.raises(RuntimeError, match="the server of jails has died"):
        Jail(judge.ROLES, anyhow=True)


def test_hostile_programs_in_a_row_leave_nothing_behind(held: Jail):
    processes = [os.getpid(), held._process.pid, *children(held._process.pid)]
    before = [*map(left, processes)]
    for name in [*ATTACKS][::3]:
        judge.judge(written(name, "/etc/hostname", os.getpid()), TESTS, LIMITS)
    assert [*map(left, processes)] == before


def test_with_its_judge_the_server_ends_and_all_that_it_started():
    with Jail(judge.ROLES, anyhow=True) as server:
        needs(server, ["namespaces"])
        guard = server._process.pid
        (inside,) = children(guard)
        server._start("solution", b"", socket.socketpair()[0], Limits()).close()
        (cell,) = children(inside)
        server._process.kill()
    while any(Path(f"/proc/{pid}").exists() for pid in (guard, inside, cell)):
        time.sleep(0.01)  # the kernel ends them, when it comes to it


def test_a_jail_that_is_not_sound_is_refused_unless_asked_for():
    with without("seccomp"):
        with pytest.raises(PermissionError, match="this system cannot keep foreign code in: .*seccomp: taken away."):
            Jail(judge.ROLES)
        with Jail(judge.ROLES, anyhow=True) as server:
            assert server.missing["seccomp"] == "taken away"
    with without("namespaces", "landlock"), pytest.raises(PermissionError, match="taken away; landlock: taken away."):
        Jail(judge.ROLES)


def test_limits_that_no_process_can_live_with_are_refused():
    with pytest.raises(ValueError, match="memory = 1000: a process in a jail needs 134217728 or more"):
        Limits(memory=1000)


@pytest.mark.parametrize(
    ("machine", "header"),
    [("x86_64", "x86_64-linux-gnu/asm/unistd_64.h"), ("aarch64", "asm-generic/unistd.h")],
)
def test_numbers_of_system_calls_are_the_kernels(machine: str, header: str):
    path = Path("/usr/include") / header
    if not path.exists():
        pytest.skip("the kernel's headers are not installed")
    found = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", path.read_text()))
    renamed = {"fstat": "fstat", "newfstatat": "fstatat"} if machine == "aarch64" else {}
    for name, number in syscalls.allowed(machine).items():
        assert int(found[renamed.get(name, name)]) == number, name


def test_a_machine_without_a_list_has_no_wall_of_calls():
    with pytest.raises(OSError, match="no list of system calls for the machine 'vax'"):
        syscalls.filter_program("vax")
    assert syscalls.filter_program(platform.machine())
