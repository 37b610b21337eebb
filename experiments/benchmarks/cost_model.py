"""What an outer step takes on a pod, by arithmetic: no compiler, no chips. Read docs/scaling.md first.

    python -m experiments.benchmarks.cost_model --config=configs/llama31_8b.py --workdir=runs/cost --mesh=1x4x4
    python -m experiments.benchmarks.cost_model ... --compile=v5e:4x4

With ``--compile`` every program is also compiled by the real TPU compiler (extra ``plan``; no TPU needed), and what it
says is put beside the arithmetic. The tables are printed, and kept in ``<workdir>``.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
from absl import flags
from ml_collections import config_flags

from experiments.benchmarks.kept import keep
from experiments.benchmarks.plan_pod import CHECKS, MESH_FORM, WIDTHS, Planner, is_mesh
from mass_jax.errors import InputError
from mass_jax.planning import cost, hlo
from mass_jax.planning.chips import CHIPS, GIB, PLANNED, Chip
from mass_jax.planning.cost import Chips, CostModel, Program
from mass_jax.reporting.table import Table, to_markdown
from mass_jax.runtime.progress import Progress
from mass_jax.study import entry, setup
from mass_jax.study.config import arm_config
from mass_jax.study.schema import Config


class Compiled(NamedTuple):
    """What a compiler says of a program, in bytes of one chip: see `cost.Price`."""

    arguments: float
    temporary: float
    gathered: float


def table(model: CostModel, programs: Sequence[Program], chip: Chip) -> Table:
    """One row a program. Bytes are of one chip, in GiB; "least" is less than a program will take.

    It is the longest of what its products, its links and its memory would take at the maker's rates, if nothing else
    were to be done.
    """
    assert chip.memory is not None and chip.links is not None, "it is one of PLANNED"
    count, rows, seconds = math.prod(model.chips), [], 0.0
    for program in programs:
        price = model.price(program.asked)
        sent = price.gathered + price.streamed + price.summed
        times = {
            "products": price.flops / count / chip.flops,
            "links": sent / chip.links,
            "memory": price.read / chip.memory,
        }
        longest = max(times, key=lambda name: times[name])
        seconds += times[longest]
        sizes = (price.gathered, price.streamed, price.summed, price.arguments, price.temporary)
        cells = (f"{price.flops / count / 1e12:.3g}", *(f"{size / GIB:.3g}" for size in sizes))
        rows.append((program.name, *cells, f"{times[longest]:.3g}", longest))
    rows.append(("together", *[""] * 6, f"{seconds:.3g}", ""))
    head = ("Program", "TFLOP a chip", "Gathered", "Streamed", "Summed", "Arguments", "Temp", "Least, s", "by")
    return Table(head, "lrrrrrrrl", rows)


def comparison(model: CostModel, programs: Sequence[Program], compiled: Mapping[str, Compiled]) -> Table:
    """What the compiler says of each program, in GiB of one chip, and how much of it the arithmetic says."""
    rows = []
    for program in programs:
        if (found := compiled.get(program.name)) is not None:
            price = model.price(program.asked)
            pairs = (
                (price.arguments, found.arguments),
                (price.temporary, found.temporary),
                (price.gathered, found.gathered),
            )
            rows.append((program.name, *(cell for pair in pairs for cell in _cells(*pair))))
    head = ("Arguments", "of it", "Temp", "of it", "Gathered", "of it")
    return Table(("Program", *head), "lrrrrrr", rows)


def _cells(said: float, found: float) -> tuple[str, str]:
    return f"{found / GIB:.3g}", f"{said / found:.2f}" if found else "–"


def layers_gathered(text: str, matrices: Collection[tuple[int, ...]], unknown: int) -> float:
    """Bytes that a compiled program gathers on each chip of the matrices given, counted as often as its loops go round.

    A loop that does not say how often goes round ``unknown`` times.
    """
    total = 0.0
    for found in hlo.distinct(text):
        if found.kind == "all-gather":
            kind, dims = max(found.shapes, key=lambda shape: math.prod(shape[1]))
            if tuple(sorted(dim for dim in dims if dim > 1)) in matrices:
                total += math.prod(dims) * WIDTHS[kind] * math.prod(trips or unknown for trips in found.trips)
    return total


def compile_all(
    planner: Planner, shape: str, problems: int, model: CostModel, programs: Sequence[Program]
) -> dict[str, Compiled]:
    """The programs through the compiler; what it cannot place, or the planner does not have, is left out."""
    metagrad, tensor = planner.merged.metagrad, model.chips.tensor
    mesh, planned = planner.programs(shape, problems, (metagrad.name, metagrad.options))
    last = ("o_proj", "down_proj")
    matrices = {
        tuple(sorted((d_in // tensor, d_out) if name in last else (d_in, d_out // tensor)))
        for name, (d_in, d_out) in model.matrices.items()
    }
    found, known = {}, [program for program in programs if program.name in planned]
    with Progress(len(known), label="compiling") as progress:
        for done, program in enumerate(known, 1):
            try:
                with jax.set_mesh(mesh):
                    compiled = planned[program.name].lower().compile()
            except jax.errors.JaxRuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error):
                    raise
            else:
                memory = compiled.memory_analysis()
                assert memory is not None
                # Tokens are written until all sequences are done; the model counts as many as there may be.
                gathered = layers_gathered(str(compiled.as_text()), matrices, program.asked.calls[0].times)
                found[program.name] = Compiled(memory.argument_size_in_bytes, memory.temp_size_in_bytes, gathered)
            progress.update(done)
    return found


def main(config: Config, workdir: Path) -> None:
    """Print the tables."""
    jax.config.update("jax_enable_compilation_cache", False)
    values = flags.FLAGS
    merged, problems = arm_config(config, values.arm), values.problems or config.train.problems
    method = setup.make_method(merged)
    outer = setup.make_outer(merged.train)
    model = CostModel(method, Chips(*map(int, values.mesh.split("x"))), outer.outer)
    ways = model.chips.ways * outer.parts
    if problems % ways:
        raise InputError(
            f"{problems} problems cannot be split over data x fsdp x train.parts = {ways}: give a multiple."
        )
    documents = (merged.train.replay_batch, merged.lengths.long_document)
    programs = cost.programs(method, outer, CHECKS, problems, documents, model.chips)
    tables = {"priced": table(model, programs, CHIPS[values.chip])}
    name = f"{Path(config_flags.get_config_filename(values['config'])).stem}-{values.mesh}-{problems}"
    if values.compile:
        planner = Planner(config, values.arm, values.compile, workdir / f"{name}.json")
        compiled = compile_all(planner, values.mesh, problems, model, programs)
        tables["compared"] = comparison(model, programs, compiled)
    keep(workdir / f"{name}.table.json", **tables)
    print("\n\n".join(map(to_markdown, tables.values())))


def define_flags() -> None:
    """What the command line takes. Called by the main program only: an importer has flags of its own."""
    flags.DEFINE_string("arm", "mass", "The arm whose training step is priced.")
    flags.DEFINE_string("mesh", "1x4x4", "The mesh, data x fsdp x tensor.")
    flags.register_validator("mesh", is_mesh, MESH_FORM)
    flags.DEFINE_integer("problems", None, "Problems a step; the config's where not given.", lower_bound=1)
    flags.DEFINE_enum("chip", "v5e", sorted(PLANNED), "The chip whose rates the times are made of.")
    flags.DEFINE_string("compile", "", "Compile for this TPU, and compare; its chips have to be those of the mesh.")


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")  # before the config is checked, which traces the estimator
    define_flags()
    entry.run(main)
