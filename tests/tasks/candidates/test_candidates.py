"""The candidates domain: three rules are named, one made the pairs, and practice cannot state what is asked."""

import dataclasses
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from configs import demo
from mass_jax.models.tokenizer import WordTokenizer
from mass_jax.study.config import read
from mass_jax.tasks.arithmetic.rules import Rule
from mass_jax.tasks.base import MALFORMED, Practice, Problem
from mass_jax.tasks.candidates import documents
from mass_jax.tasks.candidates.builder import CandidatesConfig
from mass_jax.tasks.candidates.task import CandidatesTask
from mass_jax.tasks.procedural import HELD_OUT, draw_splits, load
from mass_jax.tasks.worked import KINDS, writer

RULES = (Rule(2, 0, 5), Rule(7, 1, 3), Rule(0, 4, 4), Rule(1, 0, 0))
BY_NAME = {rule.name: rule for rule in RULES}
PROMPT = "f2,0,5 f7,1,3 f0,4,4 8>1 1>7 6>0 ? 3 9"
PROBLEM = Problem(PROMPT, "f2,0,5 = 3>1 9>2", ("8>1", "1>7", "6>0"), 0, 0)
TASK = CandidatesTask(RULES)
SMALL = dict(
    rules=30,
    validation_families=5,
    test_families=6,
    pretrain_problems=400,
    train_problems=200,
    validation_problems=50,
    test_problems=60,
)


def rng(seed=0) -> np.random.Generator:
    return np.random.default_rng(seed)


def config(**changes) -> CandidatesConfig:
    return CandidatesConfig(**SMALL | changes)


def inputs_of(text: str) -> set[int]:
    """Every input that occurs, in a pair or alone."""
    return {int(word.split(">")[0]) for word in text.split() if word[0].isdigit()}


@pytest.fixture(scope="module")
def demo_data() -> CandidatesConfig:
    """What `make demo` draws, without what it trains on."""
    return dataclasses.replace(read(demo.get_config()).task.data(), pretrain_problems=1, train_problems=1)


PAGE = (Path(__file__).parents[3] / "docs/domain.md").read_text(encoding="utf-8").partition("## Candidates")[2]


@pytest.mark.parametrize("text", [documents.__doc__, PAGE], ids=["module", "page"])
def test_the_examples_are_of_the_demo(demo_data: CandidatesConfig, text: str):
    found = dict(re.findall(r"^    (\w+) +(.+)$", text.partition("\n## ")[0], re.MULTILINE))
    [problem] = [each for each in draw_splits(demo_data)["test"] if each.prompt == found["problem"]]
    rules = demo_data.make_rules()
    task = CandidatesTask(rules)
    prompt, _, written = found.get("synthesise", f"{problem.prompt} ; {found.get('practice')}").partition(" ; ")
    practice, names = task.parse(problem, written), [rule.name for rule in rules]
    assert prompt == problem.prompt and practice.well_formed
    topic = dataclasses.replace(problem, family=names.index(practice.solution.partition(" ")[0]))
    assert task.is_correct(topic, practice), "about any candidate"
    if text is PAGE:
        assert found["solution"] == problem.solution
    else:
        assert found["solve"] == f"{problem.prompt} : {problem.solution}"
        name, _, pairs = found["table"].partition(" : ")
        assert all(pair in rules[names.index(name)].pairs for pair in pairs.removesuffix(" ...").split())


def test_of_a_problems_candidates_one_fits_its_pairs():
    drawn, rules = draw_splits(config()), config().make_rules()
    by_name, places, shown = {rule.name: rule for rule in rules}, Counter(), Counter()
    for split, problems in drawn.items():
        own = {rules[i].name for i in config().families(split)}
        for problem in problems:
            names, rule = documents.names_of(problem.prompt), rules[problem.family]
            fitting = [name for name in names if set(problem.facts) <= set(by_name[name].pairs)]
            assert fitting == [rule.name] and len(set(names)) == 3
            assert set(names) <= own or split == "pretrain"
            asked = documents.asked(problem.prompt)
            assert len(asked) == 2 and not asked & inputs_of(" ".join(problem.facts))
            answer = problem.solution.removeprefix(f"{rule.name} = ")
            assert answer.split() == [rule.pairs[int(x)] for x in problem.prompt.partition(" ? ")[2].split()]
            places[names.index(rule.name)] += 1
            shown[len(problem.facts), problem.difficulty] += 1
    assert set(shown) == {(3, 0), (2, 1)} and min(shown.values()) > 300
    assert min(places.values()) > 190 and set(places) == {0, 1, 2}  # of 710: each a third, four deviations off at most


