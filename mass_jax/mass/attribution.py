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
from mass_jax.mass.actor import Actor
from mass_jax.mass.episodes import solved
from mass_jax.mass.generator import attempting
from mass_jax.mass.packing import Continuation, PracticeArrays, mean_log_probs, pack, solution
from mass_jax.mass.policy import group_normalize
from mass_jax.mass.practice import PracticeSets, on_devices
from mass_jax.mass.scorer import Scores
from mass_jax.metagrad import InnerRun
from mass_jax.models import lora
from mass_jax.models.sampling import bucket
from mass_jax.parallel import hosts
from mass_jax.tasks.base import KnowsFamily, Practice, Problem, Verdict
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


class Weighed(NamedTuple):
    """Solutions to weigh in the outer loss, as compiled programs read them.

    Attributes:
      sequences: solve prompt and solution, [P, S, T].
      coefficients: float [P, S], c_j; all 0 where the problem carries no signal.
    """

    sequences: Sequences
    coefficients: AnyArray


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

    def accuracy(self) -> float:
        """The share of right ones among all that are judged."""
        return self.correct_PxS.sum() / max(self.judged_PxS.sum(), 1)

    def not_judged(self) -> int:
        """How many are not."""
        return (~self.judged_PxS).sum()

    def advantages_PxS(self) -> np.ndarray:
        """Group-normalised, float32: what is not judged is in no group and has none."""
        return group_normalize(self.correct_PxS.astype(np.float32), self.judged_PxS, VERDICT_STD_FLOOR)


class Solutions(NamedTuple):
    """Solutions to weigh in the outer loss, on the host.

    Attributes:
      weighed: the solutions.
      graded: of sampled ones; None for references.
    """

    weighed: Weighed
    graded: Graded | None


def as_graded(verdicts: Sequence[Verdict], samples: int) -> Graded:
    """Verdicts on ``samples`` solutions of each problem, one problem's after the other's."""
    # [P · S, 2] transposed: two rows of P · S verdicts.
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


@partial(jax.jit, static_argnames="number")
def fresh_adapter(actor: Actor, key: Array, number: int = 0) -> PyTree:
    """The adapter that every problem's inner run starts from, or another one of a ``number`` above 0."""
    return lora.init(actor.method.lora, actor.params, jax.random.fold_in(key, number) if number else key)


@jax.jit
def score_and_adapt(actor: Actor, eta: Params, adapter: PyTree, practice: PracticeArrays) -> Adapted:
    """Score every example, then take the inner steps."""
    features = scorer.features(actor, practice)
    scores = scorer.apply(actor.method.scorer, eta, features, practice.valid_PxM)
    return Adapted(inner.adapt(actor, adapter, _meta(scores), practice.examples), features, scores)


@jax.jit
def score(actor: Actor, eta: Params, practice: PracticeArrays) -> Scores:
    """Weights and gates alone."""
    return scorer.apply(actor.method.scorer, eta, scorer.features(actor, practice), practice.valid_PxM)


@jax.jit
def adapt(actor: Actor, adapter: PyTree, scores: Scores, examples: Sequences) -> PyTree:
    """The adapted adapters of P problems under given weights and gates."""
    return inner.adapt(actor, adapter, _meta(scores), examples).params


@jax.jit
def adapt_and_tell(actor: Actor, adapter: PyTree, scores: Scores, examples: Sequences) -> tuple[PyTree, Array]:
    """`adapt`, and the inner loss before each of the K steps, [P, K]."""
    run = inner.adapt(actor, adapter, _meta(scores), examples)
    return run.params, run.losses_K


def references(actor: Actor, problems: Sequence[Problem], prompts: Sequence[str] | None = None) -> Solutions:
    """Gold mode: the reference solution of every problem, after its solve prompt or the ``prompts`` given."""
    tokenizer, lengths = actor.tokenizer, actor.method.lengths
    room = lengths.prompt
    if prompts is None:
        prompts = [actor.task.solve_prompt(problem.prompt) for problem in problems]
    else:
        longest = hosts.largest(max(len(tokenizer.encode(prompt)) + 1 for prompt in prompts))
        room = bucket(longest, actor.method.model.context + 1 - lengths.solution)
    pairs = [
        (prompt, solution(actor.task, problem.solution)) for prompt, problem in zip(prompts, problems, strict=True)
    ]
    packed = pack(tokenizer, pairs, room + lengths.solution, "lengths.prompt + lengths.solution")
    weighed = Weighed(
        # [P, T] to [P, 1, T]: one solution a problem.
        Sequences(packed.tokens[:, None], packed.target[:, None]),
        np.ones((len(problems), 1), np.float32),
    )
    return Solutions(weighed, None)


