"""Problems small enough to be checked against closed forms and finite differences. Used under float64."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mass_jax.metagrad import Estimator, optimizers
from mass_jax.metagrad.base import ValueAndGrad
from mass_jax.types import Array, Batch, InnerOptimizer, InnerProblem, Meta, MetaGradient, OptState, Params

N, T, V, D, H, R = 4, 3, 7, 5, 6, 2
MAX_STEPS = 5


def learned_rate(meta: Meta) -> Array:
    return jnp.exp(meta["log_lr"])


OPTIMIZERS: dict[str, InnerOptimizer] = {
    "sgd": optimizers.sgd(learned_rate),
    "momentum": optimizers.sgd(learned_rate, momentum=0.9),
    "adam": optimizers.adam(learned_rate),
}
RATES = {"sgd": 0.5, "momentum": 0.3, "adam": 0.05}


def base_parameters(seed: int = 0, width: int = H) -> Params:
    rng = np.random.default_rng(seed)
    return {
        "embed_VxD": jnp.asarray(rng.normal(size=(V, D))),
        "hidden_DxH": jnp.asarray(rng.normal(size=(D, width)) / D**0.5),
        "out_HxV": jnp.asarray(rng.normal(size=(width, V)) / width**0.5),
    }


def fresh_lora(seed: int = 1, width: int = H) -> Params:
    """As LoRA starts: B = 0, hence ∇A = 0 exactly."""
    rng = np.random.default_rng(seed)
    return {"A_DxR": jnp.asarray(rng.normal(size=(D, R)) / D**0.5), "B_RxH": jnp.asarray(np.zeros((R, width)))}


def example_losses(base: Params, lora: Params, batch: Batch, sharpness: Array | float = 1.0) -> Array:
    """Next-token cross-entropy of a LoRA-adapted two-layer network: [N], mean over the T tokens of each example."""
    x_NxTxD = base["embed_VxD"][batch["tokens"]]
    h_NxTxH = jnp.tanh(x_NxTxD @ base["hidden_DxH"] + x_NxTxD @ lora["A_DxR"] @ lora["B_RxH"])
    logits_NxTxV = sharpness * (h_NxTxH @ base["out_HxV"])
    picked_NxT = jnp.sum(logits_NxTxV * (batch["labels"][..., None] == jnp.arange(V)), axis=-1)
    # The logits are small, so that a plain log-sum-exp, which compiles faster, is accurate.
    return jnp.mean(jnp.log(jnp.sum(jnp.exp(logits_NxTxV), axis=-1)) - picked_NxT, axis=-1)


def lora_problem(base: Params, optimizer: InnerOptimizer) -> InnerProblem:
    """Weights and a sharpness enter the loss, the learning rate the optimiser; the batch says which weights are its."""

    def loss(lora: Params, meta: Meta, batch: Batch) -> Array:
        weights_N = meta["weights_KxN"][batch["step"], batch["example"]]
        return jnp.sum(weights_N * example_losses(base, lora, batch, meta["sharpness"]))

    return InnerProblem(loss, optimizer)


def outer_loss(base: Params, seed: int = 9) -> Callable[[Params], Array]:
    target = make_batch(seed)
    return lambda lora: example_losses(base, lora, target).mean()


def make_batch(seed: int, *lead: int, length: int = T) -> Batch:
    rng = np.random.default_rng(seed)
    return {name: jnp.asarray(rng.integers(V, size=(*lead, N, length))) for name in ("tokens", "labels")}


def make_batches(steps: int, seed: int = 2, length: int = T) -> Batch:
    counters = {"step": jnp.asarray(np.arange(steps)), "example": jnp.asarray(np.tile(np.arange(N), (steps, 1)))}
    return make_batch(seed, steps, length=length) | counters


def make_meta(rate: float, seed: int = 3) -> Meta:
    """Weights for MAX_STEPS steps whatever K is: those of steps that are not taken must get a gradient of zero."""
    rng = np.random.default_rng(seed)
    return {
        "weights_KxN": jnp.asarray(rng.uniform(0.2, 1.0, (MAX_STEPS, N))),
        "sharpness": jnp.asarray(np.float64(1.3)),
        "log_lr": jnp.asarray(np.log(rate)),
    }


class Case(NamedTuple):
    problem: InnerProblem
    outer_loss: Callable[[Params], Array]
    arguments: tuple[Params, Meta, Batch]


@functools.cache
def problem_and_outer_loss(optimizer: str) -> tuple[InnerProblem, Callable[[Params], Array]]:
    base = base_parameters()
    return lora_problem(base, OPTIMIZERS[optimizer]), jax.jit(outer_loss(base))


def lora_case(optimizer: str, steps: int) -> Case:
    return Case(*problem_and_outer_loss(optimizer), (fresh_lora(), make_meta(RATES[optimizer]), make_batches(steps)))


@functools.cache
def compiled(estimator: Estimator, optimizer: str) -> ValueAndGrad:
    return quick_jit(estimator.value_and_grad(*problem_and_outer_loss(optimizer)))


@functools.cache
def meta_gradient(estimator: Estimator, optimizer: str, steps: int) -> tuple[Array, MetaGradient]:
    return compiled(estimator, optimizer)(*lora_case(optimizer, steps).arguments)


@functools.cache
def _plain_step(problem: InnerProblem) -> Callable[..., tuple[Params, OptState]]:
    def step(params: Params, state: OptState, meta: Meta, batch: Batch) -> tuple[Params, OptState]:
        return problem.optimizer.update(jax.grad(problem.loss)(params, meta, batch), state, params, meta)

    return quick_jit(step)


def plain_run(problem: InnerProblem, init: Params, meta: Meta, batches: Batch) -> Params:
    """The inner run as a Python loop that shares no code with the package: what finite differences are taken of."""
    params, state = init, problem.optimizer.init(init)
    for t in range(jax.tree.leaves(batches)[0].shape[0]):
        params, state = _plain_step(problem)(params, state, meta, jax.tree.map(lambda leaf, t=t: leaf[t], batches))
    return params


def quick_jit(fn: Callable) -> Callable:
    """Compiled without optimisation: at this size, compiling is all the time there is."""
    return jax.jit(fn, compiler_options={"xla_backend_optimization_level": 0})


def flat(tree: Params) -> np.ndarray:
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def cosine(left: Params, right: Params) -> float:
    a, b = flat(left), flat(right)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
