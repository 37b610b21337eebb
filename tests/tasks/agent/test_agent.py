"""Episodes: the tools against a search and against garbage, transcripts that are not believed, families kept apart."""

import itertools
import re
from collections import Counter

import numpy as np
import pytest

from mass_jax.models.tokenizer import WordTokenizer
from mass_jax.tasks import base
from mass_jax.tasks.agent import documents, rules, tools, transcript
from mass_jax.tasks.agent.documents import EXAMPLE
from mass_jax.tasks.agent.rules import EVERY, NAMES, Rule, agreeing, make_rules, named
from mass_jax.tasks.agent.task import AgentTask
from mass_jax.tasks.agent.tools import CALLS, FILES, World, step
from mass_jax.tasks.base import MALFORMED, Practice, Problem
from mass_jax.tasks.worked import KINDS, writer
from tests.tasks.worked import CONFIGS, drawn, section

RULES = CONFIGS["agent"].make_rules()
RULE = Rule("a", "*", "d", "c")
TASK = AgentTask((RULE, Rule("a", "+", "d", "c")))
SEEN = EXAMPLE.partition(" ? ")[0]
HELD = {"a": 6, "b": 1, "c": 9, "d": 8}
EPISODE = "read a > 6 read d > 8 calc 6 * 8 > 48 write c 48 > ok done"
PROBLEM = Problem(EXAMPLE, f"a*d c = {EPISODE}", documents.facts(EXAMPLE), 0, 0)
PRACTICE = "a*d c = read a > 5 read d > 7 calc 5 * 7 > 35 write c 35 > ok done"


def by_hand(left: int, sign: str, right: int) -> str:
    """What the calculator says, by counting."""
    if sign == "/":
        return "error" if right == 0 else str(len(range(right, left + 1, right)))
    amount = {"+": left + right, "-": left - right, "*": sum(left for _ in range(right))}[sign]
    return str(amount) if amount in range(100) else "error"


def test_the_calculator_agrees_with_counting():
    numbers = (*range(25), *range(90, 100))
    for left, sign, right in itertools.product(numbers, "+-*/", numbers):
        world, said = step(World({}), f"calc {left} {sign} {right}")
        assert said.word == by_hand(left, sign, right) and bool(said.why) is (said.word == "error")
        assert world == World({}, 1)


@pytest.mark.parametrize(
    ("call", "word", "why"),
    [
        ("read a", "6", ""),
        ("read q", "error", "there is no file 'q'"),
        ("read", "error", "'read' is no call: write read, calc, write or done"),
        ("read a b", "error", "'read a b' is no call"),
        ("READ a", "error", "is no call"),
        ("", "error", "'' is no call"),
        (" done", "error", "' done' is no call"),
        ("done", "", ""),
        ("write c 48", "ok", ""),
        ("write new 0", "ok", ""),
        ("write c 100", "error", "'100' is no number from 0 to 99"),
        ("write c -1", "error", "'-1' is no number"),
        ("write c 07", "error", "'07' is no number"),
        ("write c ٣", "error", "'٣' is no number"),
        ("write c " + "9" * 10_000, "error", f"'{'9' * 40}...' is no number"),
        ("write ../etc 1", "error", "'../etc' is no name of 1 to 8 small letters"),
        ("write  1", "error", "'' is no name"),
        ("write c\n 1", "error", "'c\\n' is no name"),
        ("write " + "c" * 9 + " 1", "error", "'ccccccccc' is no name of 1 to 8 small letters"),
        ("read " + "c" * 10_000, "error", f"there is no file '{'c' * 40}...'"),
        ("calc 3 / 0", "error", "3 / 0 divides by zero"),
        ("calc 3 - 5", "error", "3 - 5 is -2, below 0"),
        ("calc 99 * 99", "error", "99 * 99 is 9801, more than 99"),
        ("calc 9 ** 9", "error", "'**' is none of + - * /"),
        ("calc 3 + x", "error", "'x' is no number"),
        ("calc " + "9" * 10_000 + " * 9", "error", "is no number"),
        ("calc 3*4", "error", "'calc 3*4' is no call"),
    ],
)
def test_what_a_call_does(call: str, word: str, why: str):
    files = dict(HELD)
    world, said = step(World(files), call)
    assert said.word == word and why in said.why and bool(said.why) is (word == "error")
    assert world.calls == 1 and world.done is (call == "done") and files == HELD, "the world before stays what it was"
    wrote = re.fullmatch("write ([a-z]+) ([0-9]+)", call) if word == "ok" else None
    assert world.files == ({**HELD, wrote[1]: int(wrote[2])} if wrote else HELD)