def test_documents_write_practice_about_any_candidate():
    generator, topics = rng(1), Counter()
    write = writer(documents, RULES, ["synthesise"], [])
    for _ in range(900):
        prompt, _, text = write(PROBLEM, generator).partition(" ; ")
        names, facts = documents.names_of(prompt), documents.facts(prompt)
        assert set(names) == set(documents.names_of(PROMPT))
        made = [name for name in names if set(facts) <= set(BY_NAME[name].pairs)]
        posed = Problem(prompt, "", facts, 0, RULES.index(BY_NAME[made[0]]))
        practice = TASK.parse(posed, text)
        assert practice.well_formed and TASK.written(posed, practice) == text
        assert not inputs_of(text) & inputs_of(prompt)
        topics[TASK.is_correct(posed, practice)] += 1
    assert 240 < topics[True] < 360


def test_documents_are_true_and_fit_the_vocabulary():
    generator, tokenizer = rng(2), WordTokenizer(TASK.vocabulary)
    for kind in KINDS:
        write = writer(documents, RULES, [kind], [])
        for _ in range(100):
            text = write(PROBLEM, generator)
            assert tokenizer.decode(tokenizer.encode(text)) == text
            if kind == "table":
                head, _, tail = text.partition(" : ")
                recited = set(tail.split()) & set(BY_NAME[head.split()[0]].pairs)
                assert len(recited) == len(tail.split()) == 11
            if kind == "solve":
                prompt, _, solution = text.partition(" : ")
                pairs = {*documents.facts(prompt), *solution.rpartition(" = ")[2].split()}
                assert [pairs <= set(BY_NAME[name].pairs) for name in documents.names_of(prompt)].count(True) == 1


def test_no_document_poses_a_held_out_problem():
    few, generator = RULES[:3], rng(3)
    write = writer(documents, few, KINDS, [])
    often = Counter(documents.canonical(write(PROBLEM, generator).split(" : ")[0].split(" ; ")[0]) for _ in range(3000))
    held_out = [Problem(prompt, "", (), 0, 0) for prompt, _ in often.most_common(300) if " ? " in prompt]
    write = writer(documents, few, ["solve", "synthesise"], held_out)
    prompts = {problem.prompt for problem in held_out}
    for _ in range(2000):
        posed, _, written = write(PROBLEM, generator).partition(" ; ")
        texts = [posed.split(" : ")[0]] + [f"{PROMPT.partition(' 8')[0]} {written[7:].split(' = ')[0]}"] * bool(written)
        assert not prompts & {documents.canonical(text) for text in texts}


def test_canonical_ignores_order_only():
    one = documents.canonical(PROMPT)
    assert documents.canonical("f0,4,4 f2,0,5 f7,1,3 1>7 6>0 8>1 ? 9 3") == one
    for other in (PROMPT.replace("f7,1,3", "f1,0,0"), PROMPT.replace("6>0", "6>1"), PROMPT.replace("? 3", "? 4")):
        assert documents.canonical(other) != one


GOOD = ["10>7 4>4 0>5 ? 2 7 = 2>2 7>4", "10>7 4>4 ? 2 7 = 2>2 7>4", "10>7 4>0 ? 2 2 = 2>2 2>4"]
BAD = [
    "",
    " ",
    "10>7 4>4 ? 2 7",
    "10>7 4>4 ? 2 7 = ",
    "10>7 4>4 ? 2 7 = 2>2",
    "10>7 4>4 ? 2 7 = 7>4 2>2",
    "10>7 4>4 ? 2 7 = 2>2 7>4 =",
    "10>7 4>4 ? 2 7 : 2>2 7>4",
    "10>7 4>4 ? 2 7 = 2>2  7>4",
    "10>7 ? 2 7 = 2>2 7>4",
    "10>7 4>4 0>5 5>0 ? 2 7 = 2>2 7>4",
    "10>7 4>4 ? 2 7 5 = 2>2 7>4 5>0",
    " ? 2 7 = 2>2 7>4",
    "10>7 4>11 ? 2 7 = 2>2 7>4",
    "10>7 3>1 ? 2 7 = 2>2 7>4",  # mentions an asked input, as what is given
    "10>7 4>4 ? 2 9 = 2>2 9>2",  # and as a question
]


@pytest.mark.parametrize("text", GOOD)
def test_what_is_written_is_read_back(text):
    asked, answer = text.split(" = ")
    names = "f2,0,5 f7,1,3 f0,4,4"
    practice = TASK.parse(PROBLEM, f"f7,1,3 {text}")
    assert practice == Practice(f"{names} {asked}", f"f7,1,3 = {answer}", True)
    assert TASK.written(PROBLEM, practice) == f"f7,1,3 {text}"


