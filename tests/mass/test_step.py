"""One outer step: what it changes, what it leaves, what it counts."""

import dataclasses
from collections.abc import Sequence
from functools import cache

import jax
import numpy as np
import optax
import pytest

from mass_jax.mass.state import OuterConfig, TrainState, init_state
from mass_jax.mass.step import Hooks, outer_step
from mass_jax.tasks.base import Domain, Problem, Verdict
from mass_jax.types import PyTree
from tests.mass import tiny

METHOD = tiny.make_method()
DOCUMENTS = tiny.replay_documents()
VERIFIER = dataclasses.replace(tiny.OUTER, mode="verifier")
SOLVER = dataclasses.replace(VERIFIER, practice=False)


def start(config: OuterConfig, seed: int = 0) -> TrainState:
    return init_state(tiny.make_actor(METHOD), config, tiny.CHECKS, jax.random.key(seed))


@cache
def run(config: OuterConfig, domain: Domain = tiny.LENIENT, step: int = 0, seed: int = 0) -> tuple:
    """(state, metrics) after one step from the start."""
    base = tiny.make_actor(METHOD, domain)
    state, record = outer_step(base, config, start(config, seed), step, tiny.make_problems(), DOCUMENTS)
    return state, record.named()


def distance(a: PyTree, b: PyTree) -> float:
    leaves = jax.tree.leaves(jax.tree.map(lambda x, y: np.abs(np.asarray(x) - np.asarray(y)).max(), a, b))
    return float(max(leaves))


@pytest.mark.parametrize("config", [tiny.OUTER, VERIFIER], ids=lambda config: config.mode)
def test_a_step_trains_model_and_scorer(config: OuterConfig):
    before, (after, metrics) = start(config), run(config)
    # The model's first step has the length of the rate; Adam's is the rate wherever there is a gradient.
    moved = optax.tree.norm(optax.tree.sub(after.params, before.params))
    np.testing.assert_allclose(moved, config.generator_rate, rtol=1e-2)
    for name in ("out", "gate"):
        np.testing.assert_allclose(distance(after.eta[name], before.eta[name]), config.scorer_rate, rtol=1e-2)
    assert all(np.isfinite(value).all() for value in jax.tree.leaves((after.params, after.eta, metrics)))
    assert metrics["outer/loss_post"] != metrics["outer/loss_pre"]
    assert 0 < metrics["synthesis/well_formed"] < 1
    assert metrics["attribution/std"] > 1e-5 and metrics["grad_norm/generator"] > 1e-3
    assert ("outer/accuracy_post" in metrics) == (config.mode == "verifier")
    np.testing.assert_array_equal(jax.random.key_data(after.key), jax.random.key_data(before.key))


def test_a_frozen_generator_stays_bitwise_while_the_scorer_learns():
    config = dataclasses.replace(tiny.OUTER, generator_rate=0.0)
    before, (after, metrics) = start(config), run(config)
    assert distance(after.params, before.params) == 0
    assert distance(after.eta, before.eta) > 1e-3
    assert "grad_norm/generator" not in metrics


def test_shuffled_attributions_teach_the_scorer_something_else_and_are_those_of_the_set():
    found = {name: run(dataclasses.replace(tiny.OUTER, reward=name)) for name in ("scorer", "shuffled_scorer")}
    (own, told), (shuffled, said) = found.values()
    assert distance(own.eta["out"], shuffled.eta["out"]) > 1e-3
    assert own.eta["gate"].any() and not shuffled.eta["gate"].any(), "the gate would tell which examples to weigh"
    np.testing.assert_allclose(said["attribution/std"], told["attribution/std"], rtol=1e-5)
    assert told["grad_norm/generator"] == said["grad_norm/generator"], "no logit differs from another yet"
    assert told["reward/trust"] == 0 and "reward/trust" not in run(tiny.OUTER)[1]


def test_without_practice_only_the_solver_learns():
    before, (after, metrics) = start(SOLVER), run(SOLVER)
    assert distance(after.params, before.params) > 1e-4
    assert distance(after.eta, before.eta) == 0
    assert not any(name.startswith(("outer/", "synthesis/", "scorer/", "attribution/")) for name in metrics)
    assert "solve/accuracy" in metrics


def test_step_and_key_decide_everything():
    (once, metrics), (again, repeated) = run(VERIFIER), run.__wrapped__(VERIFIER)
    assert distance(once.params, again.params) == distance(once.eta, again.eta) == 0
    assert {k: float(v) for k, v in metrics.items()} == {k: float(v) for k, v in repeated.items()}
    for changed in (run(VERIFIER, step=1), run(VERIFIER, seed=1)):
        assert distance(once.params, changed[0].params) > 0


@dataclasses.dataclass(frozen=True)
class SternTask(tiny.LenientTask):
    judged: bool = True

    def grade(self, problems: Sequence[Problem], texts: Sequence[str]) -> list[Verdict]:
        return [Verdict(False, "by order", self.judged)] * len(texts)


