"""What one outer step takes, as arithmetic on its sizes: FLOPs, bytes that a chip holds, bytes that it is sent.

Every program of a step calls the model a number of times. With L layers, N elements in a layer's matrices, A in an
adapter, D the width, V the vocabulary and S keys that a token sees, the products of one forward pass take, a token,

    2 L N                          the layers' matrices
    4 L (heads x channels) S       attention; what the mask hides is computed too
    2 A                            the adapter
    2 V D                          logits, where there are any

and a derivative multiplies each of them by a small whole number (`Kind`). On a mesh, each pass over the layers gathers
L N / tensor elements on every chip, whatever it reads: what is read at once decides whether chips compute or wait.

Left out is what is no product of matrices: norms, softmaxes, optimisers; and the scorer's head.
"""

import dataclasses
import functools
import math
import operator
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from mass_jax.mass import inner
from mass_jax.mass.method import Method
from mass_jax.mass.outer import OuterConfig
from mass_jax.metagrad import Adjoint
from mass_jax.models import lora
from mass_jax.models.pretrained import folder

PEAK_FLOPS = {
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5": 459e12,
    "TPU v6 lite": 918e12,
    "NVIDIA A100": 312e12,
    "NVIDIA H100": 989e12,
    "NVIDIA H200": 989e12,
}
"""Dense bfloat16, by the beginning of ``jax.Device.device_kind``, as their makers state it."""


class Kind(NamedTuple):
    """How often one call of the model does what a forward pass does.

    Attributes:
      matrices: products with a matrix of the model, in layers and for logits.
      attention: products of queries, keys and values, which are all differentiated.
      adapter: products with an adapter, likewise.
      again: as these three, what is recomputed of a layer that is rematerialised.
      passes: over the layers, each of which gathers the matrices; and the same with rematerialisation.
      stream: how often the residual stream is gathered or summed over ``tensor`` in a layer that is rematerialised:
        twice each way into and out of its halves, and twice into the halves that are recomputed.
      alive: forward passes' worth of activations at once.
      trains: whether the model's own gradient is computed, and summed over the chips that have other problems.
    """

    matrices: int
    attention: int
    adapter: int
    again: tuple[int, int, int]
    passes: tuple[int, int]
    stream: int
    alive: int
    trains: bool = False


FORWARD = Kind(1, 1, 1, (0, 0, 0), (1, 1), 4, 1)
GRADIENT = Kind(2, 3, 3, (1, 1, 1), (1, 2), 10, 2)
"""By the adapter."""
TRAIN = Kind(3, 3, 0, (1, 1, 0), (1, 2), 10, 2, trains=True)
"""By the model's own parameters."""
HESSIAN = Kind(4, 9, 8, (2, 3, 3), (1, 2), 20, 4)
"""A Hessian-vector product: what the gradient by the adapter takes, and its derivative along a direction."""
TANGENT = Kind(2, 3, 3, (0, 0, 0), (1, 1), 8, 2)
"""The forward derivative of a forward pass."""


class Call(NamedTuple):
    """Calls of the model, one after another.

    Attributes:
      kind: what is computed.
      sequences: read at once, of each of the problems that are done at once.
      length: tokens of each.
      logits: positions of each that have any; None for all.
      adapted: whether there is an adapter.
      at_once: problems done at once.
      times: how often.
      keys: that a token sees; None for ``length``.
    """

    kind: Kind
    sequences: int
    length: int
    logits: int | None = None
    adapted: bool = False
    at_once: int = 1
    times: int = 1
    keys: int | None = None

    @property
    def tokens(self) -> int:
        """Read in one of them."""
        return self.sequences * self.at_once * self.length


