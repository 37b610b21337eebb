"""Data hyper-cleaning on scikit-learn's digits: find wrong labels by the gradient of a clean validation loss.

    python -m experiments.benchmarks.hyper_cleaning --workdir=runs/hyper_cleaning        (`make hyper-cleaning`)

A share of the training labels is replaced by the next digit's. Softmax regression is trained for K steps on the
training set, each example weighted by sigmoid(its logit); the logits are meta-learned by the validation loss after
those K steps (Franceschi et al. 2017, arXiv 1703.01785, sec. 5.1). Every estimator gets the same data, the same number
of outer steps and the same outer optimiser. An example counts as found if its weight ends below one half.

Choices (K, rates, penalty, outer steps) were made on the validation loss; accuracy is on test digits that nothing was
chosen by. The corrupted labels are used to score only.
"""

import importlib.util
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import flags

from experiments.benchmarks.kept import held, keep, writable
from mass_jax import metagrad
from mass_jax.errors import InputError
from mass_jax.metagrad import optimizers
from mass_jax.reporting.table import Table, to_markdown
from mass_jax.runtime import program
from mass_jax.runtime.compilation import temp_bytes
from mass_jax.runtime.progress import Progress
from mass_jax.runtime.workdir import write_atomically
from mass_jax.types import Array, Batch, InnerProblem, Meta, Params

TRAIN, VALIDATION, CLASSES, PIXELS = 500, 200, 10, 64
INNER_RATE, MOMENTUM, PENALTY, OUTER_RATE = 0.5, 0.9, 1e-3, 0.3


class Data(NamedTuple):
    """One repetition: images [n, 64] in 0 … 1, labels [n], and which training labels are wrong [TRAIN]."""

    train_x: np.ndarray
    train_y: np.ndarray
    wrong: np.ndarray
    validation_x: np.ndarray
    validation_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray


def load(seed: int, corrupted: float) -> Data:
    """Digits, shuffled, split and corrupted by ``seed``.

    Raises:
      InputError: scikit-learn is not installed.
    """
    if importlib.util.find_spec("sklearn") is None:
        raise InputError("scikit-learn, which ships the digits, is not installed: pip install -e '.[examples]'.")
    from sklearn.datasets import load_digits

    rng = np.random.default_rng(seed)
    images, labels = load_digits(return_X_y=True)
    order = rng.permutation(len(labels))
    x, y = (images[order] / 16.0).astype(np.float32), labels[order].astype(np.int32)
    train_y = y[:TRAIN].copy()
    wrong = np.zeros(TRAIN, bool)
    wrong[rng.choice(TRAIN, round(corrupted * TRAIN), replace=False)] = True
    # Always to the next digit: noise without a pattern would average out, and there would be nothing to clean.
    train_y[wrong] = (train_y[wrong] + 1) % CLASSES
    held = TRAIN + VALIDATION
    return Data(x[:TRAIN], train_y, wrong, x[TRAIN:held], y[TRAIN:held], x[held:], y[held:])


def cross_entropy(params: Params, x_NxD: Array, y_N: Array) -> Array:
    """Of softmax regression, [N]."""
    return optax.softmax_cross_entropy_with_integer_labels(x_NxD @ params["w"] + params["b"], y_N)


def inner_problem(data: Data) -> InnerProblem:
    """The weighted training loss; every step sees the whole set."""
    x, y = jnp.asarray(data.train_x), jnp.asarray(data.train_y)

    def loss(params: Params, meta: Meta, batch: Batch) -> Array:
        index = batch["index"]
        weights = jax.nn.sigmoid(meta["logits"][index])
        # The penalty is shared out among the examples, so that the loss stays a sum over them.
        penalty = PENALTY * optax.tree.norm(params, squared=True)
        return jnp.sum(weights * cross_entropy(params, x[index], y[index]) + penalty) / TRAIN

    return InnerProblem(loss, optimizers.sgd(INNER_RATE, MOMENTUM))


