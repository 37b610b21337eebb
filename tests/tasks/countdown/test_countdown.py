"""Countdown: the verifier against a brute-force solver, shapes that differ, and held-out games that stay held out."""

import itertools
import re
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest

from mass_jax.models.tokenizer import WordTokenizer
from mass_jax.tasks.base import MALFORMED, Practice, Problem
from mass_jax.tasks.countdown import documents, rules
from mass_jax.tasks.countdown.builder import CountdownConfig
from mass_jax.tasks.countdown.rules import LABELS, Rule, Step, make_rules, read_shape
from mass_jax.tasks.countdown.task import CountdownTask
from mass_jax.tasks.countdown.verify import stated, verify
from mass_jax.tasks.worked import KINDS, SOLVE, SYNTHESISE, writer
from tests.tasks.worked import CONFIGS, drawn, section

RULES = CONFIGS["countdown"].make_rules()
TASK = CountdownTask((read_shape(["a*c", "d-b"]), read_shape(["a+b", "c+d"])))
PROBLEM = Problem("3 2 7 > 19", "a*c d-b = 3 * 7 > 21 21 - 2 > 19", ("3 2 7 > 19",), 1, 0)


def solutions(there: tuple[int, ...], steps: tuple[str, ...] = ()) -> Iterator[tuple[str, int]]:
    """Everything that may be played with some numbers, by trying all: the steps as they are written, and their end."""
    if len(there) == 1:
        yield " ".join(steps), there[0]
    for i, j in itertools.permutations(range(len(there)), 2):
        rest = tuple(number for k, number in enumerate(there) if k not in (i, j))
        for sign in "+-*/":
            exact = Fraction(there[i], there[j]) if sign == "/" else Fraction(eval(f"{there[i]} {sign} {there[j]}"))
            if exact >= 1 and exact.denominator == 1:
                made = exact.numerator
                yield from solutions((*rest, made), (*steps, f"{there[i]} {sign} {there[j]} > {made}"))


@pytest.mark.parametrize("hand", [(3, 2, 7), (12, 4, 8), (1, 5, 10), (2, 4, 6, 3)])
def test_the_verifier_accepts_what_a_solver_finds_and_nothing_else(hand: tuple[int, ...]):
    found = dict(solutions(hand))
    rng, some = np.random.default_rng(0), [*found.items()]
    assert len(found) > 50
    for text, target in some[:: max(1, len(some) // 400)]:
        assert verify(hand, target, text).correct and not verify(hand, target + 1, text).correct
        words = text.split()
        words[int(rng.integers(len(words)))] = str(rng.choice([*"+-*/", ">", *map(str, range(1, 15))]))
        other = " ".join(words)
        assert verify(hand, target, other).correct is (found.get(other) == target), other


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("3 * 7 > 21 21 - 2 > 19", "makes 19"),
        ("7 * 3 > 21 21 - 2 > 19", "makes 19"),
        ("3 * 7 > 21 3 - 2 > 1", "step 2 uses 3 again"),
        ("3 * 7 > 21 21 - 21 > 1", "step 2 uses 21 again"),
        ("3 * 8 > 24 24 - 2 > 22", "step 1 uses 8, which is neither given nor made"),
        ("3 * 7 > 20 20 - 2 > 18", "step 1 is wrong: 3 * 7 is 21, not 20"),
        ("3 * 7 > 21 2 - 21 > 19", "step 2 is not allowed: 2 - 21 is less than 1"),
        ("7 / 2 > 3 3 * 3 > 9", "step 1 is not allowed: 7 / 2 does not go even"),
        ("3 * 7 > 21", "not used: 2, 21"),
        ("3 + 7 > 10 10 + 2 > 12", "makes 12, not 19"),
        ("", "expected steps such as '3 * 7 > 21' after '=', read ''"),
        ("3 * 7 - 2", "expected steps such as '3 * 7 > 21' after '=', read '3 * 7 - 2'"),
        ("3 x 7 > 21 21 - 2 > 19", "expected steps"),
        ("3 * 7 = 21 21 - 2 = 19", "expected steps"),
        ("0 * 7 > 0 3 + 2 > 5", "expected steps"),
        ("3 * 7 > 21 21 - 2 > -19", "expected steps"),
        ("３ * 7 > 21 21 - 2 > 19", "expected steps"),
        ("9" * 5_000 + " * 7 > 21 21 - 2 > 19", "expected steps"),
    ],
)
def test_verdicts_say_why(text: str, reason: str):
    verdict = TASK.grade([PROBLEM], [f"a*c d-b = {text}"])[0]
    assert verdict.correct is (reason == "makes 19") and verdict.judged
    assert verdict.reason.startswith(reason), verdict.reason


def test_what_shape_is_named_is_not_judged_and_a_number_may_be_there_twice():
    assert TASK.grade([PROBLEM], ["a+b c+d = 3 * 7 > 21 21 - 2 > 19"])[0].correct
    assert verify([2, 3, 6], 36, "2 * 3 > 6 6 * 6 > 36").correct  # 6 is given, and made
    assert verify([2, 3, 6], 1, "6 * 6 > 36 36 / 2 > 18").reason == "step 1 uses 6 again"


