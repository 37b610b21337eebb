"""What every estimator shares: its interface, the inner run, and the joined form of adapt and pullback."""

import abc
from collections.abc import Callable, Mapping
from typing import ClassVar, NamedTuple, Protocol

import jax

from mass_jax.metagrad.checks import check_cotangent, check_inputs
from mass_jax.metagrad.second_order import loss_and_grad
from mass_jax.types import Array, Batch, InnerProblem, Meta, MetaGradient, OptState, Params, PyTree

OuterLoss = Callable[[Params], Array]
"""``outer_loss(adapted_params) -> scalar``. It may close over traced arrays; a direct dependence on ``meta`` is the
caller's to add, for the estimators differentiate only the path through the inner run."""

ValueAndGrad = Callable[[Params, Meta, Batch], tuple[Array, MetaGradient]]
"""``f(init, meta, batches) -> (outer loss, meta-gradient)``."""


class InnerRun(NamedTuple):
    """What ``adapt`` returns.

    Attributes:
      params: the adapted parameters φ_K, the structure and dtypes of ``init``.
      losses_K: float [K]; the inner loss at φ_0 … φ_{K-1}, each before its step.
      residuals: what this estimator's ``pullback`` needs; opaque to everyone else.
    """

    params: Params
    losses_K: Array
    residuals: PyTree


class Estimator(Protocol):
    """What every estimator offers, evaluation-only ones (evolution strategies) included.

    Attributes:
      exact: whether the result is the true derivative, up to rounding.
      needs_cotangent: whether it offers ``adapt`` and ``pullback`` (``CotangentEstimator``), or only the joined form.
    """

    exact: ClassVar[bool]
    needs_cotangent: ClassVar[bool]

    def assumption(self, diagnostics: Mapping[str, float]) -> str | None:
        """A sentence if the diagnostics of a result show that the estimator's assumption does not hold, else None."""
        ...

    def value_and_grad(self, problem: InnerProblem, outer_loss: OuterLoss) -> ValueAndGrad:
        """The outer loss after the inner run and its meta-gradient, in one pure function."""
        ...


class CotangentEstimator(abc.ABC):
    """An estimator that pulls a cotangent ∂L_outer/∂φ_K back through the inner run.

    ``adapt`` and ``pullback`` are two functions, each to be jitted on its own: between them the adapted weights may
    sample and be graded, and only then is the cotangent known. Both are pure and may be vmapped or mapped over
    problems. ``problem`` holds functions: close over it, or mark it static. ``pullback`` must be given the ``meta``
    and the ``batches`` that ``adapt`` was given.

    Attributes:
      exact: whether the result is the true derivative, up to rounding.
    """

    exact: ClassVar[bool]
    needs_cotangent: ClassVar[bool] = True

    def assumption(self, diagnostics: Mapping[str, float]) -> str | None:
        """A sentence if the diagnostics of a result show that the estimator's assumption does not hold, else None."""
        del diagnostics
        return None

    @abc.abstractmethod
    def adapt(self, problem: InnerProblem, init: Params, meta: Meta, batches: Batch) -> InnerRun:
        """Runs K inner steps and keeps what ``pullback`` needs.

        Args:
          problem: the inner loss and optimiser.
          init: φ_0, a pytree of floating arrays.
          meta: a pytree of floating arrays.
          batches: one batch a step; every leaf [K, ...], of any dtype. No gradient reaches it.

        Raises:
          ValueError: batches without leaves or examples, K = 0, or leaves that disagree on K.
          TypeError: a leaf of ``init`` or ``meta`` is not floating.
        """

    @abc.abstractmethod
    def pullback(
        self, problem: InnerProblem, residuals: PyTree, meta: Meta, batches: Batch, cotangent: Params
    ) -> MetaGradient:
        """The meta-gradient, given the cotangent of the adapted parameters.

        Args:
          problem: as given to ``adapt``.
          residuals: what ``adapt`` kept.
          meta: as given to ``adapt``.
          batches: as given to ``adapt``.
          cotangent: ∂L_outer/∂φ_K, the structure, shapes and dtypes of the parameters.

        Raises:
          ValueError: as ``adapt``, or a cotangent or residuals that do not fit.
          TypeError: as ``adapt``.
        """

    def value_and_grad(self, problem: InnerProblem, outer_loss: OuterLoss) -> ValueAndGrad:
        """Joins ``adapt``, the outer gradient and ``pullback`` in one pure function."""

        def joined(init: Params, meta: Meta, batches: Batch) -> tuple[Array, MetaGradient]:
            run = self.adapt(problem, init, meta, batches)
            value, cotangent = jax.value_and_grad(outer_loss)(run.params)
            return value, self.pullback(problem, run.residuals, meta, batches, cotangent)

        return joined


