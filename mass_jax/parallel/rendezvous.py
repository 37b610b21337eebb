"""The lines between the processes of a run: over them they meet before the runtime starts, and hear how each ends.

The runtime itself hangs where the processes were told different counts, and aborts where two have one number or its
port is taken. So the first process listens at the coordinator's address before the runtime does, each of the others
says there who it is, and what does not agree is refused in a sentence. The lines then stay: one that breaks tells that
its process is lost, at once, where the runtime finds out after minutes.
"""

import contextlib
import json
import os
import socket
import time
from typing import Any, NamedTuple

from mass_jax.errors import InputError

ATTEMPT_EVERY, ANSWER_WITHIN = 0.2, 10.0
"""Seconds between two attempts to reach the first process, and for what is not one of ours to say so."""


class JoinError(InputError):
    """The processes of a run did not find each other."""


class Address(NamedTuple):
    """Where the first process listens."""

    family: int
    place: tuple[Any, ...]

    def __str__(self) -> str:
        """``host:port``, the host as a number."""
        host, port = self.place[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def resolve(address: str) -> Address:
    """The address of a ``host:port``.

    Raises:
      JoinError: it is none, or its host has no address.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise JoinError(f"--coordinator={address} is not host:port with a port from 1 to 65535.")
    try:
        family, *_, place = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise JoinError(f"--coordinator={address}: {host} has no address ({error.strerror}).") from None
    return Address(family, place)


def listen_address(coordinator: str) -> Address:
    """Where the first process listens: at the address given, and at no other of its host."""
    return resolve(os.environ.get("JAX_COORDINATOR_BIND_ADDRESS", coordinator))


def meet(coordinator: str, processes: int, process: int, patience: float) -> dict[int, socket.socket]:
    """The open lines of this process by the other end's number: of the first to all, of every other to the first.

    Raises:
      JoinError: not all come in time, their counts or numbers contradict each other, or the port is taken.
    """
    deadline = time.monotonic() + patience
    if process == 0:
        return _receive(listen_address(coordinator), processes, deadline)
    return {0: _reach(coordinator, processes, process, deadline)}


def send(line: socket.socket, message: Any) -> None:
    """Says one thing, if there is still somebody to hear it."""
    with contextlib.suppress(OSError):
        line.sendall(json.dumps(message).encode() + b"\n")


def hear(line: socket.socket) -> Any:
    """The next message; None where the line has ended, or the message is not one of ours."""
    said = b""
    try:
        while not said.endswith(b"\n") and len(said) < 4096:
            byte = line.recv(1)
            if not byte:
                return None
            said += byte
        return json.loads(said)
    except (OSError, ValueError, RecursionError):
        return None


def _receive(address: Address, processes: int, deadline: float) -> dict[int, socket.socket]:
    try:
        listener = socket.create_server(address.place, family=address.family, backlog=processes)
    except OSError as error:
        raise JoinError(
            f"the first process cannot listen at {address} ({error.strerror}): see that no other process has "
            "--process=0 or this port, or give --coordinator another port of this host."
        ) from None
    lines: dict[int, socket.socket] = {}

    def refuse(reason: str) -> JoinError:
        for line in lines.values():
            send(line, {"refused": reason})
        return JoinError(reason)

    def drop_gone() -> None:
        # Who has gone again is still to come: were it counted, the run would begin without it.
        for number in [number for number, line in lines.items() if _gone(line)]:
            lines.pop(number).close()

    with listener:
        while len(lines) < processes - 1:
            listener.settimeout(max(deadline - time.monotonic(), 0.01))
            try:
                line, _ = listener.accept()
            except TimeoutError:
                absent = ", ".join(str(i) for i in range(1, processes) if i not in lines)
                raise refuse(
                    f"process {absent} of {processes} did not come to {address} within --patience seconds"
                ) from None
            line.settimeout(ANSWER_WITHIN)
            told = hear(line)
            if not isinstance(told, dict) or not all(
                isinstance(told.get(name), int) for name in ("processes", "process")
            ):
                line.close()  # whoever that was
                continue
            number = told["process"]
            drop_gone()
            if reason := _contradiction(told, processes, lines):
                send(line, {"refused": reason})
                raise refuse(reason)
            lines[number] = line
            drop_gone()
    for line in lines.values():
        send(line, {"refused": None})
    return {number: _lasting(line) for number, line in lines.items()}


def _contradiction(told: dict[str, int], processes: int, lines: dict[int, socket.socket]) -> str | None:
    number = told["process"]
    if told["processes"] != processes:
        return f"process 0 was told --processes={processes}, process {number} {told['processes']}"
    if not 0 < number < processes:
        return f"--process={number} is none of --processes={processes} that are still to come"
    return f"two processes were told --process={number}" if number in lines else None


def _reach(coordinator: str, processes: int, process: int, deadline: float) -> socket.socket:
    reason = "its time was over"
    address = resolve(coordinator)
    while time.monotonic() < deadline:
        try:
            line = socket.create_connection(address.place[:2], timeout=max(deadline - time.monotonic(), 0.01))
        except OSError as error:
            reason = error.strerror or str(error)
            time.sleep(ATTEMPT_EVERY)
            continue
        send(line, {"processes": processes, "process": process})
        line.settimeout(max(deadline - time.monotonic(), 0.0) + 1.0)  # its own time may end a little later
        answer = hear(line)
        if isinstance(answer, dict) and "refused" in answer:
            if answer["refused"] is None:
                return _lasting(line)
            raise JoinError(answer["refused"])
        reason = "what answers there did not say in time that all have come"
        line.close()
        time.sleep(ATTEMPT_EVERY)
    raise JoinError(f"no first process was found at {coordinator} within --patience seconds: {reason}")


def _gone(line: socket.socket) -> bool:
    """Whether the other end has closed it: a process that was started anew while it waited."""
    line.setblocking(False)
    try:
        return not line.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True


def _lasting(line: socket.socket) -> socket.socket:
    """Without a limit of time; a host that falls silent is noticed within a minute."""
    line.settimeout(None)
    line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):  # not everywhere
            line.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return line
