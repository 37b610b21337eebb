"""What a session is between two problems, and its file: written whole after each, read back to the last bit."""

import base64
import dataclasses
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from mass_jax import records
from mass_jax.errors import InputError
from mass_jax.fields import CountOrNone, Text, Weight, is_of
from mass_jax.inference.sessions.buffer import Buffer, Kept
from mass_jax.inference.sessions.policy import Policy
from mass_jax.runtime import array_tree
from mass_jax.runtime.workdir import write_atomically
from mass_jax.types import PyTree

FILE = "session.json"
WAY_OUT = "give the model that it was begun with, or another folder"
COUNTS = {"problems": CountOrNone, "updates": CountOrNone, "refused": CountOrNone, "ticket": Text}
KEPT = {"problem": Text, "prompt": Text, "solution": Text, "weight": Weight}
GUARDS = ("none", "uncalibrated", "calibrated")
"""What may stand over a session, the least first."""


@dataclasses.dataclass(frozen=True)
class State:
    """Of a session.

    Attributes:
      policy: what one problem leaves to the next.
      problems: how many were answered.
      updates: how many of them with an update.
      refused: how many updates the guard refused.
      adapter: that is carried; None for the base.
      buffer: what is practised again.
      guard: that it was begun with, of `GUARDS`.
      ticket: of the last problem, by which whoever asked knows it again; empty without one.
      answer: to the last problem, as `Adapted.as_json` has it; None before the first.
    """

    policy: Policy = dataclasses.field(default_factory=Policy)
    problems: int = 0
    updates: int = 0
    refused: int = 0
    adapter: PyTree = None
    buffer: Buffer = dataclasses.field(default_factory=Buffer)
    guard: str = GUARDS[0]
    ticket: str = ""
    answer: Mapping[str, Any] | None = None


def write(folder: Path, state: State, model: str) -> None:
    """Keeps the state; a reader, or a session after a kill, finds this one or the one before.

    Args:
      folder: of the session.
      state: to be kept.
      model: `guard.calibration.fingerprint` of the model.

    Raises:
      InputError: it cannot be written, as on a full disk; the state before is there.
    """
    leaves = {} if state.adapter is None else array_tree.encode(state.adapter)
    values = {
        "model": model,
        "policy": dataclasses.asdict(state.policy),
        **{name: getattr(state, name) for name in (*COUNTS, "answer", "guard")},
        "buffer": {"kept": [each._asdict() for each in state.buffer.kept], "offered": state.buffer.offered},
        "adapter": {path: _packed(np.asarray(leaf)) for path, leaf in leaves.items()} or None,
    }
    write_atomically(folder / FILE, records.dumps(values) + "\n")


def read(folder: Path, fresh: PyTree, model: str) -> State | None:
    """The state that was kept; None where there is none.

    Args:
      folder: of the session.
      fresh: an adapter of the model, whose structure the state's has to have.
      model: as of `write`.

    Raises:
      InputError: it cannot be read, or is of another model.
    """
    path = folder / FILE
    try:
        found = records.loads(path.read_text(encoding="utf-8"))
        theirs = found["model"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError) as error:
        raise InputError(damaged(path, error)) from None
    if theirs != model:
        raise InputError(f"'{path}' is a session of another model ({theirs}, and this is {model}): {WAY_OUT}.")
    try:
        kept = tuple(Kept(**_of(KEPT, each)) for each in found["buffer"]["kept"])
        buffer = Buffer(kept, _of({"offered": CountOrNone}, found["buffer"])["offered"])
        adapter = None if found["adapter"] is None else _adapter(found["adapter"], fresh)
        guard = found.get("guard", GUARDS[0])  # earlier versions did not say
        if guard not in GUARDS:
            raise ValueError(f"guard = {guard!r:.80}")
        answer = _of({"answer": dict[str, Any] | None}, found)["answer"]
        if answer is not None:
            _of({"phases": list[dict[str, Any]]}, answer)
        counts = _of(COUNTS, found)
        return State(Policy(**found["policy"]), adapter=adapter, buffer=buffer, guard=guard, answer=answer, **counts)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(damaged(path, error)) from None


def _of(hints: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """The values of these names, each of its type."""
    for name, hint in hints.items():
        if not is_of(hint, found[name]):
            raise ValueError(f"{name} = {found[name]!r:.80}")
    return {name: found[name] for name in hints}


def damaged(path: Path, error: Exception) -> str:
    """The sentence about a state that cannot be read, and why."""
    return f"'{path}' cannot be read as a session ({error}): put a copy of it back, or give another folder."


def _packed(leaf: np.ndarray) -> dict[str, Any]:
    """An array as JSON can hold it, all bits."""
    return {
        "dtype": str(leaf.dtype),
        "shape": list(leaf.shape),
        "base64": base64.b64encode(leaf.tobytes()).decode("ascii"),
    }


def _unpacked(found: Mapping[str, Any]) -> Any:
    dtype, shape, data = jnp.dtype(found["dtype"]), found["shape"], base64.b64decode(found["base64"], validate=True)
    if math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError(f"an array of shape {shape} has {len(data)} bytes")
    return jnp.asarray(np.frombuffer(data, dtype).reshape(shape))


def _adapter(found: Mapping[str, Any], fresh: PyTree) -> PyTree:
    arrays = {path: _unpacked(each) for path, each in found.items()}
    if wrong := array_tree.describe_mismatch(array_tree.layout(arrays), array_tree.layout(fresh)):
        raise ValueError(f"its adapter is of another shape:\n{wrong}")
    return array_tree.decode(arrays, fresh)


def opened(folder: str | os.PathLike[str]) -> Path:
    """The folder, which is made.

    Raises:
      InputError: it cannot be.
    """
    path = Path(os.path.expanduser(folder))
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"the session's folder '{path}' cannot be made ({error.strerror}): give another.") from None
    return path
