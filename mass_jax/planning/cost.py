"""What one outer step takes, as arithmetic on its sizes: FLOPs, bytes that a chip holds, bytes that it is sent.

Every program of a step calls the model a number of times. With L layers, N elements in a layer's matrices, A in an
adapter, D the width, V the vocabulary and S keys that a token sees, the products of one forward pass take, a token,

    2 L N                          the layers' matrices
    4 L (heads x channels) S       attention; what the mask hides is computed too
    2 A                            the adapter
    2 V D                          logits, where there are any

and a derivative multiplies each of them by a small whole number (`calls.Kind`). On a mesh, each pass over the layers
gathers L N / tensor elements on every chip, whatever it reads: what is read at once decides whether chips compute or
wait.

Left out is what is no product of matrices: norms, softmaxes, optimisers; and the scorer's head.
"""

import contextlib
import dataclasses
import functools
import math
import operator
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, AxisType

from mass_jax.mass.calls import FORWARD, Asked, Call
from mass_jax.mass.method import Method
from mass_jax.mass.state import OuterConfig
from mass_jax.models import lora
from mass_jax.models.lora import LoraConfig
from mass_jax.models.pretrained import folder
from mass_jax.parallel.partition import AXES
from mass_jax.planning import lower
from mass_jax.planning.chips import peak_flops
from mass_jax.quantities import Metric
from mass_jax.types import Params


class Program(NamedTuple):
    """One compiled program of an outer step, and what all of its runs in a step take together."""

    name: str
    asked: Asked


class Chips(NamedTuple):
    """The sizes of the mesh's axes."""

    data: int = 1
    fsdp: int = 1
    tensor: int = 1

    @property
    def ways(self) -> int:
        """Into how many parts problems are split."""
        return self.data * self.fsdp


class Price(NamedTuple):
    """What a program takes: FLOPs of all chips, and bytes of one chip.

    Attributes:
      flops: two for each multiply-add of a product of matrices.
      gathered: the layers' matrices, over ``fsdp``, with the chip's own part.
      streamed: the residual stream, gathered or summed over ``tensor``.
      summed: the model's gradient, over the chips that have other problems.
      read: matrices and caches, from memory.
      arguments: what it is given.
      temporary: what it needs beside; an estimate.
    """

    flops: float
    gathered: float
    streamed: float
    summed: float
    read: float
    arguments: float
    temporary: float


class Work(NamedTuple):
    """What a step does, whatever machine does it.

    Attributes:
      flops: of products of matrices, none counted twice because a layer is rematerialised.
      tokens: that calls of the model read, padding included.
    """

    flops: float
    tokens: int


