"""Attribution (docs/method.md, steps 4 and 5): the outer loss after the inner update, and its gradient per example.

Both outer losses are a weighted sum of solution log-probabilities under the adapted model theta',

    L_out = -sum_j c_j mean_token log pi_theta'(y_j | T)

    gold       one solution, the reference, c = 1: its cross-entropy
    verifier   S sampled solutions, c_j = A_j / S with the group-normalised verdicts A: GRPO at the sampling policy

so that one function serves both. tau_i = d L_out / d w_i; a negative tau says that more of this example would help.
"""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mass_jax.mass import inner, scorer
from mass_jax.mass.generator import Domain, complete
from mass_jax.mass.method import Method
from mass_jax.mass.packing import mean_log_probs, pack
from mass_jax.mass.policy import group_normalize
from mass_jax.mass.scorer import Scores
from mass_jax.metagrad import InnerRun
from mass_jax.models import lora, processes
from mass_jax.models.sampling import bucket
from mass_jax.tasks.base import Problem, Verdict
from mass_jax.types import AnyArray, Array, Params, PyTree, Sequences

VERDICT_STD_FLOOR = 1e-3
_GRADING = ThreadPoolExecutor(1, "grading")


class Adapted(NamedTuple):
    """P adapted models and how they came about.

    Attributes:
      run: the inner run; every leaf has a leading axis P.
      features_PxMxF: what the scorer read.
      scores: weights and gates.
    """

    run: InnerRun
    features_PxMxF: Array
    scores: Scores


class Graded(NamedTuple):
    """What the grader made of S solutions of every problem.

    Attributes:
      correct_PxS: bool; False where it is not judged.
      judged_PxS: bool, almost always all True; see `Verdict`.
    """

    correct_PxS: np.ndarray
    judged_PxS: np.ndarray

    def share_P(self) -> np.ndarray:
        """The share of right ones among those that are judged, float [P]; 0 where none is."""
        return self.correct_PxS.sum(axis=-1) / np.maximum(self.judged_PxS.sum(axis=-1), 1)

    def advantages_PxS(self) -> np.ndarray:
        """Group-normalised, float32: what is not judged is in no group and has none."""
        return group_normalize(self.correct_PxS.astype(np.float32), self.judged_PxS, VERDICT_STD_FLOOR)


class Solutions(NamedTuple):
    """Solutions to weigh in the outer loss.

    Attributes:
      sequences: solve prompt and solution, [P, S, T].
      coefficients_PxS: c_j; all 0 where the problem carries no signal.
      graded: of sampled solutions; None for references.
    """

    sequences: Sequences
    coefficients_PxS: np.ndarray
    graded: Graded | None


def as_graded(verdicts: Sequence[Verdict], samples: int) -> Graded:
    """Verdicts on ``samples`` solutions of each problem, one problem's after the other's."""
    correct, judged = np.array([(each.correct and each.judged, each.judged) for each in verdicts]).T
    return Graded(correct.reshape(-1, samples), judged.reshape(-1, samples))


class Attribution(NamedTuple):
    """What the outer loss says of every problem's practice.

    Attributes:
      loss_P: L_out.
      tau_PxM: d L_out / d weights.
      dgate_P: d L_out / d gate.
      diagnostics: the estimator's, [P] each.
    """

    loss_P: Array
    tau_PxM: Array
    dgate_P: Array
    diagnostics: dict[str, Array]


@partial(jax.jit, static_argnames="method")
def fresh_adapter(method: Method, params: Params, key: Array) -> PyTree:
    """The adapter that every problem's inner run starts from."""
    return lora.init(method.lora, params, key)


@partial(jax.jit, static_argnames="method")
def score_and_adapt(
    method: Method,
    params: Params,
    eta: Params,
    adapter: PyTree,
    written: Sequences,
    checks: Sequences,
    practice: Sequences,
    valid_PxM: AnyArray,
) -> Adapted:
    """Score every example, then take the inner steps."""
    features = scorer.features(method, params, written, checks, valid_PxM)
    scores = scorer.apply(method.scorer, eta, features, valid_PxM)
    return Adapted(inner.adapt(method, params, adapter, _meta(scores), practice), features, scores)


@partial(jax.jit, static_argnames="method")
def score(
    method: Method, params: Params, eta: Params, written: Sequences, checks: Sequences, valid_PxM: AnyArray
) -> Scores:
    """Weights and gates alone."""
    features = scorer.features(method, params, written, checks, valid_PxM)
    return scorer.apply(method.scorer, eta, features, valid_PxM)


@partial(jax.jit, static_argnames="method")
def adapt(method: Method, params: Params, adapter: PyTree, scores: Scores, practice: Sequences) -> PyTree:
    """The adapted adapters of P problems under given weights and gates."""
    return inner.adapt(method, params, adapter, _meta(scores), practice).params


def references(
    domain: Domain, method: Method, problems: Sequence[Problem], prompts: Sequence[str] | None = None
) -> Solutions:
    """Gold mode: the reference solution of every problem, after its solve prompt or the ``prompts`` given."""
    room = method.lengths.prompt
    if prompts is None:
        prompts = [domain.task.solve_prompt(problem.prompt) for problem in problems]
    else:
        room = bucket(processes.largest(max(len(domain.tokenizer.encode(prompt)) + 1 for prompt in prompts)))
    pairs = [(prompt, problem.solution) for prompt, problem in zip(prompts, problems, strict=True)]
    length = room + method.lengths.solution
    packed = pack(domain.tokenizer, pairs, length, "lengths.prompt + lengths.solution")
    return Solutions(
        Sequences(packed.tokens[:, None], packed.target[:, None]), np.ones((len(problems), 1), np.float32), None
    )