@pytest.mark.parametrize("numbers", [3, 4, 6])
def test_no_two_shapes_make_the_same(numbers: int):
    found = make_rules(40, 1, numbers)
    points = [tuple(Fraction(int(x)) for x in row) for row in np.random.default_rng(0).integers(9, 10**6, (2, numbers))]

    def makes(rule: Rule, point: tuple[Fraction, ...]) -> Fraction:
        values = [*point]
        for left, sign, right in rule.steps:
            a, b = values[left], values[right]
            values.append({"+": a + b, "-": a - b, "*": a * b, "/": a / b if b else Fraction(0)}[sign])
        return values[-1]

    assert len({tuple(makes(rule, point) for point in points) for rule in found}) == len(found)
    assert all(read_shape(rule.name.split(" ")) == rule and rule.different >= rules.LEAST for rule in found)
    same = Rule((Step(0, "+", 2), Step(1, "+", 3))), Rule((Step(0, "+", 1), Step(2, "+", 3)))
    assert same[0].function == same[1].function != TASK.rules[0].function


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"numbers": 2}, "task.numbers = 2: give 3 to 8 numbers of a hand."),
        ({"numbers": 9}, "task.numbers = 9: give 3 to 8 numbers of a hand."),
        ({"numbers": 3, "rules": 300}, "task.rules = 300: only [0-9]+ shapes of 3 numbers were found; lower it."),
        ({"rules": 2_001}, "task.rules = 2001: give 2000 shapes or fewer."),
        ({"test_problems": 81}, "task.test_families = 8 give at most 80 different problems"),
    ],
)
def test_what_cannot_be_drawn_is_a_sentence(changes: dict[str, int], words: str):
    given = dict(numbers=4, rules=40, validation_families=6, test_families=8, validation_problems=60, test_problems=80)
    with pytest.raises(ValueError, match=words):
        CountdownConfig(**given | changes)


def test_games_are_played_as_they_say():
    for problem in itertools.chain(*drawn("countdown").values()):
        hand, target = documents.read_game(problem.prompt)
        moves = RULES[problem.family].play(hand)
        assert problem.solution == f"{RULES[problem.family].name} = {stated(moves)}"
        assert verify(hand, target, stated(moves)).correct and max(move.made for move in moves) <= rules.LIMIT
        assert len({*hand}) == 4 and max(hand) <= rules.LARGEST
        assert problem.difficulty == sum(problem.solution.partition(" = ")[0].count(sign) for sign in "-/")
        assert problem.facts == (problem.prompt,)


