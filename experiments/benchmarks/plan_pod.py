"""Does a run fit a pod? Every phase of an outer step, compiled by the real TPU compiler on a machine without a TPU.

    pip install -e '.[plan]'
    python -m experiments.benchmarks.plan_pod --config=configs/llama31_8b.py --topology=v5e:4x4 --workdir=runs/plan
    python -m experiments.benchmarks.plan_pod ... --mesh=search --problems=4,8,16 --estimator="unroll:remat='step'"

Nothing is run and no weights are read. For each mesh the largest of the numbers of problems is sought with which every
program that `step.outer_step` would call fits: what the compiler says of its memory per chip, and what else lies there
meanwhile, is held against the chip's. At that number the inner run alone is compiled too, and what other estimators
would need. Results are kept in ``<workdir>/<config>-<topology>.json`` (and as a table beside it), and what is there
already is not compiled again.
"""

import json
import math
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
from absl import flags, logging
from jax.sharding import Mesh
from ml_collections import config_flags

from experiments.benchmarks.kept import held, keep, writable
from mass_jax.errors import InputError
from mass_jax.models import sharding
from mass_jax.models.pretrained import folder
from mass_jax.parallel import mesh as meshes
from mass_jax.parallel.partition import AXES, DATA, FSDP
from mass_jax.planning import hlo, lower
from mass_jax.planning.chips import CHIPS, GIB, PLANNED
from mass_jax.planning.lower import Planned
from mass_jax.planning.topology import described_devices, versions
from mass_jax.reporting.table import Table, to_markdown
from mass_jax.runtime import program
from mass_jax.runtime.progress import Progress, duration
from mass_jax.runtime.workdir import write_atomically
from mass_jax.study import entry, setup
from mass_jax.study.config import arm_config
from mass_jax.study.estimator import make_estimator
from mass_jax.study.schema import Config, Metagrad

WIDTHS = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4, "f64": 8, "s64": 8, "u64": 8}
CHECKS = 3
"""Checks of a task; mathematics has as many."""
MESH_FORM = "give data x fsdp x tensor, such as 1x4x4"
Estimator = tuple[str, str]
"""Its name, and its options as ``config.metagrad`` has them."""


def measure(phase: Planned, mesh: Mesh, memory: float) -> dict[str, Any]:
    """Compile one program: its bytes per chip, whether they fit, and its collectives.

    Where the compiler itself finds that the program does not fit, the bytes are None and ``"error"`` is what it says;
    where its program cannot be read, the collectives are None.
    """
    start = time.perf_counter()
    beside = sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(phase.beside)
    )
    row: dict[str, Any] = {"beside_bytes": beside}
    try:
        with jax.set_mesh(mesh):
            compiled = phase.lower().compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        none = dict.fromkeys(("temp_bytes", "argument_bytes", "output_bytes", "collectives"))
        row |= {**none, "fits": False, "error": str(error).splitlines()[0]}
    else:
        found = compiled.memory_analysis()
        assert found is not None, f"{mesh.devices.flat[0].device_kind} reports no memory"
        needed = found.temp_size_in_bytes + found.argument_size_in_bytes + beside
        needed += found.output_size_in_bytes - found.alias_size_in_bytes
        row |= {
            "temp_bytes": found.temp_size_in_bytes,
            "argument_bytes": found.argument_size_in_bytes,
            "output_bytes": found.output_size_in_bytes,
            "fits": bool(needed <= memory),
        }
        try:
            row["collectives"] = collectives(str(compiled.as_text()))
        except jax.errors.JaxRuntimeError:  # jaxlib cannot read every program that libtpu makes for a v6e
            row["collectives"] = None
    return row | {"compile_seconds": time.perf_counter() - start}


def collectives(text: str) -> dict[str, dict[str, float]]:
    """Of every kind of collective in a compiled program: how many there are, and the bytes of their results.

    A collective in a loop counts once, whatever the loop's trips.
    """
    count: Counter[str] = Counter()
    size: Counter[str] = Counter()
    for found in hlo.distinct(text):
        count[found.kind] += 1
        size[found.kind] += max(math.prod(dims) * WIDTHS.get(kind, 4) for kind, dims in found.shapes)
    return {kind: {"count": count[kind], "bytes": size[kind]} for kind in sorted(count)}


