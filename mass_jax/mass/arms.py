"""Baselines and controls (the paper's table): one evaluation, and arms that differ from it in one thing."""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mass_jax.mass import attribution
from mass_jax.mass.actor import Actor
from mass_jax.mass.generator import complete, solving, write_practice
from mass_jax.mass.packing import fits, pack_prompts
from mass_jax.mass.practice import PracticeSets, each_example, fitting, pack_practice
from mass_jax.mass.scorer import Scores
from mass_jax.models import decoder
from mass_jax.parallel import hosts, partition
from mass_jax.tasks.base import MALFORMED, KnowsFamily, Practice, Problem, ShowsExamples, Task
from mass_jax.types import AnyArray, Array, Params, PyTree

PRACTICE = ("none", "own", "own_majority", "other_problem", "random", "nearest", "shown", "gold", "gold_strict")
WEIGHTS = ("scorer", "uniform", "shuffled", "correct")
USES = ("adapter", "prompt")
MAJORITY_VOTES = 8
EMBEDDED_AT_ONCE = 64


@dataclasses.dataclass(frozen=True)
class Arm:
    """One row of the table.

    Attributes:
      model: which trained model and scorer it uses: ``base`` or a training arm's name.
      practice: where its practice comes from. ``none``: no update; ``own``: written for the problem; ``own_majority``:
        written, with the majority of 8 sampled solutions as answers; ``other_problem``: written for a problem of
        another family; ``random``: training problems with reference solutions; ``nearest``: those of them that are
        most like the problem; ``shown``: the examples that the problem shows, each asked with the others shown;
        ``gold``: correct practice of the hidden family (privileged), ``gold_strict`` without
        anything that the problem asks for.
      weights: ``scorer``, ``uniform``, ``shuffled`` (the scorer's, permuted among a problem's valid examples), or
        ``correct``: uniform over the right examples (privileged).
      strict: examples that mention what the problem asks for count for nothing.
      use: ``adapter``: gradient steps on the practice; ``prompt``: the model reads it, solved, before the problem.
    """

    model: str
    practice: str
    weights: str = "uniform"
    strict: bool = False
    use: str = "adapter"

    def __post_init__(self) -> None:
        for field, valid in (("practice", PRACTICE), ("weights", WEIGHTS), ("use", USES)):
            if getattr(self, field) not in valid:
                raise ValueError(f"arm.{field} = {getattr(self, field)!r} is not one of {', '.join(valid)}.")

    @property
    def privileged(self) -> bool:
        """Whether it reads what is hidden from a solver, which only some domains know."""
        return self.practice.startswith("gold") or self.weights == "correct"

    def possible(self, task: Task) -> bool:
        """Whether the domain has what the arm needs."""
        knows, shows = isinstance(task, KnowsFamily), isinstance(task, ShowsExamples)
        return (knows or not self.privileged) and (shows or self.practice != "shown")


METHODS = {
    "base": Arm("base", "none"),
    "base_ttt": Arm("base", "random"),
    "ttt_nn": Arm("base", "nearest"),
    "tt_ss": Arm("base", "own"),
    "tt_ss_majority": Arm("base", "own_majority"),
    "solver_grpo": Arm("solver_grpo", "none"),
    "mass_gold": Arm("mass_gold", "own", "scorer"),
    "mass": Arm("mass", "own", "scorer"),
}
TAKEN = ("pretrain", "evaluation", "harness")
"""Folders of a run that are no arm's."""
CONTROLS = {
    "mass_no_update": Arm("mass", "none"),
    "mass_uniform_weights": Arm("mass", "own", "uniform"),
    "mass_shuffled_weights": Arm("mass", "own", "shuffled"),
    "mass_other_problem": Arm("mass", "other_problem", "scorer"),
    "mass_strict": Arm("mass", "own", "scorer", strict=True),
    "ttt_shown": Arm("base", "shown"),
    "oracle_gold_family": Arm("base", "gold"),
    "oracle_strict": Arm("base", "gold_strict"),
    "oracle_filter": Arm("base", "own", "correct"),
    "first_order": Arm("first_order", "own", "scorer"),
    "mass_in_prompt": Arm("mass", "own", use="prompt"),
}


