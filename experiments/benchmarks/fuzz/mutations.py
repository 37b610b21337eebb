"""Mutations of JSON, of safetensors and of bytes, which the kinds of files share."""

import copy
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

Rng = np.random.Generator
NESTED = 200_000
"""Deeper than any parser's stack."""
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 3, 7, 2**31, 2**63, 10**18, 10**400),
    *(0.0, 1.5, -2.0, 1e-320, 1e-30, 1e30, 1e308, math.nan, math.inf, -math.inf),
    *("", "1", "1e-6", "false", "default", "\x00", "é" * 5000, "\ud800"),
    *([], {}, [1, 2], ["x"], [None], {"a": 1}, [[[]]], [0] * 5000),
)
"""Values that a field seldom has."""


def json_file(source: Path, target: Path, rng: Rng) -> tuple[Any, ...]:
    """Write a mutation of a JSON file.

    Returns:
      The path of the value that was changed, and what it is now; ``()`` where the text itself was.
    """
    if rng.random() < 0.15:
        raw = source.read_bytes()
        if rng.random() < 0.2:
            opening, closing = [(b"[", b"]"), (b'{"a":', b"}")][rng.integers(2)]
            raw = opening * NESTED + b"1" + closing * NESTED
            key = rng.choice(list(json.loads(source.read_text(encoding="utf-8"))) or ["a"])
            raw = raw if rng.random() < 0.5 else b'{"%s": %s}' % (str(key).encode(), raw)
        target.write_bytes(flip(raw, rng))
        return ()
    content = json.loads(source.read_text(encoding="utf-8"))
    content, place = json_value(content, rng)
    target.write_text(json.dumps(content), encoding="utf-8")
    return place


def json_value(content: Any, rng: Rng) -> tuple[Any, tuple[Any, ...]]:
    """A copy with one value changed, removed, moved or added; and its path, with the new value at the end."""
    content = copy.deepcopy(content)
    places = _places(content)
    parent, path = places[rng.integers(len(places))]
    key = path[-1]
    action = rng.integers(6)
    if action == 0:
        del parent[key]
        return content, (*path, None)
    if action == 1:
        _, other = places[rng.integers(len(places))]
        value = copy.deepcopy(_at(content, other))
    elif action == 2 and isinstance(parent[key], int | float):
        value = type(parent[key])(parent[key] * rng.choice([-1, 0.5, 2, 10]) + rng.choice([-1, 0, 1]))
    elif action == 3 and isinstance(parent, dict):
        key, value = rng.choice(["use_" + str(key), str(key) + "_type", "unknown"]), odd(rng)
    else:
        value = odd(rng)
    parent[key] = value
    return content, (*path[:-1], key, value)


def odd(rng: Rng) -> Any:
    """One of `ODD`."""
    return copy.deepcopy(ODD[rng.integers(len(ODD))])


def flip(raw: bytes, rng: Rng) -> bytes:
    """Bytes cut short, flipped, repeated, or overwritten at one place."""
    data, place = bytearray(raw), int(rng.integers(max(len(raw), 1)))
    length = int(2 ** rng.integers(8))
    action = rng.integers(4)
    if action == 0:
        return bytes(data[:place])
    if action == 1 and data:
        data[place] ^= 1 << int(rng.integers(8))
    elif action == 2:
        data[place:place] = data[place : place + length]
    else:
        data[place : place + length] = rng.bytes(length)
    return bytes(data)


def safetensors_file(source: Path, target: Path, rng: Rng) -> bool:
    """Write a mutation of a safetensors file; whether it has to be refused."""
    raw = source.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header, data = json.loads(raw[8 : 8 + length]), raw[8 + length :]
    action = rng.integers(5)
    if action == 0:  # anywhere in the file: of a weight that is another number nobody can tell
        target.write_bytes(flip(raw, rng))
        return False
    if action == 1:  # in the header's text
        return _with_header(target, flip(raw[8 : 8 + length], rng), data)
    if action == 2:  # a weight that is no number
        names = [name for name in header if name != "__metadata__"]
        start, _ = header[names[rng.integers(len(names))]]["data_offsets"]
        data = data[:start] + np.float32(rng.choice([np.nan, np.inf, -np.inf])).tobytes() + data[start + 4 :]
        _with_header(target, json.dumps(header).encode(), data)
        return True
    if action == 3:  # a length that lies
        target.write_bytes(
            int(rng.choice([0, 1, length - 1, length + 1, 2**31, 2**62])).to_bytes(8, "little") + raw[8:]
        )
        return False
    changed, _ = json_value(header, rng)
    _with_header(target, json.dumps(changed).encode(), data)
    return _tensors(changed) != _tensors(header)


def _with_header(target: Path, header: bytes, data: bytes) -> bool:
    target.write_bytes(len(header).to_bytes(8, "little") + header + data)
    return False


def _tensors(header: Any) -> Any:
    """What says where a tensor is and what it is; further fields say nothing."""
    return {
        name: [value.get(field) for field in ("dtype", "shape", "data_offsets")] if isinstance(value, dict) else value
        for name, value in header.items()
        if name != "__metadata__"
    }


def _places(content: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, tuple[Any, ...]]]:
    """Every value below ``content``: what holds it, and its path."""
    keys = list(content) if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else ()
    found: list[tuple[Any, tuple[Any, ...]]] = []
    for key in keys:
        found.append((content, (*path, key)))
        found += _places(content[key], (*path, key))
    return found


def _at(content: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        content = content[key]
    return content