def test_a_world_has_its_limits():
    world = World({})
    for i in range(CALLS):
        assert not world.over
        world, _ = step(world, f"write {'abcdefgh'[i]} {i}")
    assert world.over and step(world, "done") == (world, ("error", f"an episode has at most {CALLS} calls"))
    full = World({letter: 0 for letter in "abcdefgh"})
    assert len(full.files) == FILES
    assert step(full, "write i 1")[1] == ("error", "there are 8 files already, and none is i")
    assert step(full, "write h 1")[1].word == "ok"
    over, _ = step(World({}), "done")
    assert step(over, "read a") == (over, ("error", "the episode is done"))


def test_nothing_raises_whatever_is_called():
    rng = np.random.default_rng(0)
    words = ["read", "calc", "write", "done", ">", "=", ":", ";", "?", "a", "d", "zz", "7", "48", "-", "*", "/", "0"]
    words += ["", "ok", "error", "9" * 500, "a" * 500, "\n", "\x00", "é", "٣", "a*d", "c"]
    accepted = 0
    for _ in range(1_500):
        text = " ".join(words[i] for i in rng.integers(len(words), size=rng.integers(20)))
        verdict = TASK.judge(PROBLEM, text)
        assert verdict.judged and verdict.reason
        accepted += verdict.correct
        assert "".join(piece.text for piece in TASK.pieces(text)) == text
        said = TASK.answered(PROBLEM, text)
        assert said is None or said in {"ok", "error", *map(str, range(100))}
        practice = TASK.parse(PROBLEM, text)
        assert not TASK.is_correct(PROBLEM, practice) and len(TASK.checks(PROBLEM, practice)) == 5
        assert isinstance(TASK.answer_of(PROBLEM, text), str)
        assert not TASK.judge(Problem(text, "", (), -1, -1), EPISODE).judged
        assert TASK.answered(Problem(text, "", (), -1, -1), "read a >") is None
    assert not accepted
    assert not TASK.judge(PROBLEM, "read a > 6 " * 20_000).correct, "an endless episode ends"


def test_an_episode_is_right_by_what_a_search_says_of_its_files():
    """All episodes of a write or two, without reading: guessing a number is no fault, another file's number is."""
    for rule in (RULE, Rule("b", "-", "a", "d"), Rule("d", "/", "b", "a")):
        rng = np.random.default_rng(0)
        task, files = AgentTask((rule,)), rule.draw_files(rng)
        runs = documents.shown(documents.draw_runs(rule, rng))
        problem = Problem(f"{runs} ? {documents.stated(files)}", "", (), 0, 0)
        left, right = files[rule.left], files[rule.right]
        number = by_hand(left, rule.sign, right)
        for name, written in itertools.product([*NAMES, "e"], range(100)):
            text = f" = write {name} {written} > ok done"
            assert task.judge(problem, text).correct is ((name, str(written)) == (rule.target, number)), text
            also = f" = write {rule.target} {number} > ok write {name} {written} > ok done"
            right_too = str(written) == number if name == rule.target else files.get(name) == written
            assert task.judge(problem, also).correct is right_too, also