def methods(trained: Mapping[str, bool]) -> dict[str, Arm]:
    """`METHODS`, and a row for every trained arm that neither table has.

    Args:
      trained: the trained arms by name, and whether each writes practice: one that does is adapted on its own practice
        by its own scorer's weights, one that does not answers directly.

    Raises:
      ValueError: a name is taken, or none.
    """
    known, untrained = METHODS | CONTROLS, ("base", *TAKEN)
    own = {}
    for name, writes in trained.items():
        if not name.isidentifier():
            raise ValueError(f"config.arms has the name {name!r}: give one of letters, digits and underscores.")
        if name in untrained or (name in known and known[name].model != name):
            raise ValueError(f"config.arms.{name}: the name is taken by something that is not trained; give another.")
        if name not in known:
            own[name] = Arm(name, "own", "scorer") if writes else Arm(name, "none")
    return METHODS | own


class Outcome(NamedTuple):
    """What an arm did on P problems.

    Attributes:
      texts: its answers.
      correct_P: bool; False where it is not judged.
      judged_P: bool; see `Verdict`.
      log_likelihood_P: float, mean log-probability of the reference solution's tokens.
      scores: weights and gates; None without an update.
    """

    texts: list[str]
    correct_P: np.ndarray
    judged_P: np.ndarray
    log_likelihood_P: np.ndarray
    scores: Scores | None


def obtain_practice(
    actor: Actor,
    problems: Sequence[Problem],
    source: str,
    key: Array,
    pool: Sequence[Problem],
    pool_vectors: np.ndarray | None = None,
) -> PracticeSets:
    """Practice from one of the sources of `Arm.practice` other than ``none``.

    Args:
      actor: writes where practice is written; its method says how many examples, and how long.
      problems: P problems; with several processes, this process's of a batch.
      source: see `Arm.practice`.
      key: PRNG key; equal keys and actors give equal practice, so that arms can be paired.
      pool: training problems, for ``random`` and ``nearest``.
      pool_vectors: their `embed`, where it is at hand.
    """
    seed, count = np.asarray(jax.random.key_data(key)).astype(np.uint32).tolist(), actor.method.generator.examples
    # Of each problem its own, so that what it gets does not depend on which process has it.
    places = hosts.rows(hosts.whole_count(len(problems)))
    seeded = list(zip(problems, (np.random.default_rng([*seed, place]) for place in places), strict=True))
    if source in ("random", "nearest", "shown", "gold", "gold_strict"):
        if source == "random":
            rows = [_as_practice(actor, p, (pool[i] for i in rng.permutation(len(pool)))) for p, rng in seeded]
        elif source == "nearest":
            if pool_vectors is None:
                pool_vectors = embed_pool(actor, pool)
            order = nearest(embed(actor, problems), pool_vectors)
            rows = [_as_practice(actor, p, (pool[i] for i in row)) for p, row in zip(problems, order, strict=True)]
        elif source == "shown":
            assert isinstance(actor.task, ShowsExamples)  # see `Arm.possible`
            rows = [list(actor.task.shown_practice(p, count, rng)) for p, rng in seeded]
        else:
            assert isinstance(actor.task, KnowsFamily)
            rows = [list(actor.task.gold_practice(p, count, rng, source == "gold_strict")) for p, rng in seeded]
        return pack_practice(actor, problems, rows)

    sets, _ = write_practice(actor, problems, key)
    if source == "own_majority":
        return pack_practice(actor, problems, _majority(actor, problems, sets, key), sets.arrays.written)
    if source == "other_problem":
        partners = _partners(hosts.whole_list([problem.family for problem in problems]))
        examples = hosts.whole_list([[dataclasses.astuple(e) for e in row] for row in sets.texts])
        # What fits beside the problem that it was written for may not fit beside this one.
        rows = [
            [fitting(actor, problem, Practice(*example)) for example in examples[partners[place]]]
            for problem, place in zip(problems, places, strict=True)
        ]
        return pack_practice(actor, problems, rows)
    return sets


class Ready(NamedTuple):
    """A model that is adapted to P problems and has not answered them yet.

    Attributes:
      prompts: what it reads, P texts.
      prompt_limit: the most tokens that they may have.
      adapters: one a problem; None without an update.
      scores: weights and gates; None without an update.
    """

    prompts: list[str]
    prompt_limit: int
    adapters: PyTree
    scores: Scores | None


