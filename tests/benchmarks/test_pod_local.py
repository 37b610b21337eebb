"""What the comparison of two runs sees, and what it does not mind."""

import json
from pathlib import Path

import jax.numpy as jnp

from experiments.benchmarks import pod_local
from mass_jax.runtime.checkpoint import Checkpointer
from mass_jax.runtime.metrics import MetricsWriter
from mass_jax.study.compare import compare


def finished(run: Path, loss: float = 1.0, weight: float = 2.0, accuracy: float = 0.5, seconds: float = 3.0) -> Path:
    with MetricsWriter(run / "mass", resume_step=0) as writer:
        writer.write(0, {"loss": loss, "time/adapt": seconds, "machine/seconds": seconds})
    with Checkpointer(run / "mass" / "checkpoints") as checkpointer:
        checkpointer.save(1, {"w": jnp.full(3, weight)})
    results = {"methods": {"base": accuracy}, "timing": {"total_seconds": seconds}, "cost": {"mass (s)": seconds}}
    for name, content in (("results.json", results), ("gate.json", {}), ("scorer.json", {}), ("examples.jsonl", {})):
        (run / name).write_text(json.dumps(content))
    return run


def test_only_what_tells_of_the_machine_may_differ(tmp_path: Path):
    one = finished(tmp_path / "one")
    assert pod_local.differences(one, finished(tmp_path / "same", seconds=4.0)) == []
    assert pod_local.differences(one, finished(tmp_path / "loss", loss=1.0000001)) == [
        "mass/metrics.jsonl, line 0 differs in 1 of 2 values, such as loss"
    ]
    assert pod_local.differences(one, finished(tmp_path / "weight", weight=2.0000002)) == [
        "mass/checkpoints differs in 1 of 2 values, such as w"
    ]
    accuracy = "results.json differs in 1 of 1 values, such as /methods/base"
    assert pod_local.differences(one, finished(tmp_path / "accuracy", accuracy=0.25)) == [accuracy]


def test_what_only_one_run_has_is_named(tmp_path: Path):
    one, more = finished(tmp_path / "one"), finished(tmp_path / "more")
    (more / "gate.json").write_text('{"passed": true}')
    assert compare(one, more) == ([], ["gate.json: only one run has /passed"])
    assert pod_local.differences(one, more) == ["gate.json: only one run has /passed"]


def test_whether_there_was_anything_to_adapt_to(tmp_path: Path):
    assert pod_local.adaptation(finished(tmp_path / "none")) == {"synthesis/well_formed": 0, "grad_norm/scorer": 0}
    with MetricsWriter(tmp_path / "some" / "mass", resume_step=0) as writer:
        for step, share in enumerate((0.5, 1.0)):
            writer.write(step, {"synthesis/well_formed": share, "grad_norm/scorer": 2 * share})
    assert pod_local.adaptation(tmp_path / "some") == {"synthesis/well_formed": 0.75, "grad_norm/scorer": 1.5}