@pytest.mark.parametrize("judged", [True, False])
def test_groups_without_a_right_or_a_judged_solution_are_dead_and_teach_nothing(judged: bool):
    config = dataclasses.replace(VERIFIER, malformed_reward=0.0, replay_weight=0.0, kl_weight=0.0)
    domain = Domain(SternTask(tiny.RULES, judged=judged), tiny.LENIENT.tokenizer)
    after, metrics = run(config, domain)
    assert metrics["outer/dead_groups"] == metrics["solve/dead_groups"] == 1
    assert metrics["outer/accuracy_post"] == metrics["solve/accuracy"] == 0
    count = 0 if judged else len(tiny.make_problems()) * config.solutions
    assert metrics["outer/not_judged"] == metrics["solve/not_judged"] == count
    assert metrics["grad_norm/generator"] == metrics["grad_norm/scorer"] == 0
    assert distance(after.params, tiny.make_params()) == 0
    assert run(VERIFIER)[1]["outer/dead_groups"] < 1


@pytest.mark.parametrize("config", [tiny.OUTER, VERIFIER], ids=lambda config: config.mode)
def test_a_generator_that_writes_only_garbage_is_counted_and_the_run_goes_on(config: OuterConfig):
    after, metrics = run(config, tiny.DOMAIN)
    assert metrics["synthesis/well_formed"] == metrics["synthesis/correct"] == 0
    assert metrics["outer/loss_post"] == metrics["outer/loss_pre"]
    assert metrics["grad_norm/scorer"] == 0
    assert all(np.isfinite(value).all() for value in jax.tree.leaves((after.params, after.eta, metrics)))
    # No text is better than another, so that none is told anything.
    silent = dataclasses.replace(config, solve_weight=0.0, replay_weight=0.0, kl_weight=0.0)
    assert run(silent, tiny.DOMAIN)[1]["grad_norm/generator"] == 0


def test_every_set_of_a_problem_is_adapted_to():
    config = dataclasses.replace(tiny.OUTER, sets=3, set_weight=0.5, generator_rate=0.0)
    shapes = []

    def check(phase: str, **trees: PyTree) -> None:
        if phase == "attribute":
            shapes.append(trees["attribution"].tau_PxM.shape)

    base, problems = tiny.make_actor(METHOD, tiny.LENIENT), tiny.make_problems()[:1]
    outer_step(base, config, start(config), 0, problems, DOCUMENTS, Hooks(check=check))
    assert shapes == [(3, tiny.EXAMPLES)]


def test_a_step_in_parts_is_the_same_step_with_a_part_on_the_devices():
    attributed = []

    def check(phase: str, **trees: PyTree) -> None:
        if phase == "attribute":
            attributed.append(trees["attribution"].tau_PxM.shape)

    after, metrics = run(VERIFIER)
    config = dataclasses.replace(VERIFIER, parts=3)
    args = (tiny.make_actor(METHOD, tiny.LENIENT), config, start(config), 0, tiny.make_problems(), DOCUMENTS)
    again, record = outer_step(*args, Hooks(check=check))
    repeated = record.named()
    assert attributed == [(1, tiny.EXAMPLES)] * 3
    assert metrics.keys() == repeated.keys()
    for name in ("synthesis/well_formed", "synthesis/correct", "solve/accuracy"):
        assert metrics[name] == repeated[name], "the same texts"
    for name, value in metrics.items():
        np.testing.assert_allclose(repeated[name], value, rtol=2e-4, atol=1e-6, err_msg=name)
    # Averages of the gradients: a step hides how large they were.
    for kept, ours, theirs in (
        ("ema", again.opt_state, after.opt_state),
        ("mu", again.eta_opt_state, after.eta_opt_state),
    ):
        ours, theirs = (optax.tree.get(state, kept) for state in (ours, theirs))
        assert distance(ours, theirs) < 1e-4 * max(np.abs(leaf).max() for leaf in jax.tree.leaves(theirs))


def test_a_critic_is_believed_by_all_problems_of_a_step_whatever_its_parts():
    found = []
    for parts in (1, 2):
        config = dataclasses.replace(tiny.OUTER, reward="scorer", parts=parts)
        state = start(config)._replace(eta=tiny.make_eta(METHOD))
        args = (tiny.make_actor(METHOD, tiny.LENIENT), config, state, 0, tiny.make_problems(8), DOCUMENTS)
        found.append(outer_step(*args)[1].named())
    one, two = found
    assert one["reward/trust"] > 0.3
    for name in ("reward/trust", "grad_norm/generator"):
        np.testing.assert_allclose(two[name], one[name], rtol=1e-3, err_msg=name)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"parts": 0}, "parts\n  Input should be greater than or equal to 1"),
        ({"mode": "silver"}, "is not one of gold, verifier."),
        ({"set_weight": 0.5}, "train.set_weight = 0.5 compares .* train.sets = 1: draw 2 or more, or set the weight"),
        ({"mode": "verifier", "solutions": 1}, "train.solutions = 1: GRPO compares"),
        ({"mode": "verifier", "siblings": 2}, "train.siblings = 2 adds references .* choose 'gold'"),
    ],
)
def test_a_contradictory_config_is_refused(change: dict, words: str):
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(tiny.OUTER, **change)