class CostModel:
    """Prices the calls of one model on one mesh.

    Args:
      method: the method.
      chips: the mesh.
      outer: the outer adapter that is trained, or None.

    Attributes:
      matrices: of a layer, by name, their two dimensions.
      layer: N.
      tables: elements of the embedding and the output matrix.
      adapter: A.
      outer: elements of the outer adapter; 0 without.
      parameter_bytes: of one element.
      activation_bytes: of one element.
    """

    def __init__(self, method: Method, chips: Chips, outer: LoraConfig | None = None):
        self.model, self.chips = method.model, chips
        shapes = folder.shapes_of(self.model)
        self.matrices: dict[str, tuple[int, int]] = {
            name: leaf["kernel"].shape[1:]
            for name, leaf in shapes["layers"].items()
            if isinstance(leaf, dict) and "kernel" in leaf
        }
        sizes, outer_sizes = _sizes(method.lora, shapes), _sizes(outer, shapes)
        self.layer = sum(map(math.prod, self.matrices.values()))
        self.adapter, self.outer = (sum(map(sum, each.values())) for each in (sizes, outer_sizes))
        # Of the outer adapter a factor is split as the side of the matrix that it stands for.
        rows = sum(sizes[name in ("o_proj", "down_proj")] for name, sizes in outer_sizes.items())
        self._outer_over = {"fsdp": rows, "tensor": self.outer - rows}
        # Nothing reads the output of these again, but a norm.
        last = () if self.model.post_norms else ("o_proj", "down_proj")
        self._layer_again = self.layer - sum(math.prod(self.matrices[name]) for name in last)
        self._adapter_again = self.adapter - sum(sizes[name][1] for name in last if name in sizes)
        # Nor x A, but where the gradient by B is asked for.
        unread = [outer_sizes[name] for name in last if name in outer_sizes]
        self._outer_again, self._outer_read = self.outer - sum(map(sum, unread)), sum(a for a, _ in unread)
        self.tables = self.model.vocab_size * self.model.width * (1 if self.model.tie_embeddings else 2)
        self.parameter_bytes = jnp.dtype(self.model.param_dtype).itemsize
        self.activation_bytes = jnp.dtype(self.model.dtype or self.model.param_dtype).itemsize

    def flops(self, call: Call) -> float:
        """Of all chips: two for each multiply-add of a product of matrices."""
        m, kind = self.model, call.kind
        a_pass = (m.layers * self.layer + self.outer, self._attention(call), self.adapter * call.adapted)
        layers_again = m.layers * self._layer_again + self._outer_again
        again = (layers_again, self._attention(call), self._adapter_again * call.adapted)
        products = sum(map(operator.mul, kind[:3], a_pass)) + m.remat * sum(map(operator.mul, kind.again, again))
        products += kind.outer * self.outer + m.remat * (kind.outer > 0) * self._outer_read
        alive, chunks = self._logits(call)
        logits = m.vocab_size * m.width * (kind.matrices + kind.again[0] * (chunks > 1))
        return 2 * call.times * call.at_once * call.sequences * (call.length * products + alive * chunks * logits)

    def price(self, asked: Asked) -> Price:
        """What all calls of a program take together."""
        flops = gathered = streamed = summed = read = temporary = 0.0
        cache = self.cache(*asked.cached)
        for call in asked.calls:
            layers = call.times * self.model.layers
            passed = layers * call.kind.passes[self.model.remat] * self.layer_bytes
            flops += self.flops(call)
            gathered += passed * (self.chips.fsdp > 1)
            streamed += layers * call.kind.stream * self.stream_bytes(call) * (self.chips.tensor > 1)
            summed += layers * call.kind.trains * self.layer_bytes * (self.chips.ways > 1)
            summed += call.times * (call.kind.outer > 0) * self.outer_bytes(1) * (self.chips.ways > 1)
            read += passed + call.times * cache
            temporary = max(temporary, self.temporary(call))
        adapters = asked.adapters / (self.chips.ways * self.chips.tensor) * self.adapter * self.parameter_bytes
        arguments = asked.copies * self.parameters + asked.outer * self.outer_bytes(self.chips.fsdp) + adapters + cache
        return Price(flops, gathered, streamed, summed, read, arguments, temporary)

    @property
    def layer_bytes(self) -> float:
        """Bytes of a layer's matrices on one chip, gathered over ``fsdp``."""
        return self.layer * self.parameter_bytes / self.chips.tensor

    @property
    def parameters(self) -> float:
        """Bytes of all parameters on one chip."""
        elements = self.model.layers * self.layer + self.tables
        return elements * self.parameter_bytes / (self.chips.fsdp * self.chips.tensor)

    def outer_bytes(self, fsdp: int) -> float:
        """Bytes of the outer adapter on one chip, which is float32 at least; split as many ways over ``fsdp``."""
        elements = self._outer_over["fsdp"] / fsdp + self._outer_over["tensor"] / self.chips.tensor
        return elements * max(4, self.parameter_bytes)

    def stream_bytes(self, call: Call) -> float:
        """Bytes of the residual stream of what a chip reads at once."""
        return call.tokens / self.chips.ways * self.model.width * self.activation_bytes

    def cache(self, sequences: int, slots: int) -> float:
        """Bytes of the keys and values of some sequences on one chip."""
        m = self.model
        elements = 2 * m.layers * m.kv_heads * m.head_dim * slots * sequences
        return elements * self.activation_bytes / (self.chips.ways * self.chips.tensor)

    def temporary(self, call: Call) -> float:
        """Bytes that are alive at once on one chip, an estimate.

        Two layers' matrices, of which one arrives while the other is used, and the tables; a copy of the parameters in
        bfloat16, which is what TPUs multiply, if they are wider; of every layer what is kept for the way back: two
        residual streams where it is rematerialised, else its activations; the activations of the half of a layer that
        has more; the logits of one chunk; and of training the gradient and what it makes of the parameters.
        """
        m, t = self.model, self.chips.tensor
        tokens = math.ceil(call.tokens / self.chips.ways)
        mlp = 4 * m.mlp_width / t * self.activation_bytes
        # Queries, keys, values and their mixture; scores and shares, which are float32.
        attention = (2 * m.heads + 2 * m.kv_heads) * m.head_dim / t * self.activation_bytes
        attention += 8 * m.heads / t * (call.keys or call.length)
        kept = 2 * m.width / t * self.activation_bytes if m.remat else mlp + attention
        layers = call.kind.alive * max(mlp, attention) + (call.kind.alive // 2) * m.layers * kept
        logits = call.kind.alive * self._logits(call)[0] / call.length * m.vocab_size / t * 4
        copies = (self.parameter_bytes > 2) * 2 / self.parameter_bytes + 2 * call.kind.trains
        matrices = 2 * self.layer_bytes + self.tables * self.parameter_bytes / t + copies * self.parameters
        return matrices + tokens * (layers + logits)

    def _attention(self, call: Call) -> int:
        """Multiply-adds of a token with all keys, in all layers."""
        return 2 * self.model.layers * self.model.heads * self.model.head_dim * (call.keys or call.length)

    def _logits(self, call: Call) -> tuple[int, int]:
        """Positions of a sequence whose logits are alive at once, and how often there are as many."""
        length, chunk = call.length if call.logits is None else call.logits, self.model.loss_chunk
        if chunk is None or (call.kind is FORWARD and call.logits is not None):  # a sampler chooses from all logits
            return length, 1
        each = max(1, chunk // call.sequences)
        return (length, 1) if each >= length else (each, math.ceil(length / each))


def _sizes(config: LoraConfig | None, shapes: Params) -> dict[str, tuple[int, int]]:
    """Elements of both factors of an adapter, by projection; of none, none."""
    if config is None:
        return {}
    adapter = jax.eval_shape(lambda: lora.init(config, shapes, jax.random.key(0)))
    return {name: (leaf["a"].size, leaf["b"].size) for name, leaf in adapter.items()}


def programs(
    method: Method, config: OuterConfig, checks: int, problems: int, documents: tuple[int, int], chips: Chips
) -> list[Program]:
    """The programs of one outer step, with what they take.

    Args:
      method: the method.
      config: what is optimised.
      checks: how many checks the task has.
      problems: P.
      documents: how many replay and KL read, and tokens of each.
      chips: the mesh.

    Raises:
      ValueError: the estimator is not the one that is modelled.
    """
    mesh = AbstractMesh(tuple(chips), AXES, axis_types=(AxisType.Auto,) * len(AXES))
    with jax.sharding.use_abstract_mesh(mesh) if math.prod(chips) > 1 else contextlib.nullcontext():
        base = folder.shapes_of(method.model)
        found = []
        for planned in lower.lower(method, config, base, checks, problems, lower.sequences(*documents)):
            asked = planned.asked
            calls = tuple(call._replace(times=call.times * planned.times) for call in asked.calls)
            found.append(Program(planned.name, asked._replace(calls=calls)))
        return found


@functools.cache
def work(method: Method, config: OuterConfig, checks: int, problems: int, documents: tuple[int, int]) -> Work | None:
    """What one outer step does, if every completion is as long as it may be; None where the estimator is not modelled.

    Arguments are those of `programs`.
    """
    method = dataclasses.replace(method, model=dataclasses.replace(method.model, remat=False, remat_keeps=()))
    model = CostModel(method, Chips(), config.outer)
    try:
        found = programs(method, config, checks, problems, documents, Chips())
    except ValueError:
        return None
    calls = [call for program in found for call in program.asked.calls]
    return Work(sum(map(model.flops, calls)), sum(call.times * call.tokens for call in calls))


def throughput(work: Work | None, seconds: float) -> dict[Metric, float]:
    """How fast a step was: seconds, and of all devices together tokens and FLOPs a second, where its work is known.

    ``flop_utilisation`` is the model FLOP utilisation (Chowdhery et al. 2022, arXiv 2204.02311, appendix B): what
    products of matrices take, without what is recomputed, over what the devices could have done in bfloat16.
    """
    found = {Metric.STEP_SECONDS: seconds}
    if work is not None:
        found |= {
            Metric.TOKENS_PER_SECOND: work.tokens / seconds,
            Metric.FLOPS_PER_SECOND: work.flops / seconds,
        }
        peak = peak_flops(jax.devices()[0].device_kind)
        if peak is not None:
            found[Metric.FLOP_UTILISATION] = work.flops / seconds / (peak * jax.device_count())
    return found
