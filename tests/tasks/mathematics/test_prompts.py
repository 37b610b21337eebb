"""The files of prompts are complete and readable, and what is rendered of them is what a model should read."""

import pytest

from mass_jax.tasks.chat import without_special_tokens
from mass_jax.tasks.mathematics import prompts
from mass_jax.tasks.mathematics.answers import final_answer
from mass_jax.tasks.mathematics.fetch import DATASETS
from mass_jax.tasks.mathematics.parser import parse_practice
from mass_jax.tasks.mathematics.prompts import PROBLEM, Prompts, load, render, worked_practice


def chat(messages: list[dict[str, str]]) -> str:
    """A miniature chat template."""
    return "".join(f"<{m['role']}>{m['content']}</>" for m in messages) + "<assistant>"


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_data_set_has_prompts_whose_examples_are_right(dataset):
    found = load(dataset)
    assert found.system
    for section in (found.solve, found.synthesise):
        assert section.count(PROBLEM) == 1 and "\\boxed{" in section
    *worked, begun = found.base_solve.split("\n\n")
    assert len(worked) >= 2 and begun == f"Problem:\n{PROBLEM}\nSolution:\n"
    for example in worked:
        assert example.startswith("Problem:\n") and final_answer(example)
    _, *worked, begun = found.base_synthesise.split("\n\n")
    assert len(worked) >= 2 and begun == f"Problem:\n{PROBLEM}\nRelated problem:\n"
    for example in worked:
        given, _, related = example.removeprefix("Problem:\n").partition("\nRelated problem:\n")
        practice = parse_practice(related)
        assert practice.well_formed and given and practice.prompt not in given
        assert practice.solution == related.partition("Solution:\n")[2]
    # As turns of a chat they are the same, in the form that is asked for.
    for example, (given, answer) in zip(worked, worked_practice(found), strict=True):
        related = example.removeprefix(f"Problem:\n{given}\nRelated problem:\n")
        assert related != example and parse_practice(answer) == parse_practice(related)


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_form_that_is_asked_for_can_be_read(dataset):
    text = load(dataset).synthesise
    form = text[text.rindex("Problem: (") :].replace("\\boxed{...}", "\\boxed{5}")
    practice = parse_practice(form)
    assert practice.well_formed and practice.prompt == "(the text of your new problem)"


TEMPLATES = Prompts("S", f"Do {PROBLEM}!", f"Make {PROBLEM}!", f"A\n\nP:\n{PROBLEM}\nS:\n", f"B\n\nP:\n{PROBLEM}\nR:\n")


def test_chat_rendering():
    assert render("Do {problem}!", "x{y}", (), "S", chat) == "<system>S</><user>Do x{y}!</><assistant>"
    assert render("Do {problem}!", "x", (), "", chat) == "<user>Do x!</><assistant>"
    shown = [("a", "b"), ("c", "d")]
    assert render("Do {problem}!", "x", shown, "", chat) == (
        "<user>Do a!</><assistant>b</><user>Do c!</><assistant>d</><user>Do x!</><assistant>"
    )


def test_base_rendering():
    assert render(TEMPLATES.base_solve, "x", (), "S", None) == "A\n\nP:\nx\nS:\n"
    assert render(TEMPLATES.base_solve, "x", [("a", "b")], "S", None) == "A\n\nP:\na\nS:\nb\n\nP:\nx\nS:\n"


def test_a_problem_that_contains_the_placeholder_is_left_as_it_is():
    assert render("Do {problem}!", "{problem}", (), "", chat) == "<user>Do {problem}!</><assistant>"


def test_special_tokens_are_removed_even_where_removal_makes_new_ones():
    tokens = ("<|im_end|>", "<|im_start|>", "</s>", "")
    assert without_special_tokens("a<|im_end|>b</s>", tokens) == "ab"
    assert without_special_tokens("a<|im_<|im_end|>end|>b", tokens) == "ab"
    assert without_special_tokens("a<|im_end|>", ()) == "a<|im_end|>"
    assert without_special_tokens("<a><a>b", ("<a>", "<a><a>b")) == ""


SECTIONS = "## system\ns\n## solve\n{problem}\n## synthesise\n{problem}\n"
BASE = "## solve, base model\na\n\n{problem}\n## synthesise, base model\nb\n\n{problem}\n"


def test_a_file_of_the_users_own(tmp_path):
    path = tmp_path / "own.md"
    path.write_text(f"# Title\nwords\n{SECTIONS}{BASE}")
    assert load(path) == Prompts("s", "{problem}", "{problem}", "a\n\n{problem}\n", "b\n\n{problem}\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SECTIONS, "has no section '## solve, base model'"),
        (SECTIONS.replace("{problem}", "{x}", 1) + BASE, r"'## solve' of .* has \{problem\} 0 times"),
        (SECTIONS + BASE.replace("b\n\n", "{problem}"), r"'## synthesise, base model' of .* 2 times"),
        (SECTIONS + BASE.replace("a\n\n{problem}", "{problem}\n\na"), "must have {problem} in its last paragraph"),
    ],
)
def test_an_incomplete_file_is_refused(tmp_path, text, message):
    path = tmp_path / "own.md"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load(path)


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match="no prompts 'aime': choose one of gsm8k, jsonl, math, svamp"):
        load("aime")
    with pytest.raises(ValueError, match="no prompts '/nowhere/own.md'"):
        load("/nowhere/own.md")
    assert prompts.FOLDER.is_dir()