def attempts(
    domain: Domain,
    method: Method,
    params: Params,
    adapters: PyTree,
    problems: Sequence[Problem],
    key: Array,
    samples: int,
    identities_P: np.ndarray | None = None,
) -> Future[tuple[Solutions, np.ndarray]]:
    """Verifier mode: S solutions of every problem, sampled at temperature 1, graded and group-normalised.

    They are graded in the background, while the devices go on.

    Args:
      domain: grades them.
      method: lengths and model.
      params: the base.
      adapters: one a problem, or None for the un-adapted model.
      problems: P problems.
      key: PRNG key.
      samples: S.
      identities_P: see `sample`.

    Returns:
      The solutions, and the log-probability of each when it was sampled, [P, S], once they are graded.
    """
    texts, sequences, raw = complete(
        domain,
        method,
        params,
        adapters,
        [domain.task.solve_prompt(problem.prompt) for problem in problems],
        key,
        samples=samples,
        max_new_tokens=method.lengths.solution,
        temperature=1.0,
        adapter_per_problem=adapters is not None,
        identities_P=identities_P,
    )
    log_probs_PxS = np.asarray(raw.log_probs_PxSxT).sum(axis=-1)

    def graded() -> tuple[Solutions, np.ndarray]:
        repeated = [problem for problem in problems for _ in range(samples)]
        found = as_graded(domain.task.grade(repeated, sum(texts, [])), samples)
        return Solutions(sequences, found.advantages_PxS() / samples, found), log_probs_PxS

    return _GRADING.submit(graded)


def outer_loss(
    method: Method, params: Params, adapter: PyTree, sequences_SxT: Sequences, coefficients_S: Array
) -> Array:
    """L_out of one problem under one adapter, a scalar."""
    return -jnp.sum(coefficients_S * mean_log_probs(method.model, params, adapter, sequences_SxT))


@partial(jax.jit, static_argnames="method")
def outer_losses(
    method: Method, params: Params, adapters: PyTree, sequences_PxSxT: Sequences, coefficients_PxS: Array
) -> Array:
    """L_out of P problems, each under its own adapter, float [P]."""
    loss = partial(outer_loss, method, params)
    return inner.over_problems(method.inner, loss, adapters, sequences_PxSxT, coefficients_PxS)


@partial(jax.jit, static_argnames="method")
def attribute(
    method: Method,
    params: Params,
    adapted: Adapted,
    practice: Sequences,
    sequences_PxSxT: Sequences,
    coefficients_PxS: Array,
) -> Attribution:
    """The outer gradient at the adapted weights, pulled back through the inner steps."""
    loss = jax.value_and_grad(partial(outer_loss, method, params))
    loss_P, cotangent = inner.over_problems(method.inner, loss, adapted.run.params, sequences_PxSxT, coefficients_PxS)
    gradient = inner.pullback(method, params, adapted.run, _meta(adapted.scores), practice, cotangent)
    return Attribution(loss_P, gradient.meta["weights"], gradient.meta["gate"], gradient.diagnostics)


def compare_with_differences(
    domain: Domain,
    method: Method,
    params: Params,
    eta: Params,
    problems: Sequence[Problem],
    written: Sequences,
    checks: Sequences,
    practice: Sequences,
    valid_PxM: np.ndarray,
    width: float = 1e-5,
) -> tuple[np.ndarray, np.ndarray]:
    """The estimator's attributions of the gold outer loss, and central differences of the same, both in float64.

    The differences know nothing of estimators: they move one weight at a time and adapt again. One problem's loss
    depends on its own weights only, so all problems are moved at once.

    Args:
      domain: task and tokenizer.
      method: what is differentiated.
      params: the model.
      eta: the scorer, which decides where (at which weights) the derivative is taken.
      problems: P problems.
      written: see `score_and_adapt`.
      checks: see `score_and_adapt`.
      practice: see `score_and_adapt`.
      valid_PxM: bool.
      width: the change of each weight, in both directions.

    Returns:
      tau [P, M] of the estimator and of the differences; with several processes, of this process's problems.
    """
    with jax.enable_x64(True):
        params, eta = (jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), tree) for tree in (params, eta))
        adapter = fresh_adapter(method, params, jax.random.key(0))
        adapter = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), adapter)
        written, checks, practice, valid = processes.share((written, checks, practice, valid_PxM))
        adapted = score_and_adapt(method, params, eta, adapter, written, checks, practice, valid)
        gold = references(domain, method, problems)
        asked = processes.share((gold.sequences, gold.coefficients_PxS))
        exact = attribute(method, params, adapted, practice, *asked)

        def losses(weights_PxM: Array) -> Array:
            adapters = adapt(method, params, adapter, adapted.scores._replace(weights_PxM=weights_PxM), practice)
            return outer_losses(method, params, adapters, *asked)

        weights, columns = adapted.scores.weights_PxM, []
        for i in range(weights.shape[1]):
            change = width * (np.arange(weights.shape[1]) == i)
            columns.append(processes.local((losses(weights + change) - losses(weights - change)) / (2 * width)))
        return processes.local(exact.tau_PxM), np.stack(columns, axis=1)


def _meta(scores: Scores) -> dict[str, AnyArray]:
    return {"weights": scores.weights_PxM, "gate": scores.gate_P}