@pytest.mark.parametrize(
    ("episode", "reason"),
    [
        (EPISODE, "c holds 48"),
        (EPISODE.replace("read a > 6", "read q > error read a > 6"), "c holds 48"),
        (f"{EPISODE} >", "c holds 48"),
        (EPISODE.replace("> 6", "> 5"), "call 1: the tools say '6' to 'read a', not '5'"),
        (EPISODE.replace("> 48", "> 47"), "call 3: the tools say '48' to 'calc 6 * 8', not '47'"),
        (EPISODE.replace("ok", "error"), "call 4: the tools say 'ok' to 'write c 48', not 'error'"),
        (f"{EPISODE} > 7", "call 5: the tools say nothing to 'done', not '7'"),
        (f"{EPISODE} > error read a > 6", "call 5: the tools say nothing to 'done', not 'error'"),
        (EPISODE.removesuffix(" done"), "the episode does not end with done"),
        (EPISODE.removesuffix(" > ok done"), "the episode does not end with done"),
        (f"{EPISODE} done", "the episode does not end with done; call 5: 'done done' is no call"),
        ("done", "c holds 9, not 48"),
        (EPISODE.replace("c 48", "c 47"), "c holds 47, not 48"),
        (EPISODE.replace("c 48", "b 48"), "b holds 48, not 1"),
        (EPISODE.replace("done", "write e 1 > ok done"), "e holds 1, and should not be there"),
        ("calc 6 / 0 > error done", "c holds 9, not 48; call 1: 6 / 0 divides by zero"),
        ("read a > 6 " * 8 + "write c 48 > ok done", "call 9: the tools say 'error' to 'write c 48', not 'ok'"),
        ("read a > 6 " * 8 + "done", "the episode does not end with done; call 9: an episode has at most 8 calls"),
        ("", "the episode does not end with done; call 1: '' is no call"),
        (">", "the episode does not end with done; call 1: '' is no call"),
    ],
)
def test_verdicts_say_why(episode: str, reason: str):
    verdict = TASK.grade([PROBLEM], [f"a*d c = {episode}"])[0]
    assert verdict.correct is (reason == "c holds 48") and verdict.judged
    assert verdict.reason.startswith(reason), verdict.reason


def test_episodes_are_judged_by_what_the_problem_shows_not_by_its_family():
    other = Problem(EXAMPLE, "", (), -1, -1)
    assert TASK.judge(other, PROBLEM.solution).correct and TASK.judge(other, f"b+c a = {EPISODE}").correct
    two = "a2 b2 c5 d1 > c 4 a2 b2 c6 d1 > c 4 a2 b2 c7 d1 > c 4"  # a + b or a * b
    assert {rule.name for rule in agreeing(documents.read_runs(two))} == {"a+b c", "a*b c"}
    for held, correct in {"a2 b2 c1 d1": True, "a2 b3 c1 d1": False}.items():
        verdict = TASK.judge(Problem(f"{two} ? {held}", "", (), -1, -1), " = write c 4 > ok done")
        assert verdict.correct is correct, "it has to be right by every recipe that may be the hidden one"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a*d c = read a >", "6"),
        ("read a >", "6"),
        ("read a > 6 calc 6 * 7 >", "42"),
        ("write a 3 > ok read a >", "3"),
        ("read q >", "error"),
        (">", "error"),
        ("read a > 6 " * 7 + "read a >", "6"),
        ("read a > 6 " * 8 + "read a >", None),
        ("done >", None),
        ("done", None),
        ("read a > 6", None),
        ("read a", None),
        ("", None),
    ],
)
def test_what_tools_say_to_an_episode_so_far(text: str, said: str | None):
    assert TASK.answered(PROBLEM, text) == said


def test_pieces_are_the_models_up_to_each_mark():
    own = [piece.text for piece in TASK.pieces(PROBLEM.solution) if piece.own]
    assert own == ["a*d c = read a >", " read d >", " calc 6 * 8 >", " write c 48 >", " done"]
    assert [piece.text for piece in TASK.pieces(PROBLEM.solution) if not piece.own] == [" 6", " 8", " 48", " ok"]


def test_recipes_are_different_and_what_is_shown_tells_them_apart():
    worlds = [dict(zip(NAMES, held, strict=True)) for held in itertools.product((1, 2, 3, 5, 7), repeat=4)]
    made = {(rule.target, tuple(rule.made(files) for files in worlds)) for rule in EVERY}
    assert len(made) == len(EVERY) == len({rule.name for rule in EVERY}) == 144
    assert all(named(rule.name) == rule for rule in EVERY) and named("a*a c") is None
    with pytest.raises(ValueError, match="task.rules = 145: there are 1 to 144 different recipes"):
        make_rules(145, 0)
    for problem in drawn("agent")["test"][:20]:
        every = [rule for rule in EVERY if all(by_a_rule(rule, fact) for fact in problem.facts)]
        assert every == [RULES[problem.family]]


def by_a_rule(rule: Rule, fact: str) -> bool:
    """Whether a run is of a recipe, by its words and by counting."""
    words = fact.split(" ")
    held = {word[0]: int(word[1]) for word in words[:4]}
    return words[4:] == [">", rule.target, by_hand(held[rule.left], rule.sign, held[rule.right])]


