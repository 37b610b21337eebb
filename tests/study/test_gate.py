"""The headroom gate's door."""

from types import SimpleNamespace

import pytest

from mass_jax.study.gate import GateError, gate, on_validation
from mass_jax.tasks.base import Problem


@pytest.mark.parametrize("count", [1, 4])
def test_a_gate_on_one_family_is_refused_before_anything_is_computed(count: int):
    config = SimpleNamespace(seed=0, gate=SimpleNamespace(problems=count))
    splits = SimpleNamespace(validation=[Problem(f"p{i}", "", (), 0, 5) for i in range(8)])
    with pytest.raises(GateError, match=f"{count} validation problems of 1 family: raise config.gate.problems or"):
        gate(on_validation(SimpleNamespace(config=config, splits=splits, base=None)))  # type: ignore[arg-type]