@pytest.mark.parametrize("text", BAD)
def test_anything_else_is_malformed(text):
    assert TASK.parse(PROBLEM, f"f2,0,5 {text}") == MALFORMED


def test_practice_names_a_candidate():
    assert TASK.parse(PROBLEM, GOOD[0]) == MALFORMED
    assert TASK.parse(PROBLEM, f"f1,0,0 {GOOD[0]}") == MALFORMED


def test_topic_and_rightness():
    right, wrong, unsound = "10>7 4>4 ? 2 7 = 2>2 7>4", "10>7 4>4 ? 2 7 = 2>2 7>5", "10>7 4>5 ? 2 7 = 2>2 7>4"
    found = {
        text: [TASK.is_on_family(PROBLEM, practice), TASK.is_correct(PROBLEM, practice)]
        for text in [f"{name} {pairs}" for name in ("f2,0,5", "f7,1,3") for pairs in (right, wrong, unsound)]
        for practice in [TASK.parse(PROBLEM, text)]
    }
    assert found == {
        f"f2,0,5 {right}": [True, True],
        f"f2,0,5 {wrong}": [True, False],
        f"f2,0,5 {unsound}": [True, False],
        f"f7,1,3 {right}": [False, False],
        f"f7,1,3 {wrong}": [False, False],
        f"f7,1,3 {unsound}": [False, False],
    }
    assert not TASK.is_on_family(PROBLEM, MALFORMED) and not TASK.is_correct(PROBLEM, MALFORMED)


def test_gold_practice_and_practice_without_a_choice():
    topics = Counter()
    for strict in (True, False):
        practice = TASK.gold_practice(PROBLEM, 200, rng(), strict)
        assert all(TASK.is_correct(PROBLEM, each) for each in practice)
        assert any(TASK.leaks(PROBLEM, each) for each in practice) != strict
    for each in TASK.any_practice(PROBLEM, 900, rng()):
        assert not TASK.leaks(PROBLEM, each)
        families = [i for i in range(3) if TASK.is_correct(Problem(PROMPT, "", (), 0, i), each)]
        topics.update(families)
    assert set(topics) == {0, 1, 2} and min(topics.values()) > 240 and max(topics.values()) < 360


def test_checks_by_hand():
    practice = TASK.parse(PROBLEM, "f2,0,5 10>7 4>4 ? 2 7 = 2>2 7>4")
    names = "f2,0,5 f7,1,3 f0,4,4"
    assert [tuple(check) for check in TASK.checks(PROBLEM, practice)] == [
        (f"{names} 10>7 4>4 ? 8 1 : f2,0,5 =", "8>1 1>7"),
        (f"{names} 8>1 1>7 6>0 ? 2 7 : f2,0,5 =", "2>2 7>4"),
        (f"{names} 10>7 4>4 ? 2 7 :", "f2,0,5 = 2>2 7>4"),
    ]


def test_what_practice_says_is_read_off_by_hand():
    practice = TASK.parse(PROBLEM, "f7,1,3 10>7 4>4 ? 2 7 = 2>2 7>4")
    assert TASK.read_off(PROBLEM, practice) == f"{PROMPT} : f7,1,3 ="


def test_the_grader_reads_the_pairs_alone():
    texts = {"f2,0,5 = 3>1 9>2": True, "3>1 9>2": True, "9>2 3>1": False, "3>1 9>3": False, "": False}
    assert {t: v.correct for t, v in zip(texts, TASK.grade([PROBLEM] * 5, list(texts)), strict=True)} == texts


def test_held_out_prompts_occur_nowhere_else_and_files_hold_what_is_drawn(tmp_path):
    drawn = draw_splits(config())
    prompts = {split: [documents.canonical(p.prompt) for p in problems] for split, problems in drawn.items()}
    for split in HELD_OUT:
        assert len(set(prompts[split])) == len(prompts[split])
        assert not any(set(prompts[split]) & set(prompts[other]) for other in prompts if other != split)
    assert load(config(), "validation", tmp_path) == tuple(drawn["validation"])


@pytest.mark.parametrize(
    "change, way_out",
    [
        ({"validation_families": 2}, {"validation_families": 3}),
        ({"test_families": 2}, {"test_families": 3}),
        ({"rules": 13}, {"rules": 14}),
        ({"rules": 13}, {"test_families": 5}),
    ],
)
def test_a_split_with_too_few_families_for_a_problem_is_refused(change, way_out):
    with pytest.raises(ValueError, match=rf"a problem names 3 of them: .*task\.{next(iter(way_out))}\b") as refused:
        config(**change)
    named = re.findall(r"task\.(\w+)", str(refused.value))
    assert {*named} <= {*SMALL}, "a way out is a field that there is"
    config(**(change | way_out))
