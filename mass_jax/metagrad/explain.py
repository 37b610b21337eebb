"""What an estimator would do and cost on a problem, said before anything is compiled or run."""

import dataclasses
import textwrap
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from mass_jax.metagrad import cost
from mass_jax.metagrad.base import CotangentEstimator, Estimator, OuterLoss, inner_loop
from mass_jax.metagrad.checks import check_inputs
from mass_jax.metagrad.registry import ESTIMATORS
from mass_jax.metagrad.second_order import loss_and_grad, second_order
from mass_jax.types import Array, Batch, InnerProblem, Meta, MetaGradient, Params


class Account(NamedTuple):
    """What an estimator stores, approximates and assumes, and which gradients it lets pass: one sentence each."""

    stores: str
    approximates: str
    assumes: str
    passes: str
    cuts: str


ALL_PATHS = "every path from meta to φ_K: the inner gradients, their curvature, the optimiser, its state and its rates"
TWICE = "the inner loss and the optimiser are differentiable twice"

ACCOUNTS: dict[str, Account] = {
    "unroll": Account(
        "every step's activations; with remat, every step's start",
        "nothing",
        TWICE,
        ALL_PATHS,
        "nothing",
    ),
    "mixed_mode": Account(
        "every step's parameters, optimiser state and gradient; no activations",
        "nothing",
        f"{TWICE}, the inner gradient by forward over reverse",
        ALL_PATHS,
        "nothing",
    ),
    "adjoint": Account(
        "every step's gradient, from which the optimiser's arithmetic is repeated, or what its trajectory option says",
        "nothing",
        f"{TWICE}, the inner gradient by forward over reverse",
        ALL_PATHS,
        "nothing",
    ),
    "forward": Account(
        "one tangent of φ and of the optimiser state for each scalar of meta; nothing that grows with K",
        "nothing",
        f"{TWICE}; meta holds few scalars",
        ALL_PATHS,
        "nothing",
    ),
    "truncated": Account(
        "the parameters, optimiser state and gradient of the last steps, as many as are differentiated",
        "the steps before the window are taken as independent of meta",
        f"{TWICE}; what the early steps did is forgotten by the end of the run",
        "every path through the last steps of the window",
        "every path through an earlier step, and with it the gradient of meta that only those steps read",
    ),
    "first_order": Account(
        "every step's parameters, or the last one's",
        "each step's Jacobian is taken as the identity and its update as −scale · gradient",
        "a small rate and an optimiser near plain SGD; ∂ℓ/∂meta has a forward-mode derivative",
        "meta → that step's gradient → φ_K",
        "curvature, momentum, Adam's rescaling, and every hyper-parameter that only the optimiser reads",
    ),
    "implicit": Account(
        "the initial and the adapted parameters",
        "φ_K is taken as a stationary point of the inner loss, and a linear system is solved approximately",
        "the inner run has converged, with a Hessian that is positive definite there (damping helps)",
        "meta → the inner loss's stationarity condition → φ_K",
        "the path that was taken: optimiser, rates, the initial point, the order of the batches",
    ),
    "finite_difference": Account(
        "every step's gradient; of darts and sama, the last step alone",
        "Hessian-vector products are differences of gradients at two displaced points",
        "the inner loss has one derivative, smooth at the scale of the displacement",
        "the paths of the exact walk, each second-order product up to the difference's error; of darts and sama, those "
        "from meta through the last step's gradient",
        "nothing by walk, but for cancellation in low precision; by darts and sama, every path through an earlier step "
        "and every rate that only the optimiser reads",
    ),
    "evolution": Account(
        "nothing of the run: the outer losses of a population",
        "the gradient of the outer loss smoothed by Gaussian noise on meta, from finitely many draws",
        "the outer loss can be evaluated at displaced meta; no derivative at all",
        "every path, whatever it is made of: only outer losses are compared",
        "detail below the noise's width",
    ),
    "persistent_evolution": Account(
        "each particle's inner state and the sum of its perturbations",
        "the gradient of the outer losses smoothed by noise on meta, from finitely many particles",
        "the outer loss is defined at the end of every window; no derivative at all",
        "every path, those through earlier windows included",
        "detail below the noise's width",
    ),
}


