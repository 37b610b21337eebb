"""Configs as text and as flat fields: equal ones give equal text, and of others it is said where they differ."""

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any, TypeAlias

from ml_collections import ConfigDict

from mass_jax.errors import InputError

ABSENT = "<absent>"
"""Stands in a diff for the value of a field that one of the two configs does not have."""

Config: TypeAlias = ConfigDict | Mapping[str, Any]


def to_json(config: Config) -> str:
    """Returns ``config`` as sorted, indented JSON: equal configs give equal text.

    Raises:
      InputError: a field holds something JSON cannot (a function, an array).
    """

    def plain(value: Any, path: str) -> Any:
        if isinstance(value, ConfigDict | Mapping):
            return {str(k): plain(v, f"{path}.{k}" if path else str(k)) for k, v in value.items()}
        if isinstance(value, tuple | list):
            return [plain(v, f"{path}[{i}]") for i, v in enumerate(value)]
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, os.PathLike):
            return os.fspath(value)
        raise InputError(
            f"Config field '{path}' holds a {type(value).__name__}, which cannot be written as JSON. "
            "Use numbers, strings, booleans, None, lists and nested configs; name a function by a string."
        )

    return json.dumps(plain(config, ""), sort_keys=True, indent=2)


def flatten(config: Config) -> dict[str, Any]:
    """Returns ``{"model.width": 8, ...}``: every leaf of ``config`` (as JSON) by its dotted name."""

    def walk(node: Any, path: str) -> dict[str, Any]:
        if not isinstance(node, dict) or not node:
            return {path: node} if path else {}
        return {k: v for key, child in node.items() for k, v in walk(child, f"{path}.{key}" if path else key).items()}

    return walk(json.loads(to_json(config)), "")


def summary(config: Config) -> str:
    """Returns ``config`` for a log, one line a group: ``  train: problems=24 steps=50``."""
    groups: dict[str, list[str]] = {}
    for name, value in flatten(config).items():
        group, _, field = name.rpartition(".")
        groups.setdefault(group, []).append(f"{field}={value!r}")
    return "\n".join(f"  {f'{group}: ' if group else ''}{' '.join(fields)}" for group, fields in groups.items())


def config_diff(a: Config, b: Config) -> dict[str, tuple[Any, Any]]:
    """Returns the fields in which two configs differ, as ``{dotted name: (value in a, value in b)}``.

    A field that one of them lacks has the value ``ABSENT`` there. Empty exactly when the fingerprints are equal.
    """
    flat_a, flat_b = flatten(a), flatten(b)
    pairs = {name: (flat_a.get(name, ABSENT), flat_b.get(name, ABSENT)) for name in sorted({*flat_a, *flat_b})}
    # Compared as text, as the fingerprint does: NaN equals itself, and 1 is not 1.0 nor True.
    return {name: pair for name, pair in pairs.items() if json.dumps(pair[0]) != json.dumps(pair[1])}


def describe_diff(diff: Mapping[str, tuple[Any, Any]], a: str, b: str) -> str:
    """Returns one indented line a differing field: ``  model.width: 8 (a), 16 (b)``."""
    return "\n".join(f"  {name}: {old!r} ({a}), {new!r} ({b})" for name, (old, new) in diff.items())


def way_back(diff: Mapping[str, tuple[Any, Any]]) -> str:
    """Returns a sentence: how the first config of a diff is given again."""
    words = "to go on with what is there, give the old values, in the config's file or by flags"
    if any(old == ABSENT for old, _ in diff.values()):
        words += f", and leave out what is {ABSENT} there"
    if any(new == ABSENT for _, new in diff.values()):
        words += "; a field that is refused then is of another version of the code, which alone goes on with it"
    return f"{words}."


def fingerprint(config: Config) -> str:
    """Returns 16 hexadecimal digits that are equal for equal configs, whatever the order of their fields."""
    return hashlib.sha256(to_json(config).encode()).hexdigest()[:16]
