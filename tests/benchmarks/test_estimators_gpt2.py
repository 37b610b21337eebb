"""The plan of GPT-2's meta-gradients, at a size that the CPU's compiler takes for a device in a second."""

import dataclasses
import functools
import importlib.util
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.benchmarks import estimators_gpt2
from experiments.benchmarks.estimators_gpt2 import PLANS, Plan, Setting, make_program, measure, run
from mass_jax.errors import InputError
from mass_jax.models import gpt2
from mass_jax.models.gpt2 import GPT2Config
from mass_jax.planning import topology

TINY = Setting(GPT2Config(vocab_size=23, width=8, layers=2, heads=2, context=16), steps=2, examples=4, validation=6)
SMALL = {"remat": True, "loss_chunk": 8}
TEXTBOOK = Plan("unroll", {"remat": "step"}, {}, slice=2)
LEAN = Plan("adjoint", {"microbatch": 2}, SMALL, slice=2)
CHEAP = Plan("first_order", {}, SMALL, slice=2)  # what compiles fastest


def arguments(setting: Setting, shapes: tuple) -> tuple:
    """Arguments of the shapes that a program asks for, each sequence with the place of its own weight."""
    rng = np.random.default_rng(0)
    _, meta, batches, validation = shapes
    draw = lambda shape: rng.integers(setting.model.vocab_size, size=shape.shape)  # noqa: E731
    places = {"step": np.arange(setting.steps), "index": np.tile(np.arange(setting.examples), (setting.steps, 1))}
    return (
        gpt2.init(setting.model, jax.random.key(0)),
        {"weights": jnp.asarray(rng.uniform(0.5, 1.5, meta["weights"].shape))},
        {"tokens": draw(batches["tokens"]), **places},
        draw(validation),
    )


def test_the_options_change_no_number():
    setting = dataclasses.replace(TINY, model=dataclasses.replace(TINY.model, dtype="float64"))
    with jax.enable_x64(True):
        results = []
        for plan in (TEXTBOOK, LEAN):
            program, shapes = make_program(setting, plan, tokens=8)
            results.append(jax.jit(program)(*arguments(setting, shapes)))
    (value, gradient), (other_value, other) = results
    assert gradient.meta["weights"].shape == (2, 4)
    assert np.all(np.abs(gradient.meta["weights"]) > 1e-7)
    np.testing.assert_allclose(other_value, value, rtol=1e-12)
    np.testing.assert_allclose(other.meta["weights"], gradient.meta["weights"], rtol=1e-8)


def test_the_target_is_about_gpt2_small():
    program, shapes = make_program(Setting(), PLANS[-1], tokens=128)
    del program
    init, meta, batches, validation = shapes
    assert sum(leaf.size for leaf in jax.tree.leaves(init)) == 124_439_808
    assert {leaf.dtype for leaf in jax.tree.leaves(init)} == {jnp.dtype("float32")}
    assert meta["weights"].shape == (16, 64)
    assert batches["tokens"].shape == (16, 64, 128)
    assert validation.shape == (128, 128)


def test_a_row_has_the_compilers_numbers_and_a_slice_of_the_validation_batch_holds_less():
    setting = dataclasses.replace(TINY, validation=64)
    whole, row = (measure(setting, CHEAP._replace(slice=size), 16, jax.devices("cpu")[0]) for size in (None, 2))
    assert set(row) == {"estimator", "options", "tokens", "temp_bytes", "argument_bytes", "compile_seconds"}
    assert row["options"] == {"model": SMALL, "validation_slice": 2}
    parameters = jax.eval_shape(lambda: gpt2.init(TINY.model, jax.random.key(0)))
    inputs = [2 * 4 * 16, 2 * 4, 2, 2 * 4, 64 * 16]  # tokens, places of the weights, weights, validation
    numbers = sum(leaf.size for leaf in jax.tree.leaves(parameters)) + sum(inputs)
    assert 4 * numbers <= row["argument_bytes"] <= 4.2 * numbers
    assert 0 < row["temp_bytes"] < 0.2 * whole["temp_bytes"]
    assert row["compile_seconds"] > 0


def test_rows_are_measured_once_and_kept(tmp_path, monkeypatch):
    path = tmp_path / "out" / "gpt2_cpu.json"
    measured = []

    def fake(setting, plan, tokens, device):
        measured.append((plan.estimator, tokens))
        numbers = {"temp_bytes": len(measured) * 2**30, "argument_bytes": 2**29, "compile_seconds": 61.0}
        return {"estimator": plan.estimator, "options": plan.described(), "tokens": tokens, **numbers}

    monkeypatch.setattr(estimators_gpt2, "measure", fake)
    again = functools.partial(run, device=jax.devices("cpu")[0], path=path, fresh=False)
    again(TINY, [LEAN], [8])
    results = again(TINY, [TEXTBOOK._replace(model={"remat": True}), LEAN], [8])
    assert measured == [("adjoint", 8), ("unroll", 8)]
    assert json.loads(path.read_text()) == results
    assert path.with_suffix(".table.md").read_text().splitlines()[2:] == [
        "| 8 | unroll | remat=step, validation_slice=2, model.remat=True | 2.00 | 0.50 | 1:01 |",
        "| 8 | adjoint | microbatch=2, validation_slice=2, model.remat=True, model.loss_chunk=8 | 1.00 | 0.50 | 1:01 |",
    ]

    results = again(TINY, [LEAN], [8], fresh=True)
    assert measured[2:] == [("adjoint", 8)]
    assert [row["temp_bytes"] / 2**30 for row in results["rows"]] == [2, 3]
    assert len(again(TINY, [LEAN], [8, 16])["rows"]) == 3
    # Rows of another setting do not stand beside these.
    assert len(again(dataclasses.replace(TINY, steps=3), [LEAN], [8])["rows"]) == 1


def test_a_plan_that_does_not_fit_is_a_row_too(monkeypatch):
    class Lowered:
        def __init__(self, message):
            self.message = message

        def lower(self, *_):
            return self

        def compile(self):
            raise jax.errors.JaxRuntimeError(self.message)

    full = "RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm.\nMore."
    monkeypatch.setattr(jax, "jit", lambda _: Lowered(full))
    row = measure(TINY, CHEAP, 8, jax.devices("cpu")[0])
    assert (row["temp_bytes"], row["argument_bytes"], row["error"]) == (None, None, full.splitlines()[0])
    fits = {**row, "temp_bytes": 2**30, "argument_bytes": 2**30}
    assert [cells[3] for cells in estimators_gpt2.table([fits, row]).rows] == ["–", "1.00"]
    monkeypatch.setattr(jax, "jit", lambda _: Lowered("INTERNAL: a bug"))
    with pytest.raises(jax.errors.JaxRuntimeError, match="a bug"):
        measure(TINY, CHEAP, 8, jax.devices("cpu")[0])


def test_a_missing_compiler_is_a_sentence(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"libtpu.*pip install -e '\.\[plan\]'"):
        topology.described_devices("v5p:2x2x1")
