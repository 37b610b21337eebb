"""The headroom gate's door."""

from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from configs import smoke
from experiments import gate as main
from experiments.benchmarks.exactness import __main__ as exactness
from mass_jax.errors import InputError
from mass_jax.study import setup
from mass_jax.study.config import read
from mass_jax.study.gate import GateError, gate, on_validation
from mass_jax.tasks.base import Problem


@pytest.mark.parametrize("count", [1, 4])
def test_a_gate_on_one_family_is_refused_before_anything_is_computed(count: int):
    config = SimpleNamespace(seed=0, gate=SimpleNamespace(problems=count))
    splits = SimpleNamespace(validation=[Problem(f"p{i}", "", (), 0, 5) for i in range(8)])
    with pytest.raises(GateError, match=f"{count} validation problems of 1 family: raise config.gate.problems or"):
        gate(on_validation(SimpleNamespace(config=config, splits=splits, base=None)))  # type: ignore[arg-type]


@pytest.mark.parametrize("program", [main, exactness], ids=["gate", "exactness"])
def test_a_domain_that_does_not_know_families_is_refused_first(
    program: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(setup, "make_domain", lambda config: SimpleNamespace(task=object()))
    monkeypatch.setattr(program, "open_study", lambda *_: pytest.fail("it is loaded, or pretrained"))
    with pytest.raises(InputError, match=r"task.name = 'arithmetic': th.* needs right practice of .* another domain"):
        program.main(read(smoke.get_config()), tmp_path)
    assert not any(tmp_path.iterdir())