def adapt(
    actor: Actor, eta: Params, problems: Sequence[Problem], arm: Arm, practice: PracticeSets | None, key: Array
) -> Ready:
    """Adapt to every problem as the arm says."""
    prompts = [actor.task.solve_prompt(problem.prompt) for problem in problems]
    if practice is None:
        return Ready(prompts, actor.method.lengths.prompt, None, None)
    if arm.use == "prompt":
        limit = actor.method.model.context - actor.method.lengths.solution
        rows = zip(problems, practice.texts, strict=True)
        return Ready([_with_shown(actor, problem, row, limit) for problem, row in rows], limit, None, None)
    adapter_key, shuffle_key = jax.random.split(key)
    counts_PxM = practice.arrays.valid_PxM
    if arm.strict:
        counts_PxM = counts_PxM & ~each_example(actor.task.leaks, problems, practice.texts)
    if arm.weights == "correct":
        assert isinstance(actor.task, KnowsFamily)
        counts_PxM = counts_PxM & each_example(actor.task.is_correct, problems, practice.texts)
    if arm.weights in ("scorer", "shuffled"):
        read = hosts.share(practice.arrays._replace(valid_PxM=counts_PxM))
        scores = hosts.local(attribution.score(actor, eta, read))
    else:
        weights = counts_PxM.astype(np.float32)
        scores = Scores(np.zeros_like(weights), weights, np.ones(len(problems), np.float32))
    if arm.weights == "shuffled":
        scores = scores._replace(weights_PxM=_shuffle_valid(shuffle_key, scores.weights_PxM, counts_PxM))
    fresh = attribution.fresh_adapter(actor, adapter_key)
    adapters = attribution.adapt(actor, fresh, *hosts.share((scores, practice.arrays.examples)))
    return Ready(prompts, actor.method.lengths.prompt, adapters, scores)


def solve(actor: Actor, ready: Ready) -> list[str]:
    """A greedy answer to every problem by the model that was adapted to it."""
    no_noise = jax.random.key(0)
    spec = solving(actor, samples=1, temperature=0.0)
    found = complete(actor, ready.adapters, ready.prompts, no_noise, spec, prompt_limit=ready.prompt_limit)
    return [row[0] for row in found.texts]


def answer(actor: Actor, problems: Sequence[Problem], ready: Ready) -> Outcome:
    """`solve`, graded, and how likely the references are."""
    answers = solve(actor, ready)
    graded = attribution.as_graded(actor.task.grade(problems, answers), samples=1)
    asked = hosts.share(attribution.references(actor, problems, ready.prompts).weighed)
    losses = hosts.local(attribution.outer_losses(actor, ready.adapters, asked))
    return Outcome(answers, graded.correct_PxS[:, 0], graded.judged_PxS[:, 0], -losses, ready.scores)


def nearest(vectors_PxD: np.ndarray, pool_NxD: np.ndarray) -> np.ndarray:
    """For every problem the indices of the pool, the most similar first, int [P, N].

    Test-time training on nearest neighbours (Hardt & Sun 2023, arXiv 2305.18466); here similar means the cosine of the
    mean final hidden states of the solve prompts under the un-adapted model.
    """
    return np.argsort(-vectors_PxD @ pool_NxD.T, axis=-1, kind="stable")


def embed(actor: Actor, problems: Sequence[Problem]) -> np.ndarray:
    """A vector of length 1 for every problem, float [P, D]; see `nearest`."""
    prompts = [actor.task.solve_prompt(problem.prompt) for problem in problems]
    tokens, lengths = pack_prompts(actor.tokenizer, prompts, actor.method.lengths.prompt)
    count = len(hosts.rows(divisible(EMBEDDED_AT_ONCE)))
    parts = [_filled(tokens, lengths, i, count) for i in range(0, len(prompts), count)]
    vectors = [hosts.local(_embed(actor, *hosts.share(part))) for part in parts]
    return np.concatenate(vectors)[: len(prompts)]


def embed_pool(actor: Actor, pool: Sequence[Problem]) -> np.ndarray:
    """`embed` of problems that every process has."""
    places = np.arange(divisible(len(pool))) % len(pool)
    some = embed(actor, [pool[i] for i in hosts.mine(places)])
    return hosts.whole(some)[: len(pool)]