def table(rows: Sequence[dict[str, Any]]) -> Table:
    """The rows in GiB per chip; "–" is more than the compiler could place, or collectives that cannot be read."""
    cells = []
    for row in rows:
        sizes = (row[f"{name}_bytes"] for name in ("beside", "argument", "output", "temp"))
        moved = row["collectives"] or {}
        cells.append(
            (
                row["mesh"],
                str(row["problems"]),
                row["phase"],
                " ".join((row["estimator"], row["options"])).strip(),
                *("–" if size is None else f"{size / GIB:.2f}" for size in sizes),
                "yes" if row["fits"] else "no",
                ", ".join(f"{x['count']} {kind} {x['bytes'] / GIB:.2f}" for kind, x in moved.items()) or "–",
                duration(row["compile_seconds"]),
            )
        )
    head = ("Mesh", "Problems", "Phase", "Estimator", "Beside", "Arguments", "Output", "Temp", "Fits")
    return Table((*head, "Collectives, GiB", "Compiled in"), "lrllrrrrllr", cells)


def largest(fits: Callable[[str, int], bool], phases: Sequence[str], counts: Sequence[int]) -> int:
    """The largest of ``counts`` with which every phase fits, else the smallest.

    What fits with some problems fits with fewer, so each phase begins where the one before it ended.
    """
    left = sorted(counts)
    for phase in phases:
        while len(left) > 1 and not fits(phase, left[-1]):
            left.pop()
    return left[-1]


class Planner:
    """Compiles the programs of one study for one TPU, each once, and keeps what is known of them in a file.

    Args:
      config: the study's.
      arm: whose training step is planned.
      topology: as libtpu names it.
      path: of the file.
    """

    def __init__(self, config: Config, arm: str, topology: str, path: Path):
        self.merged, self.topology, self.path = arm_config(config, arm), topology, path
        self.devices = described_devices(topology)
        capacity = CHIPS[topology.partition(":")[0]].capacity
        assert capacity is not None, "the topology is of a chip that is PLANNED"
        self.memory = capacity
        identity = {"config": config.given, "arm": arm, "topology": topology, "versions": versions()}
        self.identity = json.loads(json.dumps(identity))
        self.rows: list[dict[str, Any]] = []
        old = held(path, ("mesh", "problems", "phase", "estimator", "options", "fits"), rows="phases")
        if old is not None and old.get("run") == self.identity:
            self.rows = old["phases"]
        writable(path.parent)

    def meshes(self) -> list[str]:
        """The meshes to search: ``data`` would copy the parameters where ``fsdp`` splits them."""
        chips = len(self.devices)
        return [f"1x{chips // tensor}x{tensor}" for tensor in range(1, chips + 1) if chips % tensor == 0]

    def counts(self, shape: str, counts: Sequence[int]) -> list[int]:
        """Those of the numbers of problems that can be spread over a mesh.

        Raises:
          InputError: none can.
        """
        refused = {}
        for count in counts:
            try:
                self._check(shape, count)
            except InputError as error:
                refused[count] = error
        if len(refused) == len(counts):
            raise refused[counts[0]]
        return [count for count in counts if count not in refused]

    def programs(self, shape: str, count: int, estimator: Estimator) -> tuple[Mesh, dict[str, Planned]]:
        """All programs of an outer step by name, and the mesh that they are compiled for."""
        name, options = estimator
        merged = self.merged.model_copy(update={"metagrad": Metagrad(name=name, options=options)})
        method = setup.make_method(merged)
        config = setup.make_outer(merged.train)
        mesh = meshes.make(self._sizes(shape), self.devices)
        assert mesh is not None
        documents = lower.sequences(merged.train.replay_batch, merged.lengths.long_document)
        with jax.set_mesh(mesh):
            found = lower.lower(method, config, folder.shapes_of(method.model), CHECKS, count, documents, mesh)
        found += [lower.inner_run(phase, mesh) for phase in found if phase.name == "adapt"]
        return mesh, {phase.name: phase for phase in found}

    def fits(self, shape: str, estimator: Estimator, name: str, count: int) -> bool:
        """Whether a program fits; compiled if it is not in the file yet."""
        key = {"mesh": shape, "problems": count, "phase": name, "estimator": estimator[0], "options": estimator[1]}
        for row in self.rows:
            if all(row[field] == value for field, value in key.items()):
                return row["fits"]
        mesh, found = self.programs(shape, count, estimator)
        with Progress(1, label=f"{self.topology} {shape}, {count} problems, {name}, {estimator[0]}") as progress:
            self.rows.append(key | measure(found[name], mesh, self.memory))
            progress.update(1)
        text = json.dumps({"run": self.identity, "phases": self.rows}, indent=2)
        write_atomically(self.path, text + "\n")
        keep(self.path.with_suffix(".table.json"), **{self.topology.replace(":", "-"): table(self.rows)})
        return self.rows[-1]["fits"]

    def _check(self, shape: str, count: int) -> None:
        sizes, train = self._sizes(shape), self.merged.train
        meshes.check(sizes, sharding.divided(setup.make_method(self.merged).model))
        try:
            meshes.make(sizes, self.devices)
        except NotImplementedError as error:
            raise InputError(f"the mesh {shape} cannot be laid on {self.topology}: {error}") from None
        spread = sizes[DATA] * sizes[FSDP]
        for name, size, pieces in (
            ("problems", count, "microbatches"),
            ("train.replay_batch", train.replay_batch, "microbatches"),
            ("problems", count, "parts"),
        ):
            ways = spread * getattr(train, pieces)
            if size % ways:
                raise InputError(
                    f"{name} = {size} cannot be split over {DATA} x {FSDP} x train.{pieces} = {ways} on the mesh "
                    f"{shape}: choose a multiple."
                )

    def _sizes(self, shape: str) -> dict[str, int]:
        return meshes.sizes(dict(zip(AXES, map(int, shape.split("x")), strict=True)), len(self.devices))