@dataclasses.dataclass(frozen=True)
class Explanation:
    """What ``explain`` found. ``str`` of it is the text for people.

    Attributes:
      estimator: the estimator with its options.
      exact: whether it is the true derivative, up to rounding.
      steps: K.
      flops: of one call of ``value_and_grad``, the outer loss included: matrix products and convolutions, two for each
        multiply-add.
      elementwise_flops: the rest of the arithmetic, one for each element of each result.
      plain_flops: ``flops`` of the K-step inner run alone.
      cost_in_plain_runs: ``flops / plain_flops``, or of the elementwise counts if there is no product in the run.
      residual_bytes: what ``adapt`` returns for ``pullback``, the two being compiled apart; None without them.
      stored_bytes: what crosses from before the outer loss to after it in the joined program, arguments and adapted
        parameters not counted; None for estimators without a way back.
      step_bytes: alive at once in one plain inner gradient, an estimate.
      hvp_bytes: alive at once in one Hessian-vector product on a whole batch, an estimate; None if the inner loss has
        no second derivative.
      peak_bytes: alive at once in the joined program, an estimate; arguments not counted.
      gradients: for each leaf of meta, whether a gradient reaches it; False is zero by construction, not by value.
      init_gradient: whether a gradient with respect to ``init`` is returned.
      diagnostics: the names of the scalars that come with the result.
      account: what is stored, approximated, assumed, passed and cut.
      notes: what in the numbers is not exact.
    """

    estimator: str
    exact: bool
    steps: int
    flops: int
    elementwise_flops: int
    plain_flops: int
    cost_in_plain_runs: float
    residual_bytes: int | None
    stored_bytes: int | None
    step_bytes: int
    hvp_bytes: int | None
    peak_bytes: int
    gradients: dict[str, bool]
    init_gradient: bool
    diagnostics: tuple[str, ...]
    account: Account
    notes: tuple[str, ...]

    def __str__(self) -> str:
        """The text for people: a paragraph for each question."""
        reached = [name for name, reaches in self.gradients.items() if reaches] + ["init"] * self.init_gradient
        missed = [name for name, reaches in self.gradients.items() if not reaches]
        missed += [] if self.init_gradient else ["init (not asked for)"]
        kept = (
            "no way back, nothing is kept"
            if self.stored_bytes is None
            else f"{_bytes(self.stored_bytes)} kept from the inner run for the way back"
            + (f" ({_bytes(self.residual_bytes)} if compiled apart)" if self.residual_bytes is not None else "")
        )
        hvp = (
            "no second derivative"
            if self.hvp_bytes is None
            else f"{_bytes(self.hvp_bytes)} in one Hessian-vector product"
        )
        paragraphs = {
            "FLOPs": f"{_count(self.flops)} in products and convolutions, {_count(self.elementwise_flops)} "
            f"elementwise; {self.cost_in_plain_runs:.2f} times the plain run, "
            f"{self.cost_in_plain_runs * self.steps:.1f} plain steps",
            "Bytes": f"{kept}; alive at once, estimated: {_bytes(self.step_bytes)} in one inner gradient, {hvp}, "
            f"{_bytes(self.peak_bytes)} in all",
            "Stores": self.account.stores,
            "Approximates": self.account.approximates,
            "Assumes": self.account.assumes,
            "Gradients that pass": f"{self.account.passes}. Here they reach {', '.join(reached) or 'nothing'}",
            "Gradients that are cut": self.account.cuts + (f". Here: {', '.join(missed)}" if missed else ""),
            "Diagnostics": ", ".join(self.diagnostics) or "none",
            "Notes": " ".join(self.notes)
            or "counts are of the traced program, without its dead code; what is alive at once imitates fusion",
        }
        head = f"{self.estimator}: {'exact' if self.exact else 'approximate'}, K = {self.steps}"
        lines = [
            textwrap.fill(f"{title}: {text.rstrip('.')}.", 110, initial_indent="  ", subsequent_indent="    ")
            for title, text in paragraphs.items()
        ]
        return "\n".join([head, *lines])