def test_documents_pose_no_held_out_game():
    rarest = min(RULES, key=lambda rule: rule.different)
    about = Problem("", "", (), 0, RULES.index(rarest))
    every = [documents.pose(rarest, hand[:-1]).prompt for hand in rarest.games.tolist()]
    out = [Problem(prompt, "", (), 0, 0) for prompt in every[: len(every) // 2]]
    rng, prompts = np.random.default_rng(0), {documents.canonical(problem.prompt) for problem in out}
    for kind in KINDS:
        write = writer(documents, RULES, [kind], out)
        for _ in range(60):
            assert not {documents.canonical(game) for game in games(write(about, rng), rarest)} & prompts, kind


def games(document: str, rule: Rule) -> list[str]:
    """Every game that a document of a shape poses or states."""
    if SYNTHESISE in document:
        posed, _, written = document.partition(f"{SYNTHESISE} ")
        return [posed, CountdownTask((rule,)).parse(PROBLEM, written).prompt]
    posed, _, rest = document.partition(f"{SOLVE} ")
    words = rest.split()
    return [posed] if "=" in rest else [" ".join(words[i : i + 6]) for i in range(0, len(words), 6)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("numbers", [4, 6])
def test_documents_are_true_and_fit_the_vocabulary(kind: str, numbers: int):
    some, rng = make_rules(40, 0, numbers), np.random.default_rng(1)
    tokenizer, task = WordTokenizer(rules.vocabulary(numbers)), CountdownTask(some)
    write = writer(documents, some, [kind], [])
    for problem in drawn("countdown")["pretrain"][:40]:
        text, rule = write(problem, rng), some[problem.family]
        assert tokenizer.decode(tokenizer.encode(text)) == text
        prompt = text.partition(f"{SYNTHESISE} ")[0].partition(f"{SOLVE} ")[0]
        if kind == "table":
            name, _, rest = text.partition(" : ")
            size, words = numbers + 2, rest.split()
            stated_games = [documents.read_game(" ".join(words[i : i + size])) for i in range(0, len(words), size)]
            assert name == rule.name and len(stated_games) == documents.TABLE
            assert all(rule.play(game.hand)[-1].made == game.target for game in stated_games)
        if kind == "solve":
            assert task.grade([task.problem(prompt)], [text.partition(" : ")[2]])[0].correct
        if kind == "synthesise":
            about = Problem(prompt, "", (), 0, problem.family)
            practice = task.parse(about, text.partition(" ; ")[2])
            assert task.is_correct(about, practice) and not task.leaks(about, practice)


def test_practice_is_right_where_it_plays_the_hidden_shape():
    right = "a*c d-b 5 9 4 = 5 * 4 > 20 20 - 9 > 11"
    practice = TASK.parse(PROBLEM, right)
    assert practice == Practice("5 9 4 > 11", "a*c d-b = 5 * 4 > 20 20 - 9 > 11", True)
    assert TASK.is_correct(PROBLEM, practice) and TASK.is_on_family(PROBLEM, practice)
    wrong = {
        "another shape": "a+b c+d 5 9 4 = 5 + 9 > 14 14 + 4 > 18",
        "a step is wrong": right.replace("> 20", "> 21"),
        "its end is wrong": right.replace("> 11", "> 12"),
        "other steps to the same target": "a*c d-b 5 9 4 = 4 * 5 > 20 20 - 9 > 11",
        "another shape's name": "a+b c+d 5 9 4 = 5 * 4 > 20 20 - 9 > 11",
    }
    on_family = {"a step is wrong", "other steps to the same target", "another shape's name"}
    for name, text in wrong.items():
        practice = TASK.parse(PROBLEM, text)
        assert practice.well_formed and not TASK.is_correct(PROBLEM, practice), name
        assert TASK.is_on_family(PROBLEM, practice) is (name in on_family), name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a*c d-b",
        "a*c d-b 5 9 4 = ",
        "a*c 5 9 4 = 5 * 4 > 20 20 - 9 > 11",
        "a*c a-b 5 9 4 = 5 * 4 > 20 20 - 9 > 11",  # a is used twice
        "c*a d-b 5 9 4 = 5 * 4 > 20 20 - 9 > 11",  # no word
        "a*c d-b 5 9 = 5 * 4 > 20 20 - 9 > 11",
        "a*c d-b 5 9 5 = 5 * 4 > 20 20 - 9 > 11",
        "a*c d-b 5 9 14 = 5 * 4 > 20 20 - 9 > 11",
        "a*c d-b 5 9 4 = 5 * 4 > 20",
        "a*c d-b 5 9 4 = 5 * 4 20 20 - 9 11",
        "a*c d-b 5 9 4 = 5 * 4 > 20  20 - 9 > 11",
        "a*c d-b 5 9 4 : 5 * 4 > 20 20 - 9 > 11",
        "a*c d-b 5 9 4 = 5 * 4 > 20 20 * 9 > 180",
        "> = : ;",
    ],
)
def test_what_is_of_another_form_is_malformed(text: str):
    assert TASK.parse(PROBLEM, text) == MALFORMED


def test_what_controls_may_ask():
    task, rng = CountdownTask(RULES), np.random.default_rng(2)
    for problem in drawn("countdown")["test"][:20]:
        for practice in task.gold_practice(problem, 6, rng, strict=False):
            assert not task.leaks(problem, practice), "strict or not, it is about other numbers"
        assert task.leaks(problem, Practice(problem.prompt, problem.solution, True))
        name = RULES[problem.family].name
        assert task.read_off(problem, practice) == f"{problem.prompt} : {name} ="
        found = dict(zip(task.check_names, task.checks(problem, practice), strict=True))
        hand, _, target = problem.prompt.partition(" > ")
        assert found["target | shape"] == (f"{name} : {hand} >", target)
        assert found["shape | problem"] == (f"{problem.prompt} :", name)


@pytest.mark.parametrize(
    "prompt", ["", "3 2 7", "3 2 > 19", "3 2 3 > 19", "3 2 7 > 0", "3 2 14 > 19", "3 2 7 > 19 > 19"]
)
def test_a_problem_of_another_form_is_a_sentence(prompt: str):
    with pytest.raises(ValueError, match="a problem gives 3 different numbers from 1 to 12 and a target from 1 to 99"):
        TASK.problem(prompt)


def test_difficulties_and_operations_occur():
    levels = Counter(problem.difficulty for problem in drawn("countdown")["pretrain"])
    assert {*levels} == {0, 1, 2, 3} and {sign for rule in RULES for _, sign, _ in rule.steps} == {*"+-*/"}
    assert LABELS.startswith("abc")


@pytest.mark.parametrize("text", [documents.__doc__, section("Countdown")], ids=["module", "page"])
def test_the_examples_are_true(text: str):
    found = dict(re.findall(r"^    (problem|solve|synthesise|table) +(.*\d > \d.*)$", text, re.MULTILINE))
    assert found["problem"] == PROBLEM.prompt and found["solve"] == f"{PROBLEM.prompt} : {PROBLEM.solution}"
    assert TASK.is_correct(PROBLEM, TASK.parse(PROBLEM, found["synthesise"].partition(" ; ")[2]))
    name, _, rest = found["table"].removesuffix(" ...").partition(" : ")
    words = rest.split()
    for i in range(0, len(words), 5):
        game = documents.read_game(" ".join(words[i : i + 5]))
        assert read_shape(name.split()).play(game.hand)[-1].made == game.target
