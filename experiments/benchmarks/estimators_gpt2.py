"""Memory of meta-gradients through a training run of all of GPT-2, as the TPU compiler plans it.

    python -m experiments.benchmarks.estimators_gpt2 --workdir=runs/estimators

No TPU is needed: the compiler that comes with libtpu (extra ``plan``) compiles for one described chip on a machine
without any, and reports the bytes that it would hold. Nothing is run. Each row takes one to three minutes on two CPU
cores, and one that is already in the file is not compiled again without ``--fresh``.

The inner run: all 124,439,808 parameters of GPT-2 small in float32, 16 steps of Adam, each on the same number of
sequences; a weight for every sequence of every step is meta-learned. The outer loss is the mean cross-entropy of a
validation batch. ``temp_bytes`` leaves out the arguments (the initial parameters and the tokens).
"""

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from absl import flags
from jax.sharding import SingleDeviceSharding

from experiments.benchmarks.kept import held, keep, writable
from mass_jax import metagrad
from mass_jax.metagrad import optimizers
from mass_jax.models import gpt2
from mass_jax.models.gpt2 import GPT2Config
from mass_jax.planning.topology import described_devices, versions
from mass_jax.reporting.table import Table, to_markdown
from mass_jax.runtime import program
from mass_jax.runtime.progress import Progress, duration
from mass_jax.runtime.workdir import write_atomically
from mass_jax.types import Array, Batch, InnerProblem, Meta, MetaGradient, Params, PyTree


@dataclasses.dataclass(frozen=True)
class Setting:
    """The run that is differentiated.

    Attributes:
      model: the architecture.
      steps: K.
      examples: sequences of one inner step.
      validation: sequences of the outer loss.
      learning_rate: of Adam.
    """

    model: GPT2Config = GPT2Config()
    steps: int = 16
    examples: int = 64
    validation: int = 128
    learning_rate: float = 1e-4


class Plan(NamedTuple):
    """One way to compute the meta-gradient.

    Attributes:
      estimator: its name in the registry.
      options: its options.
      model: what it asks of the model: ``dtype``, ``remat``, ``loss_chunk``.
      slice: validation sequences whose activations are alive at once; None for all.
    """

    estimator: str
    options: dict[str, Any]
    model: dict[str, Any]
    slice: int | None = 8

    def described(self) -> dict[str, Any]:
        """All that a row says of how it was made, beside the estimator's name."""
        return {**self.options, "model": self.model, "validation_slice": self.slice}


_LEAN: dict[str, Any] = {"remat": True, "loss_chunk": 512}
PLANS = (
    Plan("unroll", {"remat": "step"}, {}),
    Plan("unroll", {"remat": "step"}, _LEAN),
    Plan("mixed_mode", {"microbatch": 8}, _LEAN),
    *(
        Plan("adjoint", {"microbatch": 8, "trajectory": kind}, _LEAN)
        for kind in ("states", "replay", "gradients", "host")
    ),
    Plan("adjoint", {"microbatch": 8, "trajectory": "gradients"}, {**_LEAN, "dtype": "bfloat16"}),
)

Program = Callable[[Params, Meta, Batch, Array], tuple[Array, MetaGradient]]


def make_program(setting: Setting, plan: Plan, tokens: int) -> tuple[Program, tuple[PyTree, ...]]:
    """The meta-gradient as a function, and the shapes of its arguments.

    Args:
      setting: the inner run.
      plan: how to differentiate it.
      tokens: T.

    Returns:
      ``program(init, meta, batches, validation) -> (outer loss, meta-gradient)``, to be jitted, and its arguments as
      ``jax.ShapeDtypeStruct``: GPT-2's parameters; ``{"weights": float [K, N]}``; ``{"tokens": int [K, N, T], "index":
      int [K, N], "step": int [K]}``, with ``index`` and ``step`` the place of each sequence's weight; int [B, T].

    Raises:
      ValueError: an option that the estimator or the model does not have or that does not fit.
    """
    config = dataclasses.replace(setting.model, **plan.model)
    estimator = metagrad.make(plan.estimator, **plan.options)

    def loss(params: Params, meta: Meta, batch: Batch) -> Array:
        losses = jnp.mean(gpt2.token_losses(config, params, batch["tokens"]), axis=-1)
        return jnp.sum(meta["weights"][batch["step"], batch["index"]] * losses) / setting.examples

    problem = InnerProblem(loss, optimizers.adam(setting.learning_rate))

    def program(init: Params, meta: Meta, batches: Batch, validation: Array) -> tuple[Array, MetaGradient]:
        parts = validation.reshape(-1, plan.slice or len(validation), validation.shape[1])

        def outer_loss(params: Params) -> Array:
            def part_loss(part: Array) -> Array:
                return jnp.mean(gpt2.token_losses(config, params, part))

            # Inside the map, so that of each slice only its tokens are kept for the way back.
            return jnp.mean(jax.lax.map(jax.checkpoint(part_loss, prevent_cse=False), parts))

        return estimator.value_and_grad(problem, outer_loss)(init, meta, batches)

    init = jax.eval_shape(lambda: gpt2.init(config, jax.random.key(0)))
    places = (setting.steps, setting.examples)
    shape = jax.ShapeDtypeStruct
    batches = {
        "tokens": shape((*places, tokens), jnp.int32),
        "index": shape(places, jnp.int32),
        "step": shape((setting.steps,), jnp.int32),
    }
    validation = shape((setting.validation, tokens), jnp.int32)
    return program, (init, {"weights": shape(places, jnp.float32)}, batches, validation)