def test_problems_show_their_runs_and_keep_their_files():
    task, levels = AgentTask(RULES), Counter()
    for problem in itertools.chain(*drawn("agent").values()):
        assert len(problem.facts) == 3
        asked = documents.asked(problem.prompt)
        assert [*asked] == [*NAMES]
        assert task.solve_prompt(problem.prompt) == f"{' '.join(problem.facts)} :", "what is in the files is not shown"
        assert task.synthesis_prompt(problem) == f"{' '.join(problem.facts)} ;"
        levels[problem.difficulty] += 1
    assert {*levels} == {0, 1, 2, 3}


def test_the_same_runs_in_another_order_are_the_same_problem():
    shown = " ".join(reversed(PROBLEM.facts))
    assert documents.canonical(f"{shown} ? a1 b1 c1 d1") == documents.canonical(EXAMPLE)
    assert documents.canonical(EXAMPLE.replace("c 27", "c 26")) != documents.canonical(EXAMPLE)


@pytest.mark.parametrize("kind", KINDS)
def test_documents_are_true_and_fit_the_vocabulary(kind: str):
    rng, tokenizer = np.random.default_rng(1), WordTokenizer(rules.vocabulary())
    task = AgentTask(RULES)
    write = writer(documents, RULES, [kind], [])
    for problem in drawn("agent")["pretrain"][:40]:
        text, rule = write(problem, rng), RULES[problem.family]
        assert tokenizer.decode(tokenizer.encode(text)) == text
        if kind == "table":
            name, _, runs = text.partition(" : ")
            assert named(name) == rule and rule in agreeing(documents.read_runs(runs))
            continue
        shown, _, episode = text.partition(" ; " if kind == "synthesise" else " : ")
        about = Problem(f"{shown} ? a1 b1 c1 d1", "", documents.facts(shown), 0, problem.family)
        assert task.is_correct(about, task.parse(about, episode)), "in the world that it reads it is right"
    words = {said for _, said in (step(World(HELD), call) for call in ("read a", "write a 3", "read q"))}
    assert tokenizer.encode("ok error") and words, "what tools say, too"


def test_practice_is_right_where_its_recipe_is_carried_out():
    practice = TASK.parse(PROBLEM, PRACTICE)
    assert practice == Practice(f"{SEEN} ? a5 d7", PRACTICE, True)
    assert TASK.is_correct(PROBLEM, practice) and not TASK.leaks(PROBLEM, practice)
    wrong = {
        "another recipe is named": PRACTICE.replace("a*d", "a+d"),
        "another one is carried out": PRACTICE.replace("5 * 7 > 35", "5 + 7 > 12").replace("c 35", "c 12"),
        "the number is another": PRACTICE.replace("c 35", "c 34"),
        "the file is another": PRACTICE.replace("write c", "write b"),
        "it writes more": PRACTICE.replace("done", "write b 1 > ok done"),
    }
    for name, text in wrong.items():
        practice = TASK.parse(PROBLEM, text)
        assert practice.well_formed and TASK.is_on_family(PROBLEM, practice), name
        assert not TASK.is_correct(PROBLEM, practice), name
    strange = Practice(f"{SEEN.replace('c 27', 'c 26')} ? a5 d7", PRACTICE, True)
    assert not TASK.is_on_family(PROBLEM, strange) and not TASK.is_correct(PROBLEM, strange)
    leaking = PRACTICE.replace("read a > 5", "read a > 6").replace("5 * 7 > 35", "6 * 7 > 42").replace("c 35", "c 42")
    assert TASK.leaks(PROBLEM, TASK.parse(PROBLEM, leaking)), "a holds what it holds in the problem"
    assert TASK.leaks(PROBLEM, TASK.parse(PROBLEM, PRACTICE.replace("c 35", "c 48"))), "it writes what is asked for"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a*d c",
        "a*d c = done",
        "a*d = read a > 5 write c 5 > ok done",
        "a*a c = read a > 5 write c 5 > ok done",
        "a*d c = write c 35 > ok done",  # reads nothing
        "a*d c = read a > 5 read d > 7 done",  # writes nothing
        PRACTICE.removesuffix(" done"),
        PRACTICE.replace("> 35", "> 34"),  # a tool would not say so
        PRACTICE.replace("> ok", "> error"),
        PRACTICE.replace("read d > 7", "read d > 7 read d > 6"),  # another time something else
        PRACTICE.replace("> 5", "> 0"),
        PRACTICE.replace("> 5", "> ok"),
        PRACTICE.replace("> 5", "> 55"),
        PRACTICE.replace("read a", "read e"),
        PRACTICE.replace("done", "calc 1 / 0 > error done"),
        PRACTICE.replace(" = ", " : "),
        f"{PRACTICE} > 1",
    ],
)
def test_what_is_of_another_form_is_malformed(text: str):
    assert TASK.parse(PROBLEM, text) == MALFORMED


