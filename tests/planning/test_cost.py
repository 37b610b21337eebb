"""The arithmetic of a step's cost, against traced and compiled programs; what is gathered: `test_collectives.py`."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import pytest

from mass_jax import metagrad
from mass_jax.mass.method import GeneratorConfig, InnerConfig, LengthConfig, Method, ScorerConfig
from mass_jax.mass.state import OuterConfig
from mass_jax.metagrad import cost as traced
from mass_jax.models.config import ModelConfig
from mass_jax.models.lora import LoraConfig
from mass_jax.models.pretrained import folder
from mass_jax.planning import chips, cost, lower
from mass_jax.planning.cost import Chips, CostModel
from mass_jax.planning.lower import Planned
from tests.mass import tiny

CHECKS, PROBLEMS, DOCUMENTS = 3, 8, (8, 17)
MODEL = ModelConfig(
    68,
    width=44,
    layers=5,
    heads=4,
    kv_heads=2,
    head_dim=14,
    mlp_width=52,
    context=32,
    scan_layers=True,
    scan_decode=True,
    remat=True,
    loss_chunk=24,
)
METHOD = Method(
    MODEL,
    LoraConfig(3),
    LengthConfig(8, 8, 6, 17, 15),
    GeneratorConfig(4, 1.0),
    ScorerConfig("verification"),
    InnerConfig(2, "fresh", "adam", 0.1, problems_at_once=4),
    metagrad.make("adjoint", microbatch=1),
)
VERIFIER = dataclasses.replace(tiny.OUTER, mode="verifier", microbatches=2)
OTHER = dataclasses.replace(
    METHOD,
    model=dataclasses.replace(MODEL, remat=False, loss_chunk=None, tie_embeddings=False, post_norms=True),
    lora=LoraConfig(2, "(q|down)_proj"),
    scorer=ScorerConfig("linear"),
    inner=InnerConfig(3, "same", "sgd", 0.1),
    estimator=metagrad.make("adjoint"),
)
GOLD = dataclasses.replace(tiny.OUTER, sets=2, replay_weight=0.0, reward="complete")


def planned(method: Method, config: OuterConfig) -> list[Planned]:
    base = folder.shapes_of(method.model)
    return lower.lower(method, config, base, CHECKS, PROBLEMS, lower.sequences(*DOCUMENTS))


def arrays_only(program: Planned) -> tuple[Callable, list]:
    """The program without its static arguments, and the others."""
    fixed = {i: arg for i, arg in enumerate(program.args) if not _is_arrays(arg)}

    def run(*arrays: Any) -> Any:
        rest = iter(arrays)
        args = (fixed[i] if i in fixed else next(rest) for i in range(len(program.args)))
        return program.program.function.__wrapped__(*args)

    return run, [arg for i, arg in enumerate(program.args) if i not in fixed]


def _is_arrays(arg: Any) -> bool:
    leaves = jax.tree.leaves(arg)
    return bool(leaves) and all(hasattr(leaf, "shape") for leaf in leaves)


OUTER = dataclasses.replace(VERIFIER, lora_rank=9, lora_targets="(q|gate|down)_proj", step_kl=0.1)


@pytest.mark.parametrize(
    ("method", "config"),
    [(METHOD, VERIFIER), (OTHER, GOLD), (METHOD, OUTER)],
    ids=["remat", "no remat", "outer adapter"],
)
def test_flops_are_those_of_the_traced_programs(method: Method, config: OuterConfig):
    model = CostModel(method, Chips(), config.outer)
    for program in planned(method, config):
        function, arrays = arrays_only(program)
        found = traced.count_flops(traced.trace(function, *arrays)[0]).matmul
        # A loop until all are done is counted once in a traced program.
        calls = program.asked.calls[0].times if program.name.endswith("decode") else 1
        assert model.price(program.asked).flops == pytest.approx(calls * found, rel=2e-3), program.name


def test_flops_and_arguments_are_those_of_compiled_programs():
    # Without any loop, which the compiler's count goes through once; and so wide that products are nearly all of it.
    model = ModelConfig(
        512, width=256, layers=2, heads=4, kv_heads=2, head_dim=64, mlp_width=768, context=32, tie_embeddings=False
    )
    inner = dataclasses.replace(METHOD.inner, steps=1, problems_at_once=0)
    method = dataclasses.replace(METHOD, model=model, inner=inner, estimator=metagrad.make("adjoint"))
    prices = CostModel(method, Chips())
    for program in planned(method, dataclasses.replace(VERIFIER, microbatches=1, solve_weight=0.0)):
        compiled = program.lower().compile()
        price, memory = prices.price(program.asked), compiled.memory_analysis()
        calls = program.asked.calls[0].times if program.name.endswith("decode") else 1
        assert price.flops == pytest.approx(calls * compiled.cost_analysis()["flops"], rel=0.1), program.name
        assert price.arguments == pytest.approx(memory.argument_size_in_bytes, rel=0.02), program.name


def step_of(config: OuterConfig, chips: Chips) -> dict[str, cost.Asked]:
    programs = cost.programs(METHOD, config, CHECKS, PROBLEMS, DOCUMENTS, chips)
    return {program.name: program.asked for program in programs}


def test_a_step_over_more_chips():
    """What is split, and what is not."""
    one, eight = (CostModel(METHOD, chips) for chips in (Chips(), Chips(2, 2, 2)))
    alone, many = (
        {name: model.price(asked) for name, asked in step_of(VERIFIER, model.chips).items()} for model in (one, eight)
    )
    for name, price in alone.items():
        assert price.gathered == price.streamed == price.summed == 0, name
        assert many[name].flops == price.flops, name
        assert many[name].gathered > 0 and many[name].streamed > 0
        assert (many[name].summed > 0) == (name == "generator")
    # The cache over all chips, and a copy of the parameters over fsdp x tensor.
    cache = alone["synthesise/decode"].arguments - one.parameters
    assert many["synthesise/decode"].arguments == pytest.approx(one.parameters / 4 + cache / 8)


def test_a_step_in_parts_does_as_much_and_holds_less():
    model = CostModel(METHOD, Chips())
    whole, parts = (step_of(config, Chips()) for config in (VERIFIER, dataclasses.replace(VERIFIER, parts=2)))
    for name, asked in whole.items():
        price, less = model.price(asked), model.price(parts[name])
        assert less.flops == price.flops, name
        assert (less.arguments < price.arguments) == bool(asked.adapters or asked.cached[0]), name
    assert model.price(parts["adapt"]).temporary < model.price(whole["adapt"]).temporary
    assert parts["generator"] == whole["generator"]


def test_an_estimator_without_a_model_is_refused():
    method = dataclasses.replace(METHOD, estimator=metagrad.make("unroll"))
    with pytest.raises(ValueError, match=r"the cost of Unroll.* is not modelled: choose metagrad.name = 'adjoint'"):
        cost.programs(method, VERIFIER, CHECKS, PROBLEMS, DOCUMENTS, Chips())


def test_remat_that_is_not_modelled_is_refused_and_does_not_change_the_work():
    method = dataclasses.replace(METHOD, model=dataclasses.replace(MODEL, remat_keeps=("q_proj",)))
    with pytest.raises(ValueError, match=r"model.remat_keeps = \('q_proj',\) is not modelled"):
        cost.programs(method, VERIFIER, CHECKS, PROBLEMS, DOCUMENTS, Chips())
    expected = cost.work(METHOD, VERIFIER, CHECKS, PROBLEMS, DOCUMENTS)
    assert expected is not None
    assert cost.work(method, VERIFIER, CHECKS, PROBLEMS, DOCUMENTS) == expected


def test_throughput_is_of_all_devices(monkeypatch):
    work = cost.Work(flops=6e12, tokens=300)
    assert cost.throughput(None, 2.0) == {"machine/seconds": 2.0}
    assert cost.throughput(work, 2.0) == {
        "machine/seconds": 2.0,
        "machine/tokens_per_second": 150.0,
        "machine/flops_per_second": 3e12,
    }
    monkeypatch.setattr(cost, "peak_flops", lambda kind: 1e12)
    monkeypatch.setattr(jax, "device_count", lambda: 4)
    assert cost.throughput(work, 2.0)["machine/flop_utilisation"] == 0.75


@pytest.mark.parametrize(("kind", "peak"), [("TPU v5 lite", 197e12), ("TPU v5p", 459e12), ("cpu", None)])
def test_the_rate_of_a_device_is_known_or_none(kind, peak):
    assert chips.peak_flops(kind) == peak