def measure(setting: Setting, plan: Plan, tokens: int, device: jax.Device) -> dict[str, Any]:
    """Compiles one plan for a device, which need not exist: one row of the table.

    Where the program does not fit the device, the bytes are None and ``"error"`` is what the compiler says.
    """
    program, shapes = make_program(setting, plan, tokens)
    place = SingleDeviceSharding(device)
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place), shapes)
    lowered = jax.jit(program).lower(*shapes)
    start = time.perf_counter()
    result: dict[str, Any] = {"temp_bytes": None, "argument_bytes": None}
    try:
        memory = lowered.compile().memory_analysis()
        assert memory is not None, f"{device.device_kind} reports no memory."
        result = {"temp_bytes": memory.temp_size_in_bytes, "argument_bytes": memory.argument_size_in_bytes}
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        result["error"] = str(error).splitlines()[0]
    identity = {"estimator": plan.estimator, "options": plan.described(), "tokens": tokens}
    return {**identity, **result, "compile_seconds": time.perf_counter() - start}


def run(
    setting: Setting, plans: Sequence[Plan], tokens: Sequence[int], device: jax.Device, path: Path, *, fresh: bool
) -> dict[str, Any]:
    """Measures every plan at every length, and writes ``path`` and its Markdown table after each.

    Rows that the file holds from the same setting, compiler and device are kept, and not compiled again unless
    ``fresh``.

    Returns:
      What the file holds: ``{"setting", "rows"}``.
    """
    described = {**dataclasses.asdict(setting), "device": device.device_kind, "versions": versions()}
    results: dict[str, Any] = {"setting": described, "rows": []}
    old = held(path, ("estimator", "options", "tokens"))
    if old is not None and old.get("setting") == described:
        results = old
    wanted = [(plan, length) for length in tokens for plan in plans]
    writable(path.parent)
    with Progress(len(wanted), label="compile") as progress:
        for done, (plan, length) in enumerate(wanted, 1):
            same = [row for row in results["rows"] if _key(row) == (plan.estimator, plan.described(), length)]
            if fresh or not same:
                rows = [row for row in results["rows"] if row not in same]
                results["rows"] = [*rows, measure(setting, plan, length, device)]
                write_atomically(path, json.dumps(results, indent=2) + "\n")
                keep(path.with_suffix(".table.json"), memory=table(results["rows"]))
            progress.update(done)
    return results


def table(rows: Sequence[dict[str, Any]]) -> Table:
    """The rows, by length and from the largest to the smallest; "–" is more than the device has."""
    cells = []
    for row in sorted(rows, key=lambda row: (row["tokens"], -(row["temp_bytes"] or float("inf")))):
        options = dict(row["options"])
        # The model has options of the same names as the estimators.
        options |= {f"model.{name}": value for name, value in options.pop("model").items()}
        said = ", ".join(f"{name}={value}" for name, value in options.items() if value is not None)
        sizes = ("–" if row[name] is None else f"{row[name] / 2**30:.2f}" for name in ("temp_bytes", "argument_bytes"))
        cells.append((str(row["tokens"]), row["estimator"], said, *sizes, duration(row["compile_seconds"])))
    return Table(("Tokens", "Estimator", "Options", "Temp, GiB", "Arguments, GiB", "Compiled in"), "rllrrr", cells)


def main() -> None:
    """Reads the flags, measures, prints the table."""
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_compilation_cache", False)  # the seconds are part of the result
    values = flags.FLAGS
    plans = tuple(plan for plan in PLANS if values.estimators is None or plan.estimator in values.estimators)
    tokens = [int(count) for count in values.tokens]
    path = Path(values.workdir) / f"gpt2_{values.topology.partition(':')[0]}.json"
    device = described_devices(values.topology)[0]
    print(to_markdown(table(run(Setting(), plans, tokens, device, path, fresh=values.fresh)["rows"])))


def _key(row: dict[str, Any]) -> tuple[str, dict[str, Any], int]:
    return row["estimator"], row["options"], row["tokens"]


def define_flags() -> None:
    """What the command line takes. Called by the main program only: an importer has flags of its own."""
    flags.DEFINE_string("topology", "v5p:2x2x1", "The TPU to plan for; one of its chips is used.")
    program.define_numbers("tokens", [128, 256], "Tokens a sequence.", 2, GPT2Config().context)
    known = sorted({plan.estimator for plan in PLANS})
    program.define_names("estimators", None, known, "Only these estimators' rows; default: all.")
    flags.DEFINE_string("workdir", "runs/estimators", "Where gpt2_<tpu>.json and .md are written.")
    flags.DEFINE_bool("fresh", False, "Compile the rows anew that the file already holds.")


if __name__ == "__main__":
    define_flags()
    program.run(main)
