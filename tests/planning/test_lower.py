"""The programs that are lowered without data are the ones that an outer step runs."""

import dataclasses
from typing import Any

import jax
import pytest

from mass_jax.mass.programs import Program
from mass_jax.mass.state import OuterConfig, init_state
from mass_jax.mass.step import outer_step
from mass_jax.models import sampling
from mass_jax.models.pretrained import folder
from mass_jax.planning import lower
from mass_jax.types import PyTree
from tests.mass import tiny

METHOD = tiny.make_method()
VERIFIER = dataclasses.replace(tiny.OUTER, mode="verifier")


def shapes(args: tuple) -> PyTree:
    """Arrays by shape and dtype, and static arguments as they are."""

    def leaf_shape(leaf: Any) -> Any:
        # Integers of the host become int32 on the way in.
        return (leaf.shape, str(leaf.dtype).replace("int64", "int32")) if hasattr(leaf, "shape") else leaf

    return jax.tree.map(leaf_shape, args)


@pytest.mark.parametrize(
    ("config", "problems", "scan_decode"),
    [
        (tiny.OUTER, 3, False),
        (VERIFIER, 3, True),
        (dataclasses.replace(VERIFIER, practice=False), 3, False),
        (dataclasses.replace(tiny.OUTER, sets=3, set_weight=0.5, generator_rate=0.0), 1, False),
        (dataclasses.replace(tiny.OUTER, reward="complete"), 2, False),
        (dataclasses.replace(tiny.OUTER, reward="leave_one_out", adapters=2, siblings=3), 3, False),
        (dataclasses.replace(tiny.OUTER, reward="shuffled_scorer"), 3, False),
        (dataclasses.replace(VERIFIER, lora_rank=2, step_kl=0.1), 3, True),
    ],
    ids="gold,verifier,solver,three sets,complete credit of two halves,two adapters,scorer,outer adapter".split(","),
)
def test_what_is_lowered_is_what_a_step_calls(
    monkeypatch: pytest.MonkeyPatch, config: OuterConfig, problems: int, scan_decode: bool
):
    method = dataclasses.replace(METHOD, model=dataclasses.replace(METHOD.model, scan_decode=scan_decode))
    batch, documents = tiny.make_problems()[:problems], tiny.replay_documents()
    planned = lower.lower(
        method,
        config,
        folder.shapes_of(method.model),
        tiny.CHECKS,
        len(batch),
        lower.sequences(*documents.tokens.shape),
    )
    called: dict[str, PyTree] = {}

    def record(owner: object, name: str, key: str = "") -> None:
        real = getattr(owner, name)

        def recorded(*args: Any) -> Any:
            program, rest = (args[0].name, args[1:]) if isinstance(args[0], Program) else (name, args)
            called.setdefault(f"{program} {len(called)}", shapes(rest))
            return real(*args)

        monkeypatch.setattr(owner, name, recorded)

    record(Program, "__call__")
    record(sampling, "prefill")
    record(sampling, "decode")
    actor = tiny.make_actor(method, tiny.LENIENT)
    outer_step(actor, config, init_state(actor, config, tiny.CHECKS, jax.random.key(0)), 0, batch, documents)

    listed = {planned.program.name.rpartition("/")[2] for planned in planned}
    found = [(name.split()[0], args) for name, args in called.items() if name.split()[0] in listed]
    expected = [
        (each.program.name.rpartition("/")[2], shapes(each.args))
        for each in planned
        for _ in range(2 if each.name == "losses" else 1)
    ]
    assert [name for name, _ in found] == [name for name, _ in expected]
    for (name, args), (_, shown) in zip(found, expected, strict=True):
        # What says when to stop, and with which token, differs from call to call.
        if name == "decode":
            args, shown = ((*each[:4], each[5]) for each in (args, shown))
        if name == "prefill":
            args, shown = ((*each[:6], each[6].samples, each[6].max_new_tokens) for each in (args, shown))
        assert jax.tree.structure(args) == jax.tree.structure(shown), name
        assert jax.tree.leaves(args) == jax.tree.leaves(shown), name


def test_the_inner_run_alone_ends_where_the_phase_does():
    base, documents = folder.shapes_of(METHOD.model), lower.sequences(4, 16)
    adapt = next(each for each in lower.lower(METHOD, tiny.OUTER, base, 5, 3, documents) if each.name == "adapt")
    alone = lower.inner_run(adapt)
    found = jax.eval_shape(alone.program.function, *alone.args)
    assert shapes((found,)) == shapes((jax.eval_shape(adapt.program.function, *adapt.args).run.params,))


def test_nothing_is_recorded_beside():
    """A step that is made while another is planned would be written down in its place: the recorder is gone again."""
    lower.lower(METHOD, tiny.OUTER, folder.shapes_of(METHOD.model), tiny.CHECKS, 3, lower.sequences(4, 16))
    actor = tiny.make_actor()
    assert isinstance(jax.tree.leaves(lower.programs.FRESH(actor, jax.random.key(0)))[0], jax.Array)
