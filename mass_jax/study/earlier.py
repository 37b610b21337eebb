"""What an earlier version wrote into a run's ``config.json``, in today's words.

For runs that are read: their answers depend on none of these fields. A field that is renamed, or added without a
default, has its entry here. The command line takes today's words only.
"""

from collections.abc import Mapping
from typing import Any

RENAMED = {"malformed_advantage": "malformed_reward"}
"""Fields of ``train``, also of an arm's, by their earlier names."""
ADDED = {
    "optimizer": "adam",
    "momentum": 0.9,
    "epsilon": 1e-8,
    "reward": "attribution",
    "attribution_at": "scorer",
}
"""Fields of ``train`` that came later, and what every run had before."""
NAMES = tuple(f"{where}train.{name}" for where in ("", "arms.*.") for name in (*RENAMED, *RENAMED.values(), *ADDED))
"""Patterns of all these fields' dotted names, then and today."""


def brought(written: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a config in today's words; what cannot be brought over stays as it is."""
    found = _renamed(written)
    if isinstance(train := found.get("train"), Mapping):
        found["train"] = ADDED | dict(train)
    if isinstance(arms := found.get("arms"), Mapping):
        found["arms"] = {name: _renamed(arm) if isinstance(arm, Mapping) else arm for name, arm in arms.items()}
    return found


def _renamed(groups: Mapping[str, Any]) -> dict[str, Any]:
    """The groups of a config or of an arm; a field that has both names keeps them, to be refused."""
    found = dict(groups)
    if isinstance(train := found.get("train"), Mapping):
        names = {name: new for name, new in RENAMED.items() if new not in train}
        found["train"] = {names.get(name, name): value for name, value in train.items()}
    return found