def rows(steps: int) -> list[tuple[str, dict[str, Any]]]:
    """Every estimator with its options."""
    return [
        ("unroll", {"remat": "step"}),
        ("mixed_mode", {}),
        ("adjoint", {}),
        ("forward", {"max_scalars": TRAIN}),
        ("truncated", {"window": steps // 2}),
        ("truncated", {"window": 1}),
        ("first_order", {}),
        ("first_order", {"steps": "last"}),
        ("implicit", {"solver": "cg", "damping": 1e-2}),
        ("implicit", {"solver": "neumann", "damping": 1e-2}),
        ("implicit", {"solver": "nystrom", "damping": 1e-2}),
        ("finite_difference", {"kind": "walk"}),
        ("finite_difference", {"kind": "darts"}),
        ("finite_difference", {"kind": "sama"}),
        ("evolution", {"samples": 32, "sigma": 0.3}),
        ("persistent_evolution", {"samples": 32, "sigma": 0.3, "window": steps // 2}),
    ]


def fit(data: Data, weights: np.ndarray, steps: int) -> float:
    """Test accuracy of a model trained with fixed weights of the examples, for as many steps as an inner run has."""
    logits = jnp.log(jnp.maximum(weights, 1e-6)) - jnp.log(jnp.maximum(1 - weights, 1e-6))
    meta = {"logits": jnp.asarray(logits, jnp.float32)}
    run = metagrad.Adjoint().adapt(inner_problem(data), start(), meta, batches(steps))
    return float(np.mean(np.argmax(data.test_x @ run.params["w"] + run.params["b"], axis=1) == data.test_y))


def start() -> Params:
    """Softmax regression before training."""
    return {"w": jnp.zeros((PIXELS, CLASSES)), "b": jnp.zeros(CLASSES)}


def batches(steps: int) -> Batch:
    """The whole training set at every step."""
    return {"index": jnp.tile(jnp.arange(TRAIN), (steps, 1))}


def clean(name: str, options: dict[str, Any], data: Data, steps: int, outer_steps: int) -> dict[str, Any]:
    """Meta-learns the weights with one estimator, and scores what it found."""
    estimator = metagrad.make(name, **options)
    problem, optimizer = inner_problem(data), optax.adam(OUTER_RATE)

    def validation_loss(params: Params) -> Array:
        return jnp.mean(cross_entropy(params, jnp.asarray(data.validation_x), jnp.asarray(data.validation_y)))

    joined = estimator.value_and_grad(problem, validation_loss)

    def update(meta: Meta, state: Any, key: Array) -> tuple[Meta, Any, Array, Any]:
        # Only estimators that draw take a key.
        drawn = () if estimator.needs_cotangent else (key,)
        loss, gradient = joined(start(), meta, batches(steps), *drawn)
        updates, state = optimizer.update(gradient.meta, state)
        return optax.apply_updates(meta, updates), state, loss, gradient.diagnostics

    meta: Meta = {"logits": jnp.zeros(TRAIN)}
    state = optimizer.init(meta)
    keys = jax.random.split(jax.random.key(0), outer_steps)
    compiled = jax.jit(update).lower(meta, state, keys[0]).compile()
    began = time.perf_counter()
    diagnostics: dict[str, Any] = {}
    for key in keys:
        meta, state, loss, diagnostics = compiled(meta, state, key)
    jax.block_until_ready(meta)
    seconds = time.perf_counter() - began
    metagrad.warn_if_broken(estimator, diagnostics)
    weights = np.asarray(jax.nn.sigmoid(meta["logits"]))
    found = weights < 0.5
    hits = int(np.sum(found & data.wrong))
    return {
        "validation_loss": float(loss),
        "test_accuracy": fit(data, weights, steps),
        "f1": 2 * hits / max(1, int(found.sum() + data.wrong.sum())),
        "seconds": seconds,
        "temp_bytes": temp_bytes(compiled),
    }


def baselines(data: Data, steps: int) -> dict[str, float]:
    """Test accuracy without any cleaning, from the validation set alone, and with the wrong labels known."""
    pick = np.resize(np.arange(VALIDATION), TRAIN)
    clean_only = data._replace(train_x=data.validation_x[pick], train_y=data.validation_y[pick])
    return {
        "all labels": fit(data, np.full(TRAIN, 0.5), steps),
        "validation set only": fit(clean_only, np.full(TRAIN, 0.5), steps),
        "right labels only (privileged)": fit(data, np.where(data.wrong, 0.0, 0.5), steps),
    }


def run(workdir: Path, names: Sequence[str] | None, seeds: int, steps: int, outer_steps: int, corrupted: float) -> dict:
    """All rows over all seeds; writes results.json, table.json and table.md."""
    path = writable(workdir) / "results.json"
    held(path, ("estimator", "test_accuracy"))  # what is another program's is not overwritten
    chosen = [row for row in rows(steps) if names is None or row[0] in names]
    found: dict[str, list[dict[str, Any]]] = {}
    references: list[dict[str, float]] = []
    with Progress(seeds * len(chosen), label="hyper-cleaning") as progress:
        for seed in range(seeds):
            data = load(seed, corrupted)
            references.append(baselines(data, steps))
            for place, (name, options) in enumerate(chosen, 1):
                one = clean(name, options, data, steps, outer_steps)
                found.setdefault(json.dumps([name, options]), []).append(one)
                progress.update(seed * len(chosen) + place)
    results: dict[str, Any] = {
        "setting": {"seeds": seeds, "K": steps, "outer_steps": outer_steps, "corrupted": corrupted},
        "baselines": {name: _spread([one[name] for one in references]) for name in references[0]},
        "rows": [],
    }
    for key, each in found.items():
        name, options = json.loads(key)
        summary = {field: _spread([one[field] for one in each]) for field in each[0]}
        results["rows"].append({"estimator": name, "options": options, **summary})
    write_atomically(path, json.dumps(results, indent=1) + "\n")
    keep(workdir / "table.json", rows=table(results))
    return results


def table(results: dict[str, Any]) -> Table:
    """Baselines first, then every estimator: mean ± standard deviation over seeds."""
    cells = [(name, _percent(value), "", "", "", "") for name, value in results["baselines"].items()]
    for row in results["rows"]:
        options = ", ".join(f"{name}={value}" for name, value in row["options"].items())
        cells.append(
            (
                row["estimator"] + (f" ({options})" if options else ""),
                _percent(row["test_accuracy"]),
                _percent(row["f1"]),
                f"{row['validation_loss']['mean']:.3f}",
                f"{row['seconds']['mean']:.2f}",
                f"{row['temp_bytes']['mean'] / 1e6:.1f}",
            )
        )
    columns = ("Estimator", "Test accuracy, %", "F1, %", "Validation loss", "Seconds", "Temp, MB")
    return Table(columns, "lrrrrr", cells)


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"mean": float(np.mean(values)), "sd": float(np.std(values, ddof=1)) if len(values) > 1 else 0.0}


def _percent(value: dict[str, float]) -> str:
    return f"{100 * value['mean']:.1f} ± {100 * value['sd']:.1f}"


def main() -> None:
    """Reads the flags, runs, prints the table."""
    results = run(
        Path(flags.FLAGS.workdir),
        flags.FLAGS.estimators,
        flags.FLAGS.seeds,
        flags.FLAGS.steps,
        flags.FLAGS.outer_steps,
        flags.FLAGS.corrupted,
    )
    print(to_markdown(table(results)))


def define_flags() -> None:
    """What the command line takes. Called by the main program only: an importer has flags of its own."""
    flags.DEFINE_string("workdir", "runs/hyper_cleaning", "Folder for results.json, table.json and table.md.")
    program.define_names("estimators", None, sorted(metagrad.ESTIMATORS), "Only these estimators' rows; default: all.")
    flags.DEFINE_integer("seeds", 3, "Repetitions, each with its own split and corruption.", lower_bound=1)
    flags.DEFINE_integer("steps", 20, "K, inner steps.", lower_bound=2)
    flags.DEFINE_integer("outer_steps", 60, "Updates of the weights.", lower_bound=1)
    flags.DEFINE_float("corrupted", 0.4, "Share of wrong training labels.", lower_bound=0.0, upper_bound=0.9)


if __name__ == "__main__":
    define_flags()
    program.run(main)
