"""Evolution strategies: meta-gradients from outer losses of perturbed runs alone, without any derivative."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import ClassVar, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax

from mass_jax.metagrad.base import OuterLoss, inner_loop, inner_step
from mass_jax.metagrad.checks import check_inputs
from mass_jax.types import Array, Batch, InnerProblem, Meta, MetaGradient, OptState, Params, PyTree


class KeyedValueAndGrad(Protocol):
    """A ``base.ValueAndGrad`` that draws: ``f(init, meta, batches, key=None) -> (outer loss, meta-gradient)``."""

    def __call__(
        self, init: Params, meta: Meta, batches: Batch, key: Array | None = None
    ) -> tuple[Array, MetaGradient]:
        """``key`` draws the perturbations; None for one made of the estimator's ``seed``, the same at every call."""
        ...


@dataclasses.dataclass(frozen=True)
class Population:
    """What the estimators of this file share; see each for its lecture."""

    samples: int = 64
    sigma: float = 0.01
    seed: int = 0
    batch_size: int | None = None
    microbatch: int | None = None
    exact: ClassVar[bool] = False
    needs_cotangent: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Rejects options out of range."""
        if self.samples < 2:
            raise ValueError(f"samples = {self.samples}: the variance of the estimate needs at least 2 pairs.")
        if not self.sigma > 0:
            raise ValueError(f"sigma = {self.sigma}: the width of the perturbations must be positive.")
        if self.batch_size is not None and self.batch_size < 1:
            raise ValueError(f"batch_size = {self.batch_size}: at least 1 pair at once, or None for one by one.")

    def assumption(self, diagnostics: Mapping[str, float]) -> str | None:
        """See ``Estimator.assumption``: an estimate with more noise than signal."""
        ratio = diagnostics["signal_to_noise"]
        if ratio >= 1:
            return None
        return (
            f"the noise of the evolution strategy's estimate exceeds its signal (signal_to_noise = {ratio:.2g}, below "
            f"1): raise samples = {self.samples} above the number of scalars that are perturbed, perturb fewer of "
            "them, or use an estimator that differentiates."
        )


@dataclasses.dataclass(frozen=True)
class Evolution(Population):
    """Approximate: the gradient of a smoothed outer loss, from differences of outer losses at perturbed meta.

    With f(w) the outer loss after the run and ε a standard normal vector, Gaussian smoothing gives any f a gradient,

        ∇_w E f(w + σ ε) = E [ (f(w + σ ε) − f(w − σ ε)) ε ] / 2σ,

    which is estimated by the mean over ``samples`` antithetic pairs. The inner run and the outer loss are only
    evaluated: custom kernels, rounding, accuracies, samplers and stopping rules are no obstacle.

    Sources: Rechenberg (1973); Nesterov & Spokoiny (2017), Random gradient-free minimization, for the smoothing;
    Salimans et al. (2017, arXiv 1703.03864) for the antithetic pairs; Metz et al. (2019, arXiv 1810.10180) for
    meta-gradients.

    Assumes that f varies on the scale of σ for every scalar of meta alike: reparametrise (a log rate, say) until it
    does. Bias: σ²/2 ∇Δf(w) and higher orders, none if f is quadratic. Variance: (d + 1) ‖∇f‖² / samples for a linear f
    of d perturbed scalars, so that ``samples`` must exceed d before the estimate points anywhere. Over long unrolls
    the smoothing is a virtue, where the true gradient explodes.

    Memory: one plain inner run, times 2 · ``batch_size`` if that is set; 3 d beside it, whatever ``samples``.
    Time: 2 · ``samples`` + 1 plain inner runs.

    ``value_and_grad`` returns f(w) at w itself, as every other estimator does. Mapped over problems without a ``key``
    for each, all share their perturbations.

    Diagnostics:
      ``variance``: of one coordinate of the estimate, the mean over all of them.
      ``signal_to_noise``: (‖ĝ‖² − V) / V, with V the sum of the variances: an estimate of ‖∇f‖² / E ‖ĝ − ∇f‖². Near
        zero, of either sign, the estimate is noise.

    Attributes:
      samples: antithetic pairs.
      sigma: σ, the standard deviation of the perturbation of every scalar.
      seed: draws the perturbations where no ``key`` is given.
      batch_size: pairs evaluated side by side, by ``vmap``; None for one run after another, without ``vmap``.
      microbatch: as for ``Adjoint``.
      init_grad: whether to perturb ``init`` too, and return the gradient with respect to it.
    """

    init_grad: bool = False

    def value_and_grad(self, problem: InnerProblem, outer_loss: OuterLoss) -> KeyedValueAndGrad:
        """See ``Estimator.value_and_grad``; the function takes a ``key`` after the batches."""

        def joined(init: Params, meta: Meta, batches: Batch, key: Array | None = None) -> tuple[Array, MetaGradient]:
            check_inputs(init, meta, batches)
            moved = jax.tree.map(jnp.asarray, (meta, init) if self.init_grad else (meta,))

            def outer(moved: PyTree) -> Array:
                start = moved[1] if self.init_grad else init
                return outer_loss(inner_loop(problem, start, moved[0], batches, microbatch=self.microbatch)[0])

            def difference(key: Array) -> Array:
                noise = _normal_like(key, moved)
                plus, minus = jax.lax.map(
                    lambda sign: _floating(outer(_perturbed(moved, sign * self.sigma, noise))), jnp.asarray((1.0, -1.0))
                )
                return plus - minus

            keys_S = jax.random.split(jax.random.key(self.seed) if key is None else key, self.samples)
            slopes_S = jax.lax.map(difference, keys_S, batch_size=self.batch_size) / (2 * self.sigma)
            # Drawn again rather than kept: a population of perturbations would be as large as samples · meta.
            gradient, diagnostics = _mean_and_diagnostics(
                lambda drawn: _scaled(drawn[0], _normal_like(drawn[1], moved)), (slopes_S, keys_S)
            )
            return outer(moved), MetaGradient(gradient[0], gradient[1] if self.init_grad else None, diagnostics)

        return joined


class PersistentState(NamedTuple):
    """Where the particles of ``PersistentEvolution`` stand. Every leaf has leading axes [S, 2] or [S].

    Attributes:
      params_Sx2: the inner parameters of each pair's two particles.
      opt_state_Sx2: their optimiser states.
      perturbation_S: Σ ε over the windows so far, of the first particle of each pair; the second has its negative.
    """

    params_Sx2: Params
    opt_state_Sx2: OptState
    perturbation_S: Meta


@dataclasses.dataclass(frozen=True)
class PersistentEvolution(Population):
    """Approximate: evolution strategies on truncated unrolls, without the bias of truncation.

    Plain evolution strategies run the whole inner run for one gradient. Cut into windows, each started from where the
    last one ended, they give a gradient a window; but a perturbation of this window's meta alone cannot see that
    earlier windows were run with meta too, and their influence is lost. Here the particles persist. In window τ each
    draws a fresh ε_τ, runs the window with w + σ ε_τ from its own inner state, and its loss L_τ is credited to all it
    has been perturbed by so far,

        ĝ_τ = mean over pairs of (L_τ⁺ − L_τ⁻) ξ_τ / 2σ,    ξ_τ = Σ_{s ≤ τ} ε_s,

    an unbiased estimate of the smoothed gradient of L_τ with respect to w in every window up to τ. The outer loss
    f(φ_K) of the run's end is put in this form by telescoping: L_τ = f(φ at the window's end) − f(φ at its start), so
    that Σ_τ ĝ_τ estimates what every other estimator does; f(φ_0) cancels within a pair.

    Source: persistent evolution strategies (Vicol, Metz & Sohl-Dickstein 2021, arXiv 2112.13835, alg. 2).

    Assumes what ``Evolution`` does, the smoothing being over all windows' perturbations jointly. Bias: of order σ²,
    none if f(φ_K) is quadratic in them; used online while meta moves, also that earlier windows ran with older values.
    Variance: as of ``Evolution``, and it grows with the number of windows, since ξ does: a late loss is credited to
    early perturbations that it may have forgotten. A single window is ``Evolution``.

    Memory: 2 · ``samples`` · (φ + s), with s the optimiser's state, 3 · ``samples`` · meta, and one plain window run,
    times 2 · ``batch_size`` if that is set; independent of K. Time of the joined form: 2 · ``samples`` + 1 plain inner
    runs, and 2 · ``samples`` · K / ``window`` outer losses.

    Two ways to use it:
      - ``value_and_grad``: all K steps at once, in windows of ``window`` steps. The value is that of the outer loss
        at meta itself.
      - ``init_state``, then ``step`` for a window at a time, with an update of meta after each. ``window`` plays no
        part: a window is as long as the batches given.
    The joined form is ``init_state`` and ``step`` with the keys ``jax.random.split(key, K // window)``.

    Diagnostics: ``variance`` and ``signal_to_noise``, as of ``Evolution``.

    Attributes:
      samples: antithetic pairs of particles.
      sigma: σ, the standard deviation of the perturbation of every scalar in every window.
      seed: draws the perturbations where no ``key`` is given.
      batch_size: pairs run side by side, by ``vmap``; None for one particle after another, without ``vmap``.
      microbatch: as for ``Adjoint``.
      window: inner steps between two perturbations; divides K.
    """

    window: int = 1

    def __post_init__(self) -> None:
        """Rejects options out of range."""
        super().__post_init__()
        if self.window < 1:
            raise ValueError(f"window = {self.window}: a window needs at least 1 inner step.")

    def init_state(self, problem: InnerProblem, init: Params, meta: Meta) -> PersistentState:
        """All particles at φ_0 with a fresh optimiser state, and nothing accumulated.

        Args:
          problem: the inner problem.
          init: φ_0.
          meta: meta-parameters; only their structure and shapes matter.
        """

        def spread(tree: PyTree, *lead: int) -> PyTree:
            return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (*lead, *jnp.shape(leaf))), tree)

        zeros = jax.tree.map(jnp.zeros_like, meta)
        return PersistentState(
            spread(init, self.samples, 2),
            spread(problem.optimizer.init(init), self.samples, 2),
            spread(zeros, self.samples),
        )

    def step(
        self,
        problem: InnerProblem,
        outer_loss: OuterLoss,
        state: PersistentState,
        meta: Meta,
        batches: Batch,
        key: Array,
    ) -> tuple[PersistentState, Array, MetaGradient]:
        """Runs all particles through one window and estimates the gradient of its change of the outer loss.

        Args:
          problem: the inner problem.
          outer_loss: may differ from window to window; a window's change is measured by one.
          state: of ``init_state`` or of the last ``step``.
          meta: meta-parameters, as they are now.
          batches: of the window's steps; every leaf [steps, ...].
          key: draws the window's perturbations; a fresh one each time.

        Returns:
          The new state, the mean over particles of the outer loss at the window's end, and the meta-gradient.

        Raises:
          ValueError: as ``CotangentEstimator.adapt``.
          TypeError: as ``CotangentEstimator.adapt``.
        """
        check_inputs(state.params_Sx2, meta, batches)
        before_Sx2 = jax.lax.map(
            lambda pair: jax.lax.map(lambda params: _floating(outer_loss(params)), pair),
            state.params_Sx2,
            batch_size=self.batch_size,
        )
        state, after_Sx2, credits_S = self._window(problem, outer_loss, state, before_Sx2, meta, batches, key)
        gradient, diagnostics = _mean_and_diagnostics(lambda credit: credit, credits_S)
        return state, after_Sx2.mean(), MetaGradient(gradient, None, diagnostics)

    def value_and_grad(self, problem: InnerProblem, outer_loss: OuterLoss) -> KeyedValueAndGrad:
        """See ``Estimator.value_and_grad``; the function takes a ``key`` after the batches.

        Raises:
          ValueError: by the function, if ``window`` does not divide K.
        """

        def joined(init: Params, meta: Meta, batches: Batch, key: Array | None = None) -> tuple[Array, MetaGradient]:
            steps = check_inputs(init, meta, batches)
            if steps % self.window:
                raise ValueError(
                    f"window = {self.window} does not divide the K = {steps} inner steps; use a divisor of {steps}."
                )
            windows = steps // self.window
            keys = jax.random.split(jax.random.key(self.seed) if key is None else key, windows)
            # [K, ...] to [K / window, window, ...].
            split = jax.tree.map(lambda leaf: jnp.reshape(leaf, (windows, self.window, *leaf.shape[1:])), batches)

            def advance(carry: PyTree, window: tuple[Batch, Array]) -> tuple[PyTree, None]:
                state, outer_Sx2, total_S = carry
                state, outer_Sx2, credits_S = self._window(problem, outer_loss, state, outer_Sx2, meta, *window)
                return (state, outer_Sx2, jax.tree.map(jnp.add, total_S, credits_S)), None

            value = outer_loss(inner_loop(problem, init, meta, batches, microbatch=self.microbatch)[0])
            state = self.init_state(problem, init, meta)
            # The outer loss at φ_0 is the same for both particles of a pair, and may as well be zero.
            start = (state, jnp.zeros((self.samples, 2), _floating(value).dtype), state.perturbation_S)
            (_, _, total_S), _ = jax.lax.scan(advance, start, (split, keys))
            # A pair's windows depend on each other, its sum over windows does not on other pairs': variance over pairs.
            gradient, diagnostics = _mean_and_diagnostics(lambda credit: credit, total_S)
            return value, MetaGradient(gradient, None, diagnostics)

        return joined

    def _window(
        self,
        problem: InnerProblem,
        outer_loss: OuterLoss,
        state: PersistentState,
        before_Sx2: Array,
        meta: Meta,
        batches: Batch,
        key: Array,
    ) -> tuple[PersistentState, Array, Meta]:
        """The new state, the outer losses [S, 2] at the window's end, and each pair's estimate, leaves [S, ...]."""
        meta = jax.tree.map(jnp.asarray, meta)

        def pair(place: tuple[Array, PersistentState, Array]) -> tuple[PersistentState, Array, Meta]:
            key, (params_2, opt_state_2, perturbation), before_2 = place
            noise = _normal_like(key, meta)

            def particle(place: tuple[Array, Params, OptState]) -> tuple[Params, OptState, Array]:
                sign, *carry = place
                perturbed = _perturbed(meta, sign * self.sigma, noise)
                step = inner_step(problem, perturbed, microbatch=self.microbatch)
                (params, opt_state), _ = jax.lax.scan(step, tuple(carry), batches)
                return params, opt_state, _floating(outer_loss(params))

            params_2, opt_state_2, after_2 = jax.lax.map(particle, (jnp.asarray((1.0, -1.0)), params_2, opt_state_2))
            perturbation = jax.tree.map(jnp.add, perturbation, noise)
            # [2]: how the outer loss of the particle with + and of that with - changed over the window.
            change = after_2 - before_2
            credit = _scaled((change[0] - change[1]) / (2 * self.sigma), perturbation)
            return PersistentState(params_2, opt_state_2, perturbation), after_2, credit

        keys_S = jax.random.split(key, self.samples)
        return jax.lax.map(pair, (keys_S, state, before_Sx2), batch_size=self.batch_size)


def _mean_and_diagnostics(draw: Callable[[PyTree], PyTree], xs: PyTree) -> tuple[PyTree, dict[str, Array]]:
    """The mean over the leading axis S of ``draw(x)``, one after another, and the variance of that mean."""
    samples = jax.tree.leaves(xs)[0].shape[0]
    shapes = jax.eval_shape(draw, jax.tree.map(lambda leaf: leaf[0], xs))
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

    def add(carry: tuple[PyTree, PyTree], x: PyTree) -> tuple[tuple[PyTree, PyTree], None]:
        total, squares = carry
        sample = draw(x)
        squares = jax.tree.map(lambda a, b: a + b**2, squares, sample)
        return (jax.tree.map(jnp.add, total, sample), squares), None

    (total, squares), _ = jax.lax.scan(add, (zeros, zeros), xs)
    mean = jax.tree.map(lambda leaf: leaf / samples, total)
    signal = optax.tree.norm(mean, squared=True)
    # Summed over scalars: E[x²] - E[x]², over S - 1 for the variance of the mean.
    noise = jnp.maximum(optax.tree.sum(squares) / samples - signal, 0) / (samples - 1)
    scalars = sum(leaf.size for leaf in jax.tree.leaves(mean))
    ratio = (signal - noise) / jnp.maximum(noise, jnp.finfo(noise.dtype).tiny)
    return mean, {"variance": noise / scalars, "signal_to_noise": ratio}


def _normal_like(key: Array, tree: PyTree) -> PyTree:
    return optax.tree.random_like(key, tree, jax.random.normal)


def _perturbed(tree: PyTree, scale: Array, noise: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf, along: (leaf + scale * along).astype(leaf.dtype), tree, noise)


def _scaled(scale: Array, tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: (scale * leaf).astype(leaf.dtype), tree)


def _floating(value: Array) -> Array:
    """An outer loss may be a count or a verdict; differences and means of it are floating."""
    return jnp.asarray(value, jnp.result_type(value, float))