class ReverseEstimator(CotangentEstimator):
    """``jax.vjp`` of the inner run, as the estimator writes it for that purpose.

    The residuals of ``adapt`` are φ_0 alone, so ``pullback`` runs the inner loop again;
    ``value_and_grad`` runs it once.

    Attributes:
      init_grad: whether to return the gradient with respect to ``init`` too.
    """

    init_grad: bool

    @abc.abstractmethod
    def _run(self, problem: InnerProblem, init: Params, meta: Meta, batches: Batch) -> Params:
        """φ_K, differentiable in ``init`` and ``meta`` by reverse mode."""

    def pullback(
        self, problem: InnerProblem, residuals: Params, meta: Meta, batches: Batch, cotangent: Params
    ) -> MetaGradient:
        """See ``CotangentEstimator.pullback``."""
        params, pull = self._vjp(problem, residuals, meta, batches)
        check_cotangent(cotangent, params)
        return pull(cotangent)

    def value_and_grad(self, problem: InnerProblem, outer_loss: OuterLoss) -> ValueAndGrad:
        """As ``CotangentEstimator.value_and_grad``, with one inner run in place of two."""

        def joined(init: Params, meta: Meta, batches: Batch) -> tuple[Array, MetaGradient]:
            params, pull = self._vjp(problem, init, meta, batches)
            value, cotangent = jax.value_and_grad(outer_loss)(params)
            return value, pull(cotangent)

        return joined

    def _vjp(
        self, problem: InnerProblem, init: Params, meta: Meta, batches: Batch
    ) -> tuple[Params, Callable[[Params], MetaGradient]]:
        check_inputs(init, meta, batches)
        params, vjp = jax.vjp(lambda meta, init: self._run(problem, init, meta, batches), meta, init)

        def pull(cotangent: Params) -> MetaGradient:
            meta_bar, init_bar = vjp(cotangent)
            return MetaGradient(meta_bar, init_bar if self.init_grad else None, {})

        return params, pull


def inner_step(
    problem: InnerProblem,
    meta: Meta,
    *,
    keep: Callable[[Params, OptState, Params, Params], PyTree] = lambda params, state, grads, new_params: None,
    microbatch: int | None = None,
) -> Callable[[tuple[Params, OptState], Batch], tuple[tuple[Params, OptState], tuple[Array, PyTree]]]:
    """One inner step as the body of a scan; see ``inner_loop``."""

    def step(carry: tuple[Params, OptState], batch: Batch) -> tuple[tuple[Params, OptState], tuple[Array, PyTree]]:
        params, state = carry
        loss, grads = loss_and_grad(problem, params, meta, batch, microbatch)
        new_params, new_state = problem.optimizer.update(grads, state, params, meta)
        return (new_params, new_state), (loss, keep(params, state, grads, new_params))

    return step


def inner_loop(
    problem: InnerProblem,
    init: Params,
    meta: Meta,
    batches: Batch,
    *,
    keep: Callable[[Params, OptState, Params, Params], PyTree] = lambda params, state, grads, new_params: None,
    microbatch: int | None = None,
) -> tuple[Params, Array, PyTree]:
    """The inner run: K steps as one ``lax.scan``.

    Args:
      problem: the inner loss and optimiser.
      init: φ_0.
      meta: meta-parameters.
      batches: every leaf [K, ...].
      keep: ``keep(params, state, grads, new_params)``: what to store of a step; the default stores nothing.
      microbatch: examples whose activations are alive at once; None for all.

    Returns:
      φ_K, the losses [K], and what was kept with a leading axis K.
    """
    step = inner_step(problem, meta, keep=keep, microbatch=microbatch)
    (params, _), (losses_K, kept_K) = jax.lax.scan(step, (init, problem.optimizer.init(init)), batches)
    return params, losses_K, kept_K
