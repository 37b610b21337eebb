"""The programs that are lowered without data are the ones that an outer step runs."""

import dataclasses
from typing import Any

import jax
import pytest

from mass_jax.mass import attribution, outer, phases
from mass_jax.mass.outer import OuterConfig
from mass_jax.models import sampling
from mass_jax.models.pretrained import folder
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
    ],
    ids=["gold", "verifier", "solver", "three sets"],
)
def test_phases_are_what_an_outer_step_calls(
    monkeypatch: pytest.MonkeyPatch, config: OuterConfig, problems: int, scan_decode: bool
):
    method = dataclasses.replace(METHOD, model=dataclasses.replace(METHOD.model, scan_decode=scan_decode))
    called: list[tuple] = []

    def record(module: object, name: str) -> None:
        real = getattr(module, name)

        def recorded(*args: object) -> object:
            called.append((name, shapes(args)))
            return real(*args)

        monkeypatch.setattr(module, name, recorded)

    batch, documents = tiny.make_problems()[:problems], tiny.replay_documents()
    base = tiny.make_params()
    expected = phases.phases(
        method,
        config,
        folder.shapes_of(method.model),
        tiny.CHECKS,
        len(batch),
        phases.sequences(*documents.tokens.shape),
    )
    expected = [(phase.function.__name__, shapes(phase.args)) for phase in expected]
    for module, name in (
        (sampling, "prefill"),
        (sampling, "decode"),
        (attribution, "score_and_adapt"),
        (attribution, "attribute"),
        (outer, "update_model"),
    ):
        record(module, name)
    state = outer.init_state(method, config, base, tiny.CHECKS, jax.random.key(0))
    outer.outer_step(tiny.LENIENT, method, config, base, state, 0, batch, documents)

    assert [name for name, _ in called] == [name for name, _ in expected]
    for (name, found), (_, planned) in zip(called, expected, strict=True):
        # What says when to stop, and with which token, differs from call to call.
        if name == "decode":
            found, planned = ((*args[:4], args[-1]) for args in (found, planned))
        if name == "prefill":
            found, planned = ((*args[:9], args[9]) for args in (found, planned))
        assert jax.tree.structure(found) == jax.tree.structure(planned), name
        assert jax.tree.leaves(found) == jax.tree.leaves(planned), name


def test_the_inner_run_alone_ends_where_the_phase_does():
    args = METHOD, tiny.OUTER, folder.shapes_of(METHOD.model), tiny.CHECKS, 3, phases.sequences(4, 16)
    adapt = next(phase for phase in phases.phases(*args) if phase.name == "adapt")
    alone = phases.inner_run(adapt)
    assert shapes((jax.eval_shape(lambda *rest: alone.function(METHOD, *rest), *alone.args[1:]),)) == shapes(
        (jax.eval_shape(lambda *rest: adapt.function(METHOD, *rest), *adapt.args[1:]).run.params,)
    )