def test_what_controls_may_ask():
    task, rng, leaks = AgentTask(RULES), np.random.default_rng(2), 0
    assert isinstance(task, base.UsesTools)
    for problem in drawn("agent")["test"][:20]:
        for practice in task.gold_practice(problem, 6, rng, strict=False):
            leaks += task.leaks(problem, practice)
        name = RULES[problem.family].name
        assert task.read_off(problem, practice) == f"{' '.join(problem.facts)} : {name} ="
        found = dict(zip(task.check_names, task.checks(problem, practice), strict=True))
        files, _, made = problem.facts[2].partition(" > ")
        assert found["run 3 | recipe"] == (f"{name} : {files} >", made)
        assert found["recipe | runs"] == (f"{' '.join(problem.facts)} :", name)
        before, written = found["written | calls"]
        assert f"{before} {written} > ok done" == f"{task.solve_prompt(practice.prompt)} {practice.solution}"
    assert leaks > 0, "what is not strict may hold what the problem's files hold"
    assert task.answer_of(PROBLEM, PROBLEM.solution) == "write c 48" and task.answer_of(PROBLEM, "a = b") == "b"
    shown = [Practice(EXAMPLE, PROBLEM.solution, True)]
    assert task.solve_prompt(EXAMPLE, shown) == f"{SEEN} : {PROBLEM.solution} {SEEN} :"


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("", "a problem shows 3 runs"),
        (SEEN, "a problem shows 3 runs"),
        (f"{SEEN} ? ", "a problem shows 3 runs"),
        (f"{SEEN} ? a0 d1", "a problem shows 3 runs"),
        (f"{SEEN} ? a1 a2", "a problem shows 3 runs"),
        (f"{SEEN} ? e1", "a problem shows 3 runs"),
        (f"{SEEN} {PROBLEM.facts[0]} ? a1 d1", "a problem shows 3 runs"),
        (EXAMPLE.replace("a3 b5", "a3 a5"), "a problem shows 3 runs"),
        (EXAMPLE.replace("c 27", "c 270"), "a problem shows 3 runs"),
        (EXAMPLE.replace("c 27", "c 26"), "no recipe makes all runs of 'a3 b5 c2 d9 > c 26"),
        (EXAMPLE.replace("c 27", "b 27"), "no recipe makes all runs of 'a3 b5 c2 d9 > b 27"),
    ],
)
def test_a_problem_of_another_form_is_a_sentence(prompt: str, words: str):
    with pytest.raises(ValueError, match=re.escape(words)):
        TASK.problem(prompt)


def test_a_problem_that_has_no_answer_is_not_judged():
    for files in ("a1 b1", "d8"):
        verdict = TASK.judge(TASK.problem(f"{SEEN} ? {files}"), " = done")
        assert not verdict.judged and verdict.reason == "no recipe makes the problem's runs, and a number of its files"


@pytest.mark.parametrize("text", [documents.__doc__, section("Episodes with tools")], ids=["module", "page"])
def test_the_examples_are_true(text: str):
    found = dict(re.findall(r"^    (problem|seen|solve|synthesise|table) +(.*)$", text, re.MULTILINE))
    assert found["problem"] == EXAMPLE and found["seen"] == SEEN and TASK.problem(EXAMPLE)
    assert found["solve"] == f"seen : {PROBLEM.solution}" and TASK.judge(PROBLEM, PROBLEM.solution).correct
    assert TASK.is_correct(PROBLEM, TASK.parse(PROBLEM, found["synthesise"].removeprefix("seen ; ")))
    name, _, runs = found["table"].removesuffix(" ...").partition(" : ")
    assert named(name) == RULE and RULE in agreeing(documents.read_runs(runs))
    assert transcript.performed(RULE.calls(HELD), HELD) == EPISODE and tools.OK in EPISODE
