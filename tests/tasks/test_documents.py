"""Documents: what is written is true, fits the vocabulary, and never poses a problem that is held out."""

from collections import Counter

import numpy as np
import pytest

from mass_jax.models.tokenizer import WordTokenizer
from mass_jax.tasks.arithmetic import documents
from mass_jax.tasks.arithmetic.rules import GIVEN, PAIRS
from mass_jax.tasks.worked import KINDS, writer
from tests.tasks.helpers import PROBLEM, RULE, small_splits, small_task


def rng(seed=0) -> np.random.Generator:
    return np.random.default_rng(seed)


def prompts_in(document: str) -> list[str]:
    """The prompts that a document poses, in canonical form."""
    return [documents.canonical(part) for part in document.partition(" : ")[0].split(" ; ") if " ? " in part]


def assert_true(rule, text):
    """Every pair in a text is the rule's, and no other rule is named."""
    for word in text.split():
        assert word not in PAIRS or word in rule.pairs, (rule, text)
        assert not word.startswith("f") or word == rule.name, (rule, text)


def test_the_examples_in_the_module_are_true():
    examples = {line[:17].strip(): line[17:] for line in documents.__doc__.splitlines() if line.startswith("    ")}
    assert examples["problem"] == PROBLEM.prompt
    assert examples["solve"] == f"{PROBLEM.prompt} : {PROBLEM.solution}"
    assert set(KINDS) == set(examples) - {"problem"}
    for text in examples.values():
        assert_true(RULE, text)


def test_a_problem_states_the_truth_and_asks_for_something_new():
    levels, generator = Counter(), rng()
    for _ in range(600):
        problem = documents.draw_problem((RULE,) * 5, 4, generator)
        shown, queries = problem.prompt.split(" ? ")
        assert problem.family == 4
        assert problem.facts == documents.facts(problem.prompt) == tuple(shown.split())
        assert problem.solution == f"{RULE.name} = {' '.join(RULE.pairs[int(x)] for x in queries.split())}"
        assert_true(RULE, problem.prompt)
        inputs = [*(PAIRS[fact][0] for fact in problem.facts), *map(int, queries.split())]
        assert len(set(inputs)) == len(inputs) == len(problem.facts) + 2
        levels[problem.difficulty, len(problem.facts)] += 1
    assert set(levels) == {(difficulty, max(GIVEN) - difficulty) for difficulty in range(len(GIVEN))}
    assert min(levels.values()) > 150


def test_every_input_is_asked_equally_often():
    generator, counts = rng(), Counter()
    for _ in range(3000):
        counts.update(documents.draw_problem((RULE,), 0, generator).prompt.split(" ? ")[1].split())
    assert len(counts) == 11
    expected = 6000 / 11
    assert sum((n - expected) ** 2 / expected for n in counts.values()) < 29.6  # chi-square, 10 degrees, p = 0.001


def test_practice_shows_nothing_but_the_problems_pairs():
    task, generator, asked = small_task(), rng(1), Counter()
    for problem in small_splits()["train"]:
        rule = task.rules[problem.family]
        practice = documents.draw_practice(problem, rule, generator)
        assert practice.well_formed
        assert set(documents.facts(practice.prompt)) <= set(problem.facts)
        assert len(documents.facts(practice.prompt)) in GIVEN
        assert task.is_correct(problem, practice)
        asked["own" if documents.canonical(practice.prompt) == documents.canonical(problem.prompt) else "other"] += 1
    assert asked["other"] > 10 * asked["own"]


@pytest.mark.parametrize("exclude", [frozenset(), frozenset({3, 9}), frozenset({8, 1, 6, 0})])
def test_gold_practice_leaves_out_what_is_excluded(exclude):
    generator, seen = rng(1), Counter()
    for _ in range(300):
        practice = documents.draw_gold_practice(RULE, generator, exclude)
        shown, queries = practice.prompt.split(" ? ")
        assert practice.solution == f"{RULE.name} = {' '.join(RULE.pairs[int(x)] for x in queries.split())}"
        inputs = [*(PAIRS[pair][0] for pair in shown.split()), *map(int, queries.split())]
        assert len(set(inputs)) == len(inputs)
        assert_true(RULE, shown)
        seen.update(inputs)
    assert set(seen) == set(range(11)) - exclude


