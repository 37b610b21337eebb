"""Does a run fit a pod? Every phase of an outer step, compiled by the real TPU compiler on a machine without a TPU.

    pip install -e '.[plan]'
    python -m experiments.plan_pod --config=configs/llama31_8b.py --topology=v5e:4x4 --workdir=runs/plan
    python -m experiments.plan_pod ... --mesh=1x4x4,1x8x2 --problems=4,8 --estimators=adjoint,unroll --phases=attribute

Nothing is run and no weights are read. For each mesh and number of problems the programs that `outer.outer_step` would
call are compiled; what the compiler says of their memory per chip is held against the chip's. Results are kept in
``<workdir>/<config>-<topology>.json`` (and as a table beside it), and what is there already is not compiled again.
"""

import json
import re
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from absl import flags
from jax.sharding import Mesh
from ml_collections import ConfigDict, config_flags

from experiments.tpu import described_devices, versions
from mass_jax.mass import phases
from mass_jax.mass.outer import OuterConfig
from mass_jax.mass.phases import Phase
from mass_jax.models.partition import AXES
from mass_jax.models.pretrained import folder
from mass_jax.reporting.table import Table, to_markdown
from mass_jax.training import config as command_line
from mass_jax.training import mesh as meshes
from mass_jax.training import setup
from mass_jax.training.errors import InputError
from mass_jax.training.progress import Progress, duration
from mass_jax.training.study import arm_config

GIB = 2**30
CHIPS = {"v5e": 15.75 * GIB, "v5p": 95.74 * GIB, "v6e": 31.25 * GIB}
"""Memory of one chip that a program can use, in bytes, by the topology's name."""
COLLECTIVES = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
WIDTHS = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4, "f64": 8, "s64": 8, "u64": 8}
CHECKS = 3
"""Checks of a task; mathematics has as many."""


def measure(phase: Phase, mesh: Mesh, memory: float) -> dict[str, Any]:
    """Compile one program: its bytes per chip, whether they fit, and its collectives.

    Where the compiler itself finds that the program does not fit, the bytes are None and ``"error"`` is what it says.
    """
    start = time.perf_counter()
    row: dict[str, Any] = {"phase": phase.name, "problems": phase.problems, "tokens": phase.tokens}
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
        needed = found.temp_size_in_bytes + found.argument_size_in_bytes
        needed += found.output_size_in_bytes - found.alias_size_in_bytes
        row |= {
            "temp_bytes": found.temp_size_in_bytes,
            "argument_bytes": found.argument_size_in_bytes,
            "output_bytes": found.output_size_in_bytes,
            "fits": bool(needed <= memory),
            "collectives": collectives(compiled.as_text() or ""),
        }
    return row | {"compile_seconds": time.perf_counter() - start}


def collectives(text: str) -> dict[str, dict[str, float]]:
    """Of every kind of collective in a compiled program: how many there are, and the bytes of their results.

    A collective in a loop counts once, whatever the loop's trips.
    """
    count: Counter[str] = Counter()
    size: Counter[str] = Counter()
    for line in text.splitlines():
        found = re.search(rf"= (\(?[a-z0-9]+\[.*?) ({'|'.join(COLLECTIVES)})(?:-start)?\(", line)
        if found:
            shapes = re.findall(r"([a-z0-9]+)\[([0-9,]*)\]", found[1])
            largest = 0
            for kind, dims in shapes:
                elements = 1
                for dim in filter(None, dims.split(",")):
                    elements *= int(dim)
                largest = max(largest, elements * WIDTHS.get(kind, 4))
            count[found[2]] += 1
            size[found[2]] += largest
    return {kind: {"count": count[kind], "bytes": size[kind]} for kind in sorted(count)}


def table(rows: Sequence[dict[str, Any]]) -> Table:
    """The rows in GiB per chip; "–" is more than the compiler could place."""
    cells = []
    for row in rows:
        sizes = (row[name] for name in ("argument_bytes", "output_bytes", "temp_bytes"))
        moved = row["collectives"] or {}
        cells.append(
            (
                row["mesh"],
                str(row["problems"]),
                row["phase"],
                row["estimator"],
                *("–" if size is None else f"{size / GIB:.2f}" for size in sizes),
                "yes" if row["fits"] else "no",
                ", ".join(f"{x['count']} {kind} {x['bytes'] / GIB:.2f}" for kind, x in moved.items()) or "–",
                duration(row["compile_seconds"]),
            )
        )
    head = ("Mesh", "Problems", "Phase", "Estimator", "Arguments", "Output", "Temp", "Fits")
    return Table((*head, "Collectives, GiB", "Compiled in"), "lrllrrrllr", cells)


