"""Reverse mode through the whole inner run: the reference that every other estimator is measured against."""

import dataclasses
import functools
import math
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp

from mass_jax.metagrad.base import InnerRun, ReverseEstimator, inner_loop, inner_step
from mass_jax.metagrad.blocks import remat_scan_bodies
from mass_jax.metagrad.checks import check_inputs
from mass_jax.types import Batch, InnerProblem, Meta, Params, PyTree


@dataclasses.dataclass(frozen=True)
class Unroll(ReverseEstimator):
    """Exact: ``jax.vjp`` of the K-step ``lax.scan``, reverse over reverse.

    Nothing is derived by hand, so there is nothing to get wrong: this is MAML's meta-gradient (Finn et al. 2017,
    arXiv 1703.03400, eq. 1) and the unrolled optimisation of Maclaurin et al. (2015, arXiv 1502.03492) as automatic
    differentiation gives it. The price is memory.

    ``adapt`` keeps only the initial point, so ``pullback`` runs the inner loop again, and its numbers are those of
    ``adapt`` only where the program is deterministic. ``value_and_grad`` runs it once.

    Memory: with C one step's activations (of the gradient, and of its derivative), φ the parameters and s the
    optimiser's state,

        remat="none"     K · C
        remat="step"     K · (φ + s) + C       one more run of the inner loop
        remat="block"    as "step", with C one block's activations and every block's input; two more runs
        segments=True    √K · (φ + s) in place of K · (φ + s), for one more run

    Attributes:
      remat: "none" keeps every step's activations; "step" recomputes each step from its start; "block" also
        recomputes every ``lax.scan`` body of the inner loss from its start (``remat_scan_bodies``): its layers, if
        the model scans over them.
      loop: "scan" compiles one step; "python" compiles K of them, for the compiler to see across.
      segments: whether to keep the parameters at about √K steps only (Chen et al. 2016, arXiv 1604.06174).
      init_grad: whether to return the gradient with respect to ``init`` too. It costs nothing here: a scan treats its
        steps alike, so the first one's Hessian-vector product is computed anyway.
    """

    remat: Literal["none", "step", "block"] = "none"
    loop: Literal["scan", "python"] = "scan"
    segments: bool = False
    init_grad: bool = False
    exact: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Rejects an unknown ``remat`` or ``loop``."""
        if self.remat not in ("none", "step", "block"):
            raise ValueError(f'remat = {self.remat!r} is unknown; use "none", "step" or "block".')
        if self.loop not in ("scan", "python"):
            raise ValueError(f'loop = {self.loop!r} is unknown; use "scan" or "python".')

    def adapt(self, problem: InnerProblem, init: Params, meta: Meta, batches: Batch) -> InnerRun:
        """See ``CotangentEstimator.adapt``. The residuals are ``init``."""
        check_inputs(init, meta, batches)
        params, losses_K, _ = inner_loop(problem, init, meta, batches)
        return InnerRun(params, losses_K, init)

    def _run(self, problem: InnerProblem, init: Params, meta: Meta, batches: Batch) -> Params:
        if self.remat == "block":
            problem = problem._replace(loss=remat_scan_bodies(problem.loss))
        full_step = inner_step(problem, meta)

        def step(carry: PyTree, batch: Batch) -> tuple[PyTree, None]:
            return full_step(carry, batch)[0], None

        # Inside a scan nothing can be merged across the recomputation, so the barriers that prevent it only cost.
        checkpoint = functools.partial(jax.checkpoint, prevent_cse=self.loop == "python")
        body = step if self.remat == "none" else checkpoint(step)

        def steps(carry: PyTree, batches: Batch) -> PyTree:
            count = jax.tree.leaves(batches)[0].shape[0]
            if self.loop == "scan":
                return jax.lax.scan(body, carry, batches)[0]
            for t in range(count):
                carry, _ = body(carry, jax.tree.map(lambda leaf, t=t: leaf[t], batches))
            return carry

        batches = jax.tree.map(jnp.asarray, batches)
        carry = (init, problem.optimizer.init(init))
        total = jax.tree.leaves(batches)[0].shape[0]
        length = math.isqrt(total) if self.segments else total
        whole = total // length
        if whole > 1:
            # [K, ...] to [whole, length, ...]: segments of about √K steps; the rest that fills none comes after them.
            stacked = jax.tree.map(lambda leaf: leaf[: whole * length].reshape(whole, length, *leaf.shape[1:]), batches)
            segment = jax.checkpoint(steps, prevent_cse=False)
            carry, _ = jax.lax.scan(lambda c, part: (segment(c, part), None), carry, stacked)
            batches = jax.tree.map(lambda leaf: leaf[whole * length :], batches)
        if total - whole * length or whole == 1:
            carry = steps(carry, batches)
        return carry[0]
