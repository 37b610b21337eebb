"""Compiles the programs of an outer step for eight devices, and prints what each sends. Nothing is run.

The sizes are told apart by their prime factors, whatever the compiler reshapes or splits: width 4 x 11, heads' channels
8 x 7 and 4 x 7, MLP 4 x 13, vocabulary 4 x 17, layers 5; in no batch or length that is read is there a 7, 11, 13 or
17 (of what is written, the last token is not read). The last program is what must not be: all layers are gathered, and
then scanned.
"""

import dataclasses
import json

import jax

from mass_jax import metagrad
from mass_jax.mass.method import GeneratorConfig, InnerConfig, LengthConfig, Method, ScorerConfig
from mass_jax.mass.programs import Recorder
from mass_jax.models import decoder, sharding
from mass_jax.models.config import ModelConfig
from mass_jax.models.lora import LoraConfig
from mass_jax.models.pretrained import folder
from mass_jax.parallel import mesh as meshes
from mass_jax.parallel import partition
from mass_jax.planning import cost, hlo, lower
from tests.mass import tiny

model = ModelConfig(
    68,
    width=44,
    layers=5,
    heads=4,
    kv_heads=2,
    head_dim=14,
    mlp_width=52,
    context=32,
    tie_embeddings=False,
    scan_layers=True,
    scan_decode=True,
    remat=True,
    loss_chunk=24,
)
method = Method(
    model,
    LoraConfig(3),
    LengthConfig(8, 9, 9, 17, 17),
    GeneratorConfig(4, 1.0),
    ScorerConfig("verification", "softmax", True, 5),
    InnerConfig(2, "fresh", "adam", 0.1, problems_at_once=4),
    metagrad.make("adjoint", microbatch=1),
)
config = dataclasses.replace(tiny.OUTER, mode="verifier", microbatches=2)
mesh = meshes.make({axis: 2 for axis in partition.AXES})
found = {}


def compiled(lowered):
    return [(c.kind, [shape for _, shape in c.shapes], c.trips) for c in hlo.collectives(lowered.compile().as_text())]


def gathered_at_once(params, tokens):
    layers = jax.tree.map(lambda leaf: partition.constrain(leaf), params["layers"])
    return decoder.forward(model, params | {"layers": layers}, None, tokens)[0]


with jax.set_mesh(mesh):
    base = folder.shapes_of(model)
    for planned in lower.lower(method, config, base, 3, 8, lower.sequences(8, 17), mesh):
        if planned.name != "losses":
            found[planned.name] = compiled(planned.lower())
    base = Recorder(mesh).placed(base, sharding.specs)
    found["gathered at once"] = compiled(jax.jit(gathered_at_once).lower(base, lower.struct((8, 8), "int32")))
chips = cost.Chips(2, 2, 2)
prices = cost.CostModel(method, chips)
costs = cost.programs(method, config, 3, 8, (8, 17), chips)
gathered = {program.name: prices.price(program.asked).gathered for program in costs}
print(json.dumps({"programs": found, "gathered": gathered}))