def plan(config: ConfigDict, topology: str, arm: str, choices: dict[str, list], path: Path) -> list[dict[str, Any]]:
    """Compile what is not in the file yet; see the module.

    Args:
      config: the study's.
      topology: as libtpu names it.
      arm: whose training step is planned.
      choices: ``mesh``, ``problems``, ``estimators`` to try, and the ``phases`` of interest (empty for all).
      path: of the results.
    """
    devices, memory = described_devices(topology), CHIPS[topology.partition(":")[0]]
    identity = {"config": config.to_dict(), "arm": arm, "topology": topology, "versions": versions()}
    identity = json.loads(json.dumps(identity))
    rows: list[dict[str, Any]] = []
    if path.exists() and (old := json.loads(path.read_text(encoding="utf-8")))["run"] == identity:
        rows = old["phases"]
    combinations = [
        (shape, count, estimator)
        for shape in choices["mesh"]
        for count in choices["problems"]
        for estimator in choices["estimators"]
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    for shape, count, estimator in combinations:
        merged = arm_config(config, arm)
        merged.metagrad.name = estimator
        method = setup.make_method(merged)
        outer = OuterConfig(**{field: merged.train[field] for field in OuterConfig.__dataclass_fields__})
        sizes = meshes.sizes(dict(zip(AXES, map(int, shape.split("x")), strict=True)), len(devices))
        batches = {"problems": count, "train.replay_batch": merged.train.replay_batch}
        meshes.check(sizes, method.model, batches)
        mesh = meshes.make(sizes, devices)
        assert mesh is not None
        documents = phases.sequences(merged.train.replay_batch, merged.lengths.long_document)
        with jax.set_mesh(mesh):
            programs = phases.phases(method, outer, folder.shapes_of(method.model), CHECKS, count, documents, mesh)
        wanted = [p for p in programs if not choices["phases"] or p.name.partition("/")[0] in choices["phases"]]
        with Progress(len(wanted), label=f"{topology} {shape}, {count} problems, {estimator}") as progress:
            for done, phase in enumerate(wanted, 1):
                key = {"mesh": shape, "estimator": estimator, "phase": phase.name, "problems": phase.problems}
                if not any(all(row[k] == v for k, v in key.items()) for row in rows):
                    rows.append(key | measure(phase, mesh, memory))
                    path.write_text(json.dumps({"run": identity, "phases": rows}, indent=2) + "\n", encoding="utf-8")
                    path.with_suffix(".md").write_text(to_markdown(table(rows)) + "\n", encoding="utf-8")
                progress.update(done)
    return rows


def main(config: ConfigDict, workdir: Path) -> None:
    """Compile, and print the table."""
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_compilation_cache", False)  # the seconds are part of the result
    values = flags.FLAGS
    if values.topology.partition(":")[0] not in CHIPS:
        raise InputError(f"--topology={values.topology} is no pod of {', '.join(CHIPS)}: try v5e:4x4.")
    name = Path(config_flags.get_config_filename(values["config"])).stem
    choices = {
        "mesh": values.mesh,
        "problems": [int(count) for count in values.problems],
        "estimators": values.estimators or [config.metagrad.name],
        "phases": values.phases,
    }
    path = workdir / f"{name}-{values.topology.replace(':', '-')}.json"
    print(to_markdown(table(plan(config, values.topology, values.arm, choices, path))))


def define_flags() -> None:
    """What the command line takes. Called by the main program only: an importer has flags of its own."""
    flags.DEFINE_string("topology", "v5e:4x4", "The TPU to plan for.")
    flags.DEFINE_string("arm", "mass_gold", "Whose training step is planned.")
    flags.DEFINE_list("mesh", ["1x4x4"], "Meshes to try, data x fsdp x tensor.")
    flags.DEFINE_list("problems", ["4"], "Numbers of problems a step to try.")
    flags.DEFINE_list("estimators", [], "Meta-gradient estimators to compare; the config's where not given.")
    flags.DEFINE_list("phases", [], "Only these phases.")


if __name__ == "__main__":
    define_flags()
    command_line.run(main)
