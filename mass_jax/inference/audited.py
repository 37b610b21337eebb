"""What the audit keeps of an update, and the update made again from it."""

import datetime
import hashlib
import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from mass_jax.adapt.learner import Learner
from mass_jax.errors import InputError
from mass_jax.guard import audit, trust_region
from mass_jax.inference import budget, phases
from mass_jax.inference.adapted import Adapted, as_json, example
from mass_jax.inference.options import Options
from mass_jax.mass import attribution
from mass_jax.mass.practice import pack_practice
from mass_jax.mass.scorer import Scores
from mass_jax.parallel import hosts
from mass_jax.parallel.mesh import entered
from mass_jax.runtime.environment import versions
from mass_jax.types import PyTree


def record(adapted: Adapted) -> dict[str, Any]:
    """What is kept of an update, or of one that was refused: all that makes it again, to the last bit."""
    practice = [as_json(each.practice) for each in adapted.practice]
    verdict = adapted.verdict
    return {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "model": adapted.model,
        "versions": versions(),
        "problem": adapted.problem,
        "seed": adapted.seed,
        "practice": practice,
        "practice_sha256": audit.digest(practice),
        "left_out": [each.left_out for each in adapted.practice],
        "weights": [_number(each.weight) for each in adapted.practice],
        "gate": _number(adapted.gate),
        "steps": len(adapted.losses),
        "updated": adapted.updated,
        "why": adapted.why,
        "guard": None if verdict is None else verdict.as_json() | {"scale": verdict.scale},
        "adapter_sha256": _digest(adapted.adapter) if adapted.updated else None,
    }


def rebuild(found: Mapping[str, Any], learner: Learner) -> PyTree:
    """The adapter of a record, made again from its practice and weights, to the last bit.

    Args:
      found: a record, see `record`.
      learner: the model, with the batch that the update was made in, whose sums go in its order.

    Returns:
      The adapter as it answered; None where the update was refused, or none was made.

    Raises:
      InputError: the practice was changed, or another model, version or machine makes another adapter.
    """
    if audit.digest(found["practice"]) != found["practice_sha256"]:
        raise InputError(f"the practice of {found['problem']!r} is not the one that was recorded: see `audit.verify`.")
    if not found["updated"]:
        return None
    size, method = learner.batch, learner.actor.method
    # A model's own numbers may be more than a request may ask for.
    examples, steps = len(found["practice"]), found["steps"]
    options = Options(
        examples=None if examples == method.generator.examples else examples,
        steps=None if steps == method.inner.steps else steps,
    )
    chosen = budget.chosen(method, options)
    assert chosen is not None  # without a limit on tokens every practice is allowed
    actor, problem = learner.actor.replace(method=chosen), learner.read(found["problem"])
    row = [example(each) for each in found["practice"]]
    sets = pack_practice(actor, [problem] * size, [row] * size)
    weights_PxM = np.array([found["weights"]] * size, np.float32)
    scores = Scores(np.zeros_like(weights_PxM), weights_PxM, np.array([found["gate"]] * size, np.float32))
    scale = 1.0 if found["guard"] is None else found["guard"]["scale"]
    with entered(learner.mesh):
        fresh = attribution.fresh_adapter(actor, jax.random.key(phases.KEY))
        adapters, _ = attribution.adapt_and_tell(actor, fresh, *hosts.share((scores, sets.arrays.examples)))
        adapters = trust_region.scaled(fresh, adapters, hosts.share(np.full(size, scale, np.float32)))
    adapter = jax.tree.map(lambda leaf: leaf[0], adapters)
    if _digest(adapter) != found["adapter_sha256"]:
        raise InputError(
            f"the update of {found['problem']!r} cannot be made again: this is not the model {found['model']!r}, not "
            f"its batch, another machine, or other versions ({versions()}, where it was {found['versions']})."
        )
    return adapter


def _digest(adapter: PyTree) -> str:
    """SHA-256 of all values."""
    found = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(adapter):
        found.update(jax.tree_util.keystr(path).encode() + np.asarray(leaf).tobytes())
    return found.hexdigest()


def _number(value: float | None) -> float | None:
    """As JSON can hold it."""
    return value if value is None or math.isfinite(value) else None