class Program(NamedTuple):
    """One compiled program of an outer step.

    Attributes:
      name: as `phases` has it.
      calls: of the model.
      copies: of the parameters among its arguments; the optimiser's state counts as two.
      adapters: bytes of adapters and trajectories among its arguments, on one chip.
      cache: bytes of keys and values among its arguments, on one chip.
    """

    name: str
    calls: Sequence[Call]
    copies: int = 1
    adapters: float = 0.0
    cache: float = 0.0


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

    Attributes:
      matrices: of a layer, by name, their two dimensions.
      layer: N.
      tables: elements of the embedding and the output matrix.
      adapter: A.
      parameter_bytes: of one element.
      activation_bytes: of one element.
    """

    def __init__(self, method: Method, chips: Chips):
        self.model, self.chips = method.model, chips
        shapes = folder.shapes_of(self.model)
        self.matrices: dict[str, tuple[int, int]] = {
            name: leaf["kernel"].shape[1:]
            for name, leaf in shapes["layers"].items()
            if isinstance(leaf, dict) and "kernel" in leaf
        }
        adapter = jax.eval_shape(lambda: lora.init(method.lora, shapes, jax.random.key(0)))
        sizes = {name: (leaf["a"].size, leaf["b"].size) for name, leaf in adapter.items()}
        self.layer, self.adapter = sum(map(math.prod, self.matrices.values())), sum(map(sum, sizes.values()))
        # Nothing reads the output of these again, but a norm.
        last = () if self.model.post_norms else ("o_proj", "down_proj")
        self._layer_again = self.layer - sum(math.prod(self.matrices[name]) for name in last)
        self._adapter_again = self.adapter - sum(sizes[name][1] for name in last if name in sizes)
        self.tables = self.model.vocab_size * self.model.width * (1 if self.model.tie_embeddings else 2)
        self.parameter_bytes = jnp.dtype(self.model.param_dtype).itemsize
        self.activation_bytes = jnp.dtype(self.model.dtype or self.model.param_dtype).itemsize

    def flops(self, call: Call) -> float:
        """Of all chips: two for each multiply-add of a product of matrices."""
        m, kind = self.model, call.kind
        a_pass = (m.layers * self.layer, self._attention(call), self.adapter * call.adapted)
        again = (m.layers * self._layer_again, self._attention(call), self._adapter_again * call.adapted)
        products = sum(map(operator.mul, kind[:3], a_pass)) + m.remat * sum(map(operator.mul, kind.again, again))
        alive, chunks = self._logits(call)
        logits = m.vocab_size * m.width * (kind.matrices + kind.again[0] * (chunks > 1))
        return 2 * call.times * call.at_once * call.sequences * (call.length * products + alive * chunks * logits)

    def price(self, program: Program) -> Price:
        """What the calls of a program take together."""
        flops = gathered = streamed = summed = read = temporary = 0.0
        for call in program.calls:
            layers = call.times * self.model.layers
            passed = layers * call.kind.passes[self.model.remat] * self.layer_bytes
            flops += self.flops(call)
            gathered += passed * (self.chips.fsdp > 1)
            streamed += layers * call.kind.stream * self.stream_bytes(call) * (self.chips.tensor > 1)
            summed += layers * call.kind.trains * self.layer_bytes * (self.chips.ways > 1)
            read += passed + call.times * program.cache
            temporary = max(temporary, self.temporary(call))
        arguments = program.copies * self.parameters + program.adapters + program.cache
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
        each = length if chunk is None or call.logits is not None else max(1, chunk // call.sequences)
        return (length, 1) if each >= length else (each, math.ceil(length / each))


def programs(
    method: Method,
    config: OuterConfig,
    checks: int,
    problems: int,
    documents: tuple[int, int],
    model: CostModel,
) -> list[Program]:
    """The programs of one outer step, as `phases.phases` lists them, and the losses that are reported.

    Args:
      method: the method.
      config: what is optimised.
      checks: how many checks the task has.
      problems: P.
      documents: how many replay and KL read, and tokens of each.
      model: whose sizes decide what lies on a chip.

    Raises:
      ValueError: the estimator is not the one that is modelled.
    """
    estimator, lengths = method.estimator, method.lengths
    modelled = isinstance(estimator, Adjoint) and estimator.trajectory == "gradients"
    if not (modelled and estimator.hvp_remat and estimator.grad_remat):
        raise ValueError(f"the cost of {estimator} is not modelled: choose metagrad.name = 'adjoint', without options.")
    if method.model.remat_keeps:
        raise ValueError(f"the cost of model.remat_keeps = {method.model.remat_keeps} is not modelled: leave it empty.")
    examples, part, ways = method.generator.examples, problems // config.parts, model.chips.ways
    rows = part * config.sets
    rounds, at_once = inner.rounds(method.inner, rows, ways)
    adapters = rows / (ways * model.chips.tensor) * model.adapter * model.parameter_bytes
    prompted = lengths.prompt + lengths.solution
    found: list[Program] = []

    def generate(phase: str, adapted: bool, count: int, samples: int, new: int) -> None:
        slots, own = lengths.prompt + new, adapters * adapted
        read = Call(FORWARD, count, lengths.prompt, samples, adapted)
        write = Call(FORWARD, count * samples, 1, None, adapted, times=new, keys=slots)
        found.append(Program(f"{phase}/prefill", [read], adapters=own))
        found.append(Program(f"{phase}/decode", [write], 1, own, model.cache(count * samples, slots)))

    def train(sequences: int, length: int, kind: Kind = TRAIN) -> Call:
        return Call(kind, sequences // config.microbatches, length - 1, times=config.microbatches)

    experience: list[Call] = []
    if config.practice:
        generate("synthesise", False, rows, examples, lengths.synthesis)
        asked = {
            "uniform": [],
            "linear": [Call(FORWARD, rows * examples, lengths.prompt + lengths.synthesis, 0)],
            "verification": [Call(FORWARD, rows * examples * checks, lengths.check - 1)],
        }[method.scorer.kind]
        each = examples // method.inner.steps if method.inner.schedule == "fresh" else examples

        def practice(kind: Kind, steps: int, size: int | None) -> Call:
            part = size or each
            times = rounds * steps * (each // part)
            return Call(kind, part, lengths.practice - 1, None, True, at_once, times)

        found.append(Program("adapt", [*asked, practice(GRADIENT, method.inner.steps, estimator.microbatch)]))
        found.append(Program("losses", [Call(FORWARD, 1, prompted - 1, None, True, at_once, 2 * rounds)], 1, adapters))
        solutions = 1
        if config.mode == "verifier":
            solutions = config.solutions
            generate("solve", True, rows, solutions, lengths.solution)
        size = estimator.hvp_microbatch or estimator.microbatch
        products = [practice(TANGENT, 1, size)]
        if method.inner.steps > 1 or estimator.init_grad:
            products.append(practice(HESSIAN, method.inner.steps - 1, size))
        outer = Call(GRADIENT, solutions, prompted - 1, None, True, at_once, rounds)
        found.append(Program("attribute", [outer, *products], 1, adapters * (2 + method.inner.steps)))
        if config.attribution_weight:
            experience.append(train(config.parts * rows * examples, lengths.prompt + lengths.synthesis))
    if config.solve_weight:
        count = 1 if config.mode == "gold" else config.solutions
        if config.mode == "verifier":
            generate("solve un-adapted", False, part, count, lengths.solution)
        experience.append(train(problems * count, prompted))
    for i, program in enumerate(found):  # so far those that are called for every part
        found[i] = program._replace(calls=[call._replace(times=call.times * config.parts) for call in program.calls])
    if config.generator_rate:
        calls = [*experience, *[train(*documents)] * (config.replay_weight > 0)]
        if config.kl_weight:
            calls += [train(*documents), train(*documents, FORWARD)]
        found.append(Program("generator", calls, copies=4))
    return found


@functools.cache
def work(method: Method, config: OuterConfig, checks: int, problems: int, documents: tuple[int, int]) -> Work | None:
    """What one outer step does, if every completion is as long as it may be; None where the estimator is not modelled.

    Arguments are those of `programs`.
    """
    method = dataclasses.replace(method, model=dataclasses.replace(method.model, remat=False, remat_keeps=()))
    model = CostModel(method, Chips())
    try:
        calls = [call for each in programs(method, config, checks, problems, documents, model) for call in each.calls]
    except ValueError:
        return None
    return Work(sum(map(model.flops, calls)), sum(call.times * call.tokens for call in calls))


def peak_flops(device_kind: str) -> float | None:
    """What a device can do in bfloat16, FLOPs a second; None where that is not known."""
    return next((peak for name, peak in PEAK_FLOPS.items() if device_kind.startswith(name)), None)