def is_mesh(text: str) -> bool:
    """Whether it is a mesh, as the command line has it."""
    return re.fullmatch(r"([1-9][0-9]*)(x[1-9][0-9]*){2}", text) is not None


def plan(planner: Planner, shapes: Sequence[str], counts: Sequence[int], others: Sequence[Estimator]) -> None:
    """For each mesh: the most problems that fit, the inner run alone, and the other estimators; see the module."""
    search = list(shapes) == ["search"]
    metagrad = planner.merged.metagrad
    own = (metagrad.name, metagrad.options)
    for shape in planner.meshes() if search else shapes:
        try:
            usable = planner.counts(shape, counts)
        except InputError as error:
            if not search:
                raise
            logging.info("%s: %s", shape, error)
            continue
        names = [name for name in planner.programs(shape, usable[0], own)[1] if name != "inner run"]
        count = largest(partial(planner.fits, shape, own), names, usable)
        fitting = [planner.fits(shape, own, name, count) for name in names]
        print(
            f"{shape}: with {count} problems a step {'every phase fits' if all(fitting) else 'not every phase fits'}."
        )
        if "adapt" in names:
            planner.fits(shape, own, "inner run", count)
            for estimator in others:
                for name in ("adapt", "attribute"):
                    planner.fits(shape, estimator, name, count)


def main(config: Config, workdir: Path) -> None:
    """Compile, and print the table."""
    jax.config.update("jax_enable_compilation_cache", False)  # the seconds are part of the result
    values = flags.FLAGS
    if values.topology.partition(":")[0] not in PLANNED:
        raise InputError(f"--topology={values.topology} is not a topology of {', '.join(PLANNED)}: try v5e:4x4.")
    name = Path(config_flags.get_config_filename(values["config"])).stem
    path = workdir / f"{name}-{values.topology.replace(':', '-')}.json"
    planner = Planner(config, values.arm, values.topology, path)
    others = [(name, options) for name, _, options in (text.partition(":") for text in values.estimator)]
    for name, options in others:
        try:
            make_estimator(Metagrad(name=name, options=options))
        except ValueError as error:
            raise InputError(f"--estimator={name}:{options}: {error}") from None
    plan(planner, values.mesh, [int(count) for count in values.problems], others)
    print(to_markdown(table(planner.rows)))


def define_flags() -> None:
    """What the command line takes. Called by the main program only: an importer has flags of its own."""
    flags.DEFINE_string("topology", "v5e:4x4", "The TPU to plan for.")
    flags.DEFINE_string("arm", "mass_gold", "The arm whose training step is planned.")
    flags.DEFINE_list("mesh", ["1x4x4"], "Meshes, data x fsdp x tensor; or search, for all that the model divides.")
    flags.register_validator(
        "mesh", lambda mesh: mesh == ["search"] or all(map(is_mesh, mesh)), f"{MESH_FORM}, or search"
    )
    program.define_numbers("problems", [8], "Problems a step; of several numbers the largest that fits is sought.")
    flags.DEFINE_multi_string("estimator", [], "To compare with the config's: a name, or name:options.")


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")  # before the config is checked, which traces the estimator
    define_flags()
    entry.run(main)
