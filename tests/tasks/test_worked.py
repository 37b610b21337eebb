"""What domains with worked steps keep: splits lie apart, solutions solve, gold practice is right and does not leak."""

import itertools
import re

import numpy as np
import pytest

from mass_jax.tasks import base, store
from mass_jax.tasks.base import MALFORMED, Domain, Practice, Problem
from mass_jax.tasks.domain import Splits
from mass_jax.tasks.procedural import HELD_OUT
from mass_jax.tasks.registry import DOMAINS
from mass_jax.tasks.worked import other_than
from tests.tasks.worked import CONFIGS, TASKS, drawn

each_domain = pytest.mark.parametrize("name", CONFIGS)


@each_domain
def test_splits_share_no_family_and_no_held_out_prompt(name: str):
    splits, canonical = drawn(name), CONFIGS[name].canonical
    families = {split: {problem.family for problem in splits[split]} for split in ("train", *HELD_OUT)}
    assert not any(a & b for a, b in itertools.combinations(families.values(), 2))
    held_out = {canonical(problem.prompt) for split in HELD_OUT for problem in splits[split]}
    others = {canonical(problem.prompt) for split in ("pretrain", "train") for problem in splits[split]}
    assert len(held_out) == 140 and not held_out & others


@each_domain
def test_problems_are_solved_as_they_say_and_read_from_their_prompts(name: str):
    task = TASKS[name]
    for problem in itertools.chain(*drawn(name).values()):
        assert task.grade([problem], [problem.solution])[0].correct
        assert task.problem(problem.prompt).facts == problem.facts


@each_domain
def test_gold_practice_is_right_is_read_back_and_does_not_leak_where_strict(name: str):
    task, rng = TASKS[name], np.random.default_rng(2)
    assert all(isinstance(task, kind) for kind in (base.KnowsFamily, base.StatesAnswer, base.ReadsOff))
    for problem in drawn(name)["test"][:20]:
        for strict in (False, True):
            for practice in task.gold_practice(problem, 6, rng, strict):
                assert task.is_correct(problem, practice) and practice.prompt != problem.prompt
                assert task.parse(problem, task.written(problem, practice)) == practice
                assert not (strict and task.leaks(problem, practice))


def test_practice_that_poses_the_problem_is_drawn_again():
    problem = drawn("programs")["test"][0]
    own, others = Practice(problem.prompt, "", True), [Practice(text, "", True) for text in "ab"]
    draws = iter([own, own, others[0], others[1], own])
    assert [other_than(problem, lambda: next(draws)) for _ in others] == others and [*draws] == [own]


@each_domain
def test_malformed_practice_is_about_nothing(name: str):
    task = TASKS[name]
    for problem in drawn(name)["test"][:20]:
        assert not task.is_correct(problem, MALFORMED) and not task.is_on_family(problem, MALFORMED)
        assert not task.leaks(problem, MALFORMED)


@pytest.mark.parametrize("kind", ["solve", "synthesise"])
@pytest.mark.parametrize("name", ["agent", "grid", "programs"])  # of a Countdown shape there are too few games
def test_a_document_about_what_is_held_out_is_drawn_again(name: str, kind: str):
    """In whatever of the two splits it is."""
    config, splits = CONFIGS[name], drawn(name)
    declared = DOMAINS[name](name=name, data_dir="", **store.own_fields(config))
    about = splits["pretrain"][0]

    def documents(**held_out: list[Problem]) -> list[str]:
        of = Splits(**dict.fromkeys(Splits._fields, ()) | {"pretrain": splits["pretrain"]} | held_out)
        found = declared.documents(Domain(TASKS[name], None), of, [kind])
        assert found.problems is splits["pretrain"]
        return [found.write(about, np.random.default_rng(i)) for i in range(30)]

    free = documents()
    posed = [Problem(re.split(" [:;] ", text)[0], "", (), 0, 0) for text in free]
    again = documents(validation=posed[:8], test=posed[8:15])
    assert again[15:] == free[15:] and not {*again[:15]} & {*free[:15]}