@pytest.mark.parametrize("kind", KINDS)
def test_documents_are_true_and_fit_the_vocabulary(kind):
    task, generator = small_task(), rng(2)
    tokenizer = WordTokenizer(task.vocabulary)
    for problem in small_splits()["pretrain"][:500]:
        rule = task.rules[problem.family]
        text = documents.draw_document(task.rules, problem, generator, kind)
        assert tokenizer.decode(tokenizer.encode(text)) == text
        assert_true(rule, text)
        if kind == "table":
            name, _, pairs = text.partition(" : ")
            assert name == rule.name
            assert sorted(pairs.split()) == sorted(rule.pairs)
            continue
        assert set(documents.facts(text)) == set(problem.facts)
        prompt, _, practice = text.partition(" ; ")
        if kind == "solve":
            prompt, _, solution = text.partition(" : ")
            assert not practice
            assert solution.split(" = ")[1].split() == [rule.pairs[int(x)] for x in prompt.split(" ? ")[1].split()]
        else:
            assert task.is_correct(problem, task.parse(problem, practice))
        assert len(prompts_in(text)) == (1 if kind == "solve" else 2)


@pytest.mark.parametrize("kind", ["solve", "synthesise"])
def test_documents_are_new_each_time(kind):
    generator = rng(5)
    texts = {documents.draw_document((RULE,), PROBLEM, generator, kind) for _ in range(200)}
    assert len(texts) > 90
    assert {text.split(" ? ")[0] for text in texts} == {
        f"{a} {b} {c}" for a in PROBLEM.facts for b in PROBLEM.facts for c in PROBLEM.facts if len({a, b, c}) == 3
    }


def test_no_document_poses_a_held_out_problem():
    splits, task, posed = small_splits(), small_task(), {}
    excluded = splits["validation"] + splits["test"]
    prompts = {documents.canonical(problem.prompt) for problem in excluded}
    for name, kept_away in {"kept away": excluded, "not kept away": []}.items():
        write, generator = writer(documents, task.rules, KINDS, kept_away), rng(3)
        # Most likely to fail: documents about just what the held-out problems show.
        texts = [write(problem, generator) for problem in [*splits["pretrain"], *excluded, *excluded]]
        posed[name] = sum(bool(prompts & set(prompts_in(text))) for text in texts)
    assert posed["kept away"] == 0
    assert posed["not kept away"] > 10  # so that the count above can fail


def test_the_writer_finds_the_only_question_that_is_not_held_out():
    generator = rng(4)
    all_asked = {documents.canonical(f"8>1 1>7 6>0 ? {a} {b}") for a in range(11) for b in range(11) if a != b}
    only = documents.canonical(PROBLEM.prompt)
    for kind in ("solve", "synthesise"):
        text = documents.draw_document((RULE,), PROBLEM, generator, kind, frozenset(all_asked - {only}))
        assert set(prompts_in(text)) == {only}


def test_canonical_ignores_order_only():
    one = documents.canonical("8>1 10>7 1>7 ? 3 9")
    assert documents.canonical("1>7 8>1 10>7 ? 9 3") == one
    for other in ("8>1 1>7 ? 3 9", "8>1 10>7 1>7 ? 3 0", "8>1 10>7 1>6 ? 3 9", "8>1 10>7 3>1 ? 1 9"):
        assert documents.canonical(other) != one


def test_kinds_are_drawn_as_often_as_they_are_named():
    write, generator, counts = writer(documents, (RULE,), ("solve", "table", "table"), []), rng(6), Counter()
    for _ in range(1500):
        counts["table" if " ? " not in write(PROBLEM, generator) else "solve"] += 1
    assert 0.62 < counts["table"] / 1500 < 0.71


@pytest.mark.parametrize("kinds", [(), ("solve", "steps"), ("Table",)])
def test_unknown_kinds_are_refused(kinds):
    with pytest.raises(ValueError, match=r"document kinds \[.*\] must be one or more of solve, synthesise, table"):
        writer(documents, (RULE,), kinds, [])