def explain(
    estimator: Estimator,
    problem: InnerProblem,
    init: Params,
    meta: Meta,
    batches: Batch,
    outer_loss: OuterLoss | None = None,
) -> Explanation:
    """Says what one call of ``estimator.value_and_grad`` would compute, keep and leave out.

    Everything is read off the traced program (``jax.make_jaxpr`` after removal of dead code), so it holds for any
    estimator, with any options, and for those that are not in the registry. Nothing is compiled or run.

    Args:
      estimator: the estimator, with its options.
      problem: the inner loss and optimiser.
      init: φ_0; arrays or ``jax.ShapeDtypeStruct``, as ``meta`` and ``batches``.
      meta: meta-parameters.
      batches: every leaf [K, ...].
      outer_loss: the outer loss; None counts a sum over the adapted parameters, which is next to nothing.

    Raises:
      ValueError: as the estimator raises.
      TypeError: as the estimator raises.
    """
    init, meta, batches = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf)), (init, meta, batches)
    )
    steps = check_inputs(init, meta, batches)
    outer = outer_loss or optax.tree.sum

    def marked(params: Params) -> Array:
        return outer(cost.mark_boundary(params))

    problem = problem._replace(axis=None)  # all devices' work together
    joined = estimator.value_and_grad(problem, marked)
    program, (_, shapes) = cost.trace(joined, init, meta, batches)
    plain, _ = cost.trace(lambda *args: inner_loop(problem, *args)[0], init, meta, batches)
    flops, plain_flops = cost.count_flops(program), cost.count_flops(plain)
    by_products = plain_flops.matmul > 0
    ratio = flops.matmul / plain_flops.matmul if by_products else flops.elementwise / max(plain_flops.elementwise, 1)
    zeros = jax.tree.unflatten(jax.tree.structure((0.0, shapes)), cost.zero_results(program))[1]
    residual_bytes = stored_bytes = None
    if isinstance(estimator, CotangentEstimator):
        run = jax.eval_shape(lambda *args: estimator.adapt(problem, *args), init, meta, batches)
        residual_bytes, stored_bytes = cost.tree_bytes(run.residuals), cost.boundary_bytes(program)
    batch = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), batches)
    step, _ = cost.trace(lambda p, m, b: loss_and_grad(problem, p, m, b, None)[1], init, meta, batch)
    notes = list(flops.notes)
    if not by_products:
        notes.append("the inner run has no matrix product: its cost is compared by elementwise operations.")
    return Explanation(
        estimator=repr(estimator),
        exact=estimator.exact,
        steps=steps,
        flops=flops.matmul,
        elementwise_flops=flops.elementwise,
        plain_flops=plain_flops.matmul,
        cost_in_plain_runs=ratio,
        residual_bytes=residual_bytes,
        stored_bytes=stored_bytes,
        step_bytes=cost.peak_bytes(step),
        hvp_bytes=_hvp_bytes(problem, init, meta, batch),
        peak_bytes=cost.peak_bytes(program),
        gradients=_reached(zeros),
        init_gradient=shapes.init is not None,
        diagnostics=tuple(shapes.diagnostics),
        account=_account(estimator),
        notes=tuple(notes),
    )


def _account(estimator: Estimator) -> Account:
    for name, kind in ESTIMATORS.items():
        if type(estimator) is kind and name in ACCOUNTS:
            return ACCOUNTS[name]
    said = f"see the docstring of {type(estimator).__name__}"
    return Account(said, "nothing" if estimator.exact else said, said, said, said)


def _hvp_bytes(problem: InnerProblem, init: Params, meta: Meta, batch: Batch) -> int | None:
    try:
        product, _ = cost.trace(
            lambda p, m, b, along: second_order(problem, p, m, b, along, None), init, meta, batch, init
        )
    except TypeError:
        return None
    return cost.peak_bytes(product)


def _reached(zeros: MetaGradient) -> dict[str, bool]:
    return {f"meta{jax.tree_util.keystr(path)}": not zero for path, zero in jax.tree.leaves_with_path(zeros.meta)}


def _bytes(count: int) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.3g} {unit}" if unit != "B" else f"{count} B"
        count /= 1024  # type: ignore[assignment]
    return f"{count:.3g} GiB"


def _count(flops: int) -> str:
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if flops >= size:
            return f"{flops / size:.3g} {unit}FLOP"
    return f"{flops} FLOP"
