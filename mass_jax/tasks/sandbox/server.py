"""A fork server: one interpreter that has imported all it needs, and forks a process in a jail for each request.

It never sees what they run, so that no process finds in its memory what another one, or the judge of its own work,
was given. `jail.py` starts it and speaks with it over a socket, whose messages are JSON. The first is the server's:
which of the `WALLS` stand here, and why others do not. Then it is asked to

    {"start": role, "limits": {...}}   with three descriptors: output, control and link; it answers with {"pid": n}
    {"used": pid}                      it answers with {"seconds": s} of processor time so far
    {"end": pid, "over": o}            kills it, where it is over once it has ended; it answers with {"status": n,
                                       "seconds": s, "killed": k}, which says whether it was killed by this

and it ends, and all that it started with it, when its socket does.
"""

import fcntl
import gc
import json
import os
import resource
import runpy
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from typing import NoReturn

from mass_jax.tasks.sandbox import headway, kernel

FOLDER = "/work"
"""Where a process finds itself: empty, and all that there is."""
FILES = 1024
"""How many it may make there."""
DESCRIPTORS = 64
"""How many files it may have open."""
THREADS = 16
"""How many may run at once in all jails of a server; processes of its own it cannot start."""
CONTROL, LINK = 3, 4
"""Its open files beside standard input, which is empty, and output, which takes errors: to its judge, to its peer."""
MESSAGE = 4096
"""Bytes of a message."""


def main(program: str, descriptor: int) -> None:
    """Serve until the socket ends.

    Args:
      program: a file with ``prepare()``, which imports, and ``ROLES``: by name what a process runs, a function that is
        given the numbers `CONTROL` and `LINK`.
      descriptor: of the socket.
    """
    names = runpy.run_path(program)
    names["prepare"]()
    link = socket.socket(fileno=descriptor)
    kernel.give_up_root()
    walls = {name: attempt(wall) for name, wall in WALLS.items()}
    own = -1
    if not walls["namespaces"]:
        kernel.new_namespaces()
        inside = os.fork()
        if inside:
            link.close()
            os.waitpid(inside, 0)
            return
        kernel.die_with_parent()
        own = _empty_world()
    # Nothing is left to read of where it came from.
    os.environ.clear()
    sys.path.clear()
    sys.argv[:] = []
    gc.freeze()
    link.send(json.dumps(walls).encode())
    _serve(link, own, names["ROLES"], walls)


def attempt(wall: Callable[[], object]) -> str:
    """Why a wall cannot be built here, or an empty string. It is tried in a process of its own, which ends."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            wall()
            said = b"+"
        except BaseException as error:
            said = str(error).encode()[:500] or b"it failed"
        os.write(write, said)
        os._exit(0)
    os.close(write)
    said = os.read(read, 500)
    os.close(read)
    os.waitpid(pid, 0)
    return "" if said == b"+" else said.decode(errors="replace") or "the process that tried it was killed"


def _namespaces() -> None:
    def inside() -> None:
        own = _empty_world()
        kernel.unshare(kernel.NEW_PIDS)
        if reason := attempt(lambda: _own_folder(4096)):
            raise OSError(reason)
        kernel.enter(own, kernel.NEW_PIDS)

    kernel.new_namespaces()
    if reason := attempt(inside):
        raise OSError(reason)


def _landlock() -> None:
    kernel.no_new_privileges()
    kernel.only_folder(None)


def _seccomp() -> None:
    kernel.no_new_privileges()
    kernel.only_listed_calls()


WALLS: Mapping[str, Callable[[], None]] = {"namespaces": _namespaces, "landlock": _landlock, "seccomp": _seccomp}
"""What keeps a process in: an own world without files, network and others; no files of this one; few system calls."""


def _empty_world() -> int:
    """The file system is left; returns what leads back to the processes' own namespace."""
    own = os.open("/proc/self/ns/pid", os.O_RDONLY)
    kernel.empty_root(FOLDER)
    return own


def _own_folder(size: int) -> None:
    kernel.unshare(kernel.NEW_MOUNTS)
    kernel.mount_memory(FOLDER, size, FILES)
    os.chdir(FOLDER)


def _serve(link: socket.socket, own: int, roles: Mapping[str, Callable], walls: Mapping[str, str]) -> None:
    running: set[int] = set()
    while True:
        message, descriptors, _, _ = socket.recv_fds(link, MESSAGE, 3)
        if not message:
            break
        asked = json.loads(message)
        if "end" in asked:
            running.remove(asked["end"])
            answer = _end(asked["end"], asked["over"])
        elif "used" in asked:
            answer = {"seconds": headway.used(asked["used"])}
        else:
            if own >= 0:
                kernel.unshare(kernel.NEW_PIDS)  # what is forked next, and that alone, is the first of an own world
            pid = os.fork()
            if pid == 0:
                link.close()
                _inside(roles[asked["start"]], descriptors, asked["limits"], walls)
            if own >= 0:
                kernel.enter(own, kernel.NEW_PIDS)
            running.add(pid)
            answer = {"pid": pid}
        for each in descriptors:
            os.close(each)
        link.send(json.dumps(answer).encode())
    for pid in running:
        _end(pid, over=False)


def _end(pid: int, over: bool) -> dict[str, float]:
    """The end of a process; one that has closed its files, and so seems to be ending by itself, is given a second."""
    for _ in range(200 if over else 1):
        if ended := os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            break
        time.sleep(0.005 * over)
    os.kill(pid, signal.SIGKILL)
    _, status, used = os.wait4(pid, 0)
    seconds = used.ru_utime + used.ru_stime
    return {"status": os.waitstatus_to_exitcode(status), "seconds": seconds, "killed": ended is None}


def _inside(role: Callable, descriptors: list[int], limits: Mapping[str, int], walls: Mapping[str, str]) -> NoReturn:
    """What a process in a jail does first and last. All that it is given lies in its arguments."""
    try:
        output, control, link = (fcntl.fcntl(each, fcntl.F_DUPFD, 2 * LINK) for each in descriptors)
        for place, each in enumerate((output, output, control, link), start=1):
            os.dup2(each, place)
        os.closerange(LINK + 1, 1 << 16)
        _build_walls(limits, walls)
        try:
            role(CONTROL, LINK)
        except Exception:
            traceback.print_exc()
        sys.stdout.flush()
    finally:
        os._exit(0)


def _build_walls(limits: Mapping[str, int], walls: Mapping[str, str]) -> None:
    """Limits first, system calls last."""
    own_world = not walls["namespaces"]
    of = {"CPU": limits["seconds"], "AS": limits["memory"], "FSIZE": limits["files"], "NOFILE": DESCRIPTORS, "CORE": 0}
    if own_world:
        of["NPROC"] = THREADS  # elsewhere all of the user's count
    for name, value in of.items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))
    if own_world:
        _own_folder(limits["files"])
    kernel.no_new_privileges()
    if not walls["landlock"]:
        kernel.only_folder(FOLDER if own_world else None)
    if own_world:
        kernel.drop_capabilities()
    if not walls["seccomp"]:
        kernel.only_listed_calls()
