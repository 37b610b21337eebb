"""How the decoder's parameters and adapters are split over a mesh: rules as data, for `parallel.partition`."""

import re
from typing import Any

import jax
from jax.sharding import Mesh, PartitionSpec

from mass_jax.models.config import ModelConfig
from mass_jax.parallel import partition
from mass_jax.parallel.partition import FSDP, PROBLEMS, TENSOR, P, Rules
from mass_jax.types import PyTree

RULES: Rules = (
    (r"embed", P(TENSOR, FSDP)),
    (r"unembed", P(FSDP, TENSOR)),
    (r"final_norm", P()),
    (r"layers/(q|k|v|gate|up)_proj/kernel", P(None, FSDP, TENSOR)),
    (r"layers/(q|k|v)_proj/bias", P(None, TENSOR)),
    (r"layers/(o|down)_proj/kernel", P(None, TENSOR, FSDP)),
    (r"layers/\w+_norm/scale", P()),
    (r"(q|k|v|gate|up)_proj/(lora/)?a", P(None, FSDP)),
    (r"(q|k|v|gate|up)_proj/(lora/)?b", P(None, None, TENSOR)),
    (r"(o|down)_proj/(lora/)?a", P(None, TENSOR)),
    (r"(o|down)_proj/(lora/)?b", P(None, None, FSDP)),
    (r"(count|ns_coeffs)", P()),
)
"""Of the parameters, and of what an optimiser keeps for each of them: a pattern for the end of a path, and its spec.

Of an outer adapter (`lora.attach`), by itself or among the parameters, each factor is split as the side of the matrix
that it stands for.
"""

ADAPTER_RULES: Rules = (
    (r"\w+_proj/a", P(PROBLEMS, None, TENSOR)),
    (r"\w+_proj/b", P(PROBLEMS, None, None, TENSOR)),
)
"""Of one adapter a problem, [P, L, ...]."""


def divided(model: ModelConfig) -> dict[str, tuple[int, str]]:
    """What of a model is split, how large it is, and the axis of the mesh that has to divide it."""
    return {
        "the model's key-value heads": (model.kv_heads, TENSOR),
        "the model's query heads": (model.heads, TENSOR),
        "the model's MLP": (model.mlp_width, TENSOR),
        "the model's vocabulary": (model.vocab_size, TENSOR),
        "the model's width": (model.width, FSDP),
    }


def specs(tree: PyTree) -> PyTree:
    """The spec of every leaf of a tree of parameters, or of what an optimiser keeps for them."""
    return partition.specs(tree, RULES)


def shardings(mesh: Mesh, tree: PyTree) -> PyTree:
    """`specs` on a mesh."""
    return partition.shardings(mesh, tree, RULES)


def constrain(tree: PyTree) -> PyTree:
    """Every leaf as `specs` says."""
    return partition.constrain_tree(tree, RULES)


def gathered(params: PyTree, prefix: str = "") -> PyTree:
    """Parameters whole along ``fsdp``: see `partition.gathered`."""
    return partition.gathered(params, RULES, prefix)


def adapter_specs(tree: PyTree) -> PyTree:
    """The spec of every leaf of a tree whose leaves have problems along their first axis.

    Adapters in it are split by their rules: [P, L, ...], or [P, ..., L, ...] where a run keeps several of a problem.
    """

    def one(path: tuple, leaf: Any) -> PartitionSpec:
        found = (
            spec for pattern, spec in ADAPTER_RULES if re.fullmatch(f"(?:.*/)?{pattern}", partition.path_name(path))
        )
        return P(PROBLEMS, *(None,) * (leaf.ndim - 4), *next(found, P(PROBLEMS))[1:])

    return jax.tree_util.tree_map_with_path(one, tree)


def constrain_adapters(tree: PyTree) -> PyTree:
    """Every leaf as `adapter_specs` says."""
    if not partition.active():
        return tree
    return jax.tree.map(
        lambda spec, leaf: partition.constrain(leaf, *spec), adapter_specs(tree), tree, is_leaf=partition.is_spec
    )