def divisible(count: int) -> int:
    """The least number from ``count`` on that the mesh spreads evenly."""
    return -(-count // partition.ways()) * partition.ways()


@jax.jit
def _embed(actor: Actor, tokens_BxT: Array, lengths_B: Array) -> Array:
    """Mean final hidden states of the real tokens, of length 1, [B, D]."""
    hidden, _ = decoder.forward(actor.method.model, actor.params, None, tokens_BxT)
    real = jnp.arange(tokens_BxT.shape[1]) < lengths_B[:, None]
    mean = jnp.einsum("btd,bt->bd", hidden, real.astype(hidden.dtype))
    return mean / jnp.maximum(jnp.linalg.norm(mean, axis=-1, keepdims=True), 1e-9)


def _shuffle_valid(key: Array, weights_PxM: AnyArray, valid_PxM: AnyArray) -> Array:
    """Permute each row's weights among its valid entries: the same weights, on the wrong examples."""
    count = hosts.whole_count(len(weights_PxM))
    noise = hosts.mine(np.asarray(jax.random.uniform(key, (count, weights_PxM.shape[1]))))
    # Both orders list the valid entries first, one by index and one at random; the k-th of one takes the k-th's weight.
    ordered = jnp.argsort(jnp.where(valid_PxM, jnp.arange(weights_PxM.shape[1]), weights_PxM.shape[1]), axis=-1)
    drawn = jnp.argsort(jnp.where(valid_PxM, noise, 2.0), axis=-1)
    taken = jnp.take_along_axis(weights_PxM, drawn, axis=-1)
    shuffled = jnp.zeros_like(weights_PxM)
    return shuffled.at[jnp.arange(weights_PxM.shape[0])[:, None], ordered].set(taken) * valid_PxM


def _as_practice(actor: Actor, problem: Problem, others: Iterable[Problem]) -> list[Practice]:
    """The first M of ``others`` that fit, with their reference solutions."""
    written = (Practice(other.prompt, other.solution, True) for other in others)
    fit = (example for example in written if fitting(actor, problem, example).well_formed)
    chosen = list(itertools.islice(fit, actor.method.generator.examples))
    return chosen + [MALFORMED] * (actor.method.generator.examples - len(chosen))


def _with_shown(actor: Actor, problem: Problem, examples: Sequence[Practice], limit: int) -> str:
    """The solve prompt after as many of the well-formed examples as fit."""
    task, shown = actor.task, [example for example in examples if example.well_formed]
    while shown and not fits(actor.tokenizer, task.solve_prompt(problem.prompt, shown), "", limit, end=False):
        shown.pop()
    return task.solve_prompt(problem.prompt, shown)


def _filled(tokens: np.ndarray, lengths: np.ndarray, start: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """``count`` rows from ``start`` on, filled up with the first one: one shape, one compilation."""
    rows = np.arange(start, start + count)
    rows = np.where(rows < len(tokens), rows, 0)
    return tokens[rows], lengths[rows]


def _majority(actor: Actor, problems: Sequence[Problem], sets: PracticeSets, key: Array) -> list[list[Practice]]:
    """Replace each solution by the most frequent of several sampled from the un-adapted solver."""
    prompts = [actor.task.solve_prompt(e.prompt) for row in sets.texts for e in row]
    votes = complete(actor, None, prompts, jax.random.fold_in(key, 1), solving(actor, MAJORITY_VOTES, 1.0))
    winners = iter([Counter(row).most_common(1)[0][0] for row in votes.texts])

    def with_solution(problem: Problem, example: Practice, solution: str) -> Practice:
        # Read anew: a majority for garbage is malformed, and may be longer than a practice sequence.
        written = actor.task.written(problem, Practice(example.prompt, solution, True))
        return fitting(actor, problem, actor.task.parse(problem, written))

    return [
        [with_solution(problem, e, next(winners)) for e in row]
        for problem, row in zip(problems, sets.texts, strict=True)
    ]


def _partners(families: Sequence[Any]) -> list[int]:
    """For every problem, the next one of another family."""
    count = len(families)
    return [
        next(((i + d) % count for d in range(1, count) if families[(i + d) % count] != family), (i + 1) % count)
        for i, family in enumerate(families)
    ]