def siblings(actor: Actor, problems: Sequence[Problem], count: int, noise_P: Sequence[np.random.Generator]) -> Weighed:
    """The reference solution of every problem, and of ``count`` other problems of its family, which are drawn.

    All weigh the same. The domain has to know the family, and is asked for problems that give nothing of the
    problem's own answer away.
    """
    assert isinstance(actor.task, KnowsFamily)
    tokenizer, lengths, pairs = actor.tokenizer, actor.method.lengths, list[tuple[str, Continuation]]()
    for problem, noise in zip(problems, noise_P, strict=True):
        posed: list[Problem | Practice] = [problem, *actor.task.gold_practice(problem, count, noise, strict=True)]
        pairs += [(actor.task.solve_prompt(each.prompt), solution(actor.task, each.solution)) for each in posed]
    packed = pack(tokenizer, pairs, max(lengths.practice, lengths.prompt + lengths.solution), "lengths.practice")
    asked = Sequences(*(leaf.reshape(len(problems), 1 + count, -1) for leaf in packed))
    return Weighed(asked, np.full((len(problems), 1 + count), 1 / (1 + count), np.float32))


def attempts(
    actor: Actor,
    adapters: PyTree,
    problems: Sequence[Problem],
    key: Array,
    samples: int,
    identities_P: np.ndarray | None = None,
) -> Future[tuple[Solutions, np.ndarray]]:
    """Verifier mode: S solutions of every problem, sampled at temperature 1, graded and group-normalised.

    They are graded in the background, while the devices go on.

    Args:
      actor: answers, and its domain grades.
      adapters: one a problem, or None for the un-adapted model.
      problems: P problems.
      key: PRNG key.
      samples: S.
      identities_P: see `sampling.Prompts`.

    Returns:
      The solutions, and the log-probability of each when it was sampled, [P, S], once they are graded.
    """
    prompts = [actor.task.solve_prompt(problem.prompt) for problem in problems]
    found = solved(actor, adapters, problems, prompts, key, attempting(actor, samples), identities_P)

    def graded() -> tuple[Solutions, np.ndarray]:
        repeated = [problem for problem in problems for _ in range(samples)]
        judged = as_graded(actor.task.grade(repeated, sum(found.texts, [])), samples)
        return Solutions(Weighed(found.sequences, judged.advantages_PxS() / samples), judged), found.log_probs_PxS

    return _GRADING.submit(graded)


def outer_loss(actor: Actor, adapter: PyTree, asked_S: Weighed) -> Array:
    """L_out of one problem under one adapter, a scalar."""
    log_probs = mean_log_probs(actor.method.model, actor.params, adapter, asked_S.sequences)
    return -jnp.sum(asked_S.coefficients * log_probs)


@jax.jit
def outer_losses(actor: Actor, adapters: PyTree, asked_PxS: Weighed) -> Array:
    """L_out of P problems, each under its own adapter, float [P]."""
    return inner.over_problems(actor.method.inner, partial(outer_loss, actor), adapters, asked_PxS)


@jax.jit
def attribute(actor: Actor, adapted: Adapted, examples: Sequences, asked_PxS: Weighed) -> Attribution:
    """The outer gradient at the adapted weights, pulled back through the inner steps."""
    loss = jax.value_and_grad(partial(outer_loss, actor))
    loss_P, cotangent = inner.over_problems(actor.method.inner, loss, adapted.run.params, asked_PxS)
    gradient = inner.pullback(actor, adapted.run, _meta(adapted.scores), examples, cotangent)
    return Attribution(loss_P, gradient.meta["weights"], gradient.meta["gate"], gradient.diagnostics)


def compare_with_differences(
    actor: Actor, eta: Params, problems: Sequence[Problem], sets: PracticeSets, width: float = 1e-5
) -> tuple[np.ndarray, np.ndarray]:
    """The estimator's attributions of the gold outer loss, and central differences of the same, both in float64.

    The differences know nothing of estimators: they move one weight at a time and adapt again. One problem's loss
    depends on its own weights only, so all problems are moved at once.

    Args:
      actor: whose attributions are differentiated.
      eta: the scorer, which decides where (at which weights) the derivative is taken.
      problems: P problems.
      sets: their practice.
      width: the change of each weight, in both directions.

    Returns:
      tau [P, M] of the estimator and of the differences; with several processes, of this process's problems.
    """
    with jax.enable_x64(True):
        params, eta = (jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), tree) for tree in (actor.params, eta))
        actor = actor.replace(params=params)
        adapter = fresh_adapter(actor, jax.random.key(0))
        adapter = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), adapter)
        practice = on_devices(sets)
        adapted = score_and_adapt(actor, eta, adapter, practice)
        asked = hosts.share(references(actor, problems).weighed)
        exact = attribute(actor, adapted, practice.examples, asked)

        def losses(weights_PxM: Array) -> Array:
            adapters = adapt(actor, adapter, adapted.scores._replace(weights_PxM=weights_PxM), practice.examples)
            return outer_losses(actor, adapters, asked)

        weights, columns = adapted.scores.weights_PxM, []
        for i in range(weights.shape[1]):
            change = width * (np.arange(weights.shape[1]) == i)
            columns.append(hosts.local((losses(weights + change) - losses(weights - change)) / (2 * width)))
        return hosts.local(exact.tau_PxM), np.stack(columns, axis=1)


def _meta(scores: Scores) -> dict[str, AnyArray]:
    return {"weights": scores.weights_PxM, "gate": scores.gate_P}
