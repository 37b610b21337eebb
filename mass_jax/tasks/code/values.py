"""Values between two processes that do not trust each other: plain data, and names for all else. JSON, one line each.

A number, text, container or built-in type arrives as a copy; of an object only a number, which its owner can look up.
What is read here comes from code that nobody has read: it can be wrong, and nothing else.
"""

import json
import os
from collections.abc import Callable
from typing import Any

LONGEST = 8 << 20
"""Bytes of a line."""
_SMALL = 1 << 53
_TYPES: dict[str, type] = {
    kind.__name__: kind for kind in (bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset)
}


class ProtocolError(Exception):
    """The other side has ended, or what it wrote is not of the form."""


class Channel:
    """Lines of JSON over a descriptor."""

    def __init__(self, descriptor: int):
        self._descriptor = descriptor
        self._rest = b""

    def write(self, message: Any) -> None:
        """Write one line.

        Raises:
          ProtocolError: nobody reads it, or it is too long.
        """
        line = json.dumps(message).encode() + b"\n"
        if len(line) > LONGEST:
            raise ProtocolError(f"a value takes {len(line)} bytes, more than {LONGEST}")
        try:
            while line:
                line = line[os.write(self._descriptor, line) :]
        except OSError as error:
            raise ProtocolError("the other side has ended") from error

    def read(self) -> Any:
        """Read one line.

        Raises:
          ProtocolError: there is none, or it is no JSON.
        """
        while b"\n" not in self._rest:
            try:
                piece = os.read(self._descriptor, 1 << 16)
            except OSError:
                piece = b""
            if not piece or len(self._rest) > LONGEST:
                raise ProtocolError("the other side has ended" if not piece else "a line is too long")
            self._rest += piece
        line, _, self._rest = self._rest.partition(b"\n")
        try:
            return json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ProtocolError("what it wrote is not JSON") from error


def everything(descriptor: int) -> bytes:
    """All that can be read until the end."""
    pieces = []
    while piece := os.read(descriptor, 1 << 16):
        pieces.append(piece)
    return b"".join(pieces)


def pack(value: Any, name: Callable[[Any], Any]) -> Any:
    """A value as JSON; ``name`` gives the number of what is no plain data.

    What inherits from a container goes as that container (a Counter as a dict), but by the container's own methods.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, type) and value in _TYPES.values():
        return {"type": value.__name__}
    for kind, packed in _PLAIN:
        if isinstance(value, kind):
            return packed(value, lambda each: pack(each, name))
    return {"object": name(value)}


def _pairs(value: dict, inner: Callable) -> Any:
    return {"dict": [[inner(k), inner(v)] for k, v in dict.items(value)]}


_PLAIN: tuple[tuple[type, Callable[[Any, Callable], Any]], ...] = (
    (int, lambda v, inner: int.__index__(v) if -_SMALL < int(v) < _SMALL else {"int": hex(v)}),
    (float, lambda v, inner: float.__float__(v)),
    (str, lambda v, inner: str.__str__(v)),
    (list, lambda v, inner: {"list": [inner(x) for x in list.__iter__(v)]}),
    (tuple, lambda v, inner: {"tuple": [inner(x) for x in tuple.__iter__(v)]}),
    (dict, _pairs),
    (set, lambda v, inner: {"set": [inner(x) for x in set.__iter__(v)]}),
    (frozenset, lambda v, inner: {"frozenset": [inner(x) for x in frozenset.__iter__(v)]}),
    (complex, lambda v, inner: {"complex": [v.real, v.imag]}),
    (bytes, lambda v, inner: {"bytes": v.hex()}),
    (range, lambda v, inner: {"range": [inner(v.start), inner(v.stop), inner(v.step)]}),
)


def unpack(packed: Any, known: Callable[[Any], Any]) -> Any:
    """The value; ``known`` looks up the number of an object.

    Raises:
      ProtocolError: it is not of the form.
    """
    try:
        return _unpack(packed, known)
    except (TypeError, ValueError, KeyError, RecursionError, OverflowError) as error:
        raise ProtocolError("what it wrote is no value") from error


def _unpack(packed: Any, known: Callable[[Any], Any]) -> Any:
    if not isinstance(packed, dict):
        return packed
    ((kind, content),) = packed.items()
    if kind == "object":
        return known(content)
    if kind == "type":
        return _TYPES[content]
    if kind == "int":
        return int(content, 16)
    if kind == "bytes":
        return bytes.fromhex(content)
    if kind == "dict":
        return {_unpack(k, known): _unpack(v, known) for k, v in content}
    make = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset, "complex": complex, "range": range}[kind]
    inside = [_unpack(each, known) for each in content]
    return make(*inside) if kind in ("complex", "range") else make(inside)
