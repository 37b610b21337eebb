"""Partition rules: every leaf has one, and what they say is what arrays get."""

import jax
import optax
import pytest
from jax.sharding import AbstractMesh, AxisType

from mass_jax.models import decoder, lora, sharding
from mass_jax.models.config import ModelConfig
from mass_jax.models.lora import LoraConfig
from mass_jax.parallel import partition
from mass_jax.parallel.partition import PROBLEMS, P

ALL = ModelConfig(
    64,
    width=16,
    layers=2,
    heads=4,
    kv_heads=2,
    head_dim=8,
    mlp_width=32,
    tie_embeddings=False,
    qkv_bias=True,
    qk_norm=True,
    post_norms=True,
)


def shapes(config: ModelConfig = ALL):
    return jax.eval_shape(lambda key: decoder.init(config, key), jax.random.key(0))


def fresh_adapter():
    return jax.eval_shape(lambda p, key: lora.init(LoraConfig(), p, key), shapes(), jax.random.key(0))


def test_every_parameter_of_every_family_and_its_optimiser_state_has_one_rule():
    state = jax.eval_shape(optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3)).init, shapes())
    for tree in (shapes(), state, {"params": shapes()}):
        found = sharding.specs(tree)
        assert jax.tree.structure(found, is_leaf=lambda x: isinstance(x, P)) == jax.tree.structure(tree)
        leaves = zip(jax.tree.leaves(found, is_leaf=lambda x: isinstance(x, P)), jax.tree.leaves(tree), strict=True)
        assert all(len(spec) <= leaf.ndim for spec, leaf in leaves)
    assert sharding.specs(state)[1][0].mu["layers"]["q_proj"]["kernel"] == P(None, "fsdp", "tensor")
    adapter = fresh_adapter()
    run = {
        "kept": jax.tree.map(lambda leaf: jax.numpy.zeros((4, 3, *leaf.shape)), adapter),
        "losses": jax.numpy.zeros(4),
    }
    specs = sharding.adapter_specs(run)
    assert specs["kept"]["q_proj"]["b"] == P(PROBLEMS, None, None, None, "tensor")
    assert specs["kept"]["down_proj"]["a"] == P(PROBLEMS, None, None, "tensor") and specs["losses"] == P(PROBLEMS)


def test_an_outer_adapter_is_split_as_its_matrix_is_wherever_it_lies():
    adapter = fresh_adapter()
    state = jax.eval_shape(optax.adam(1e-3).init, adapter)
    attached = sharding.specs(lora.attach(shapes(), adapter))["layers"]
    for found in (sharding.specs(adapter), sharding.specs(state)[0].nu, {n: attached[n]["lora"] for n in adapter}):
        assert found["q_proj"] == {"a": P(None, "fsdp"), "b": P(None, None, "tensor")}
        assert found["down_proj"] == {"a": P(None, "tensor"), "b": P(None, None, "fsdp")}
    assert attached["q_proj"]["kernel"] == P(None, "fsdp", "tensor"), "W, A and B: inputs and outputs alike"
    assert attached["down_proj"]["kernel"] == P(None, "tensor", "fsdp")


def test_no_rule_is_dead():
    state = jax.eval_shape(optax.adam(1e-3).init, lora.attach(shapes(), fresh_adapter()))
    used = {str(spec) for spec in jax.tree.leaves(sharding.specs(state), is_leaf=lambda x: isinstance(x, P))}
    assert used == {str(spec) for _, spec in sharding.RULES}


def test_a_leaf_without_a_rule_or_with_two_is_named():
    with pytest.raises(ValueError, match=r"exactly one partition rule, but these do not: layers/new_proj/kernel \(0\)"):
        sharding.specs({"layers": {"new_proj": {"kernel": 1}, "q_proj": {"kernel": 2}}})
    rules = (*sharding.RULES, (r"layers/q_proj/.*", P()))
    with pytest.raises(ValueError, match=r"layers/q_proj/kernel \(2\)"):
        partition.specs({"layers": {"q_proj": {"kernel": 2}}}, rules)


def test_without_a_mesh_nothing_is_constrained():
    x = jax.numpy.ones((3, 5))
    assert partition.constrain(x, "tensor") is x and partition.spread({"x": x})["x"] is x
    assert sharding.gathered({"embed": x})["embed"] is x and partition.ways() == 1


def test_on_a_mesh_the_constraints_are_in_the_program():
    mesh = AbstractMesh((2, 2, 2), partition.AXES, axis_types=(AxisType.Auto,) * 3)
    params = shapes(ModelConfig(64, width=16, layers=2, scan_layers=True))

    def program(params, tokens):
        return decoder.forward(ModelConfig(64, width=16, layers=2, scan_layers=True), params, None, tokens)[0]

    tokens = jax.ShapeDtypeStruct((4, 8), "int32")
    assert "sharding_constraint" not in str(jax.make_jaxpr(program)(params, tokens))
    with jax.sharding.use_abstract_mesh(mesh):
        assert partition.ways() == 4
        text = str(jax.make_jaxpr(program)(params, tokens))
    assert text.count("sharding_constraint") > 10


def test_what_a_layer_keeps_for_the_way_back_is_split():
    mesh = AbstractMesh((2, 2, 2), partition.AXES, axis_types=(AxisType.Auto,) * 3)
    config = ModelConfig(64, width=16, layers=2, scan_layers=True, remat=True)
    stream = (4, 8, 16)

    def program(params, tokens):
        return decoder.forward(config, params, None, tokens)[0]

    with jax.sharding.use_abstract_mesh(mesh):
        jaxpr = jax.make_jaxpr(program)(shapes(config), jax.ShapeDtypeStruct(stream[:2], "int32")).jaxpr
    body = next(eqn for eqn in jaxpr.eqns if eqn.primitive.name == "scan").params["jaxpr"].jaxpr
    kept = [eqn for eqn in body.eqns if eqn.primitive.name == "sharding_constraint"]
    # Matrices are gathered inside the two halves, which are recomputed; between them there is the residual stream.
    assert [eqn.outvars[0].aval.shape for eqn in kept] == [stream, stream]
    assert all(eqn.params["sharding"].spec[-1] == "tensor" for eqn in kept)
    assert sum("checkpoint" in eqn.primitive.name or "remat" in eqn.primitive.name for eqn in body.eqns) == 2
