"""Practice is read whatever a model puts around it; what lacks a part is malformed; nothing raises."""

import random
import time

import pytest

from mass_jax.tasks.base import MALFORMED, Practice
from mass_jax.tasks.mathematics.answers import final_answer, has_open_box
from mass_jax.tasks.mathematics.parser import LONGEST, parse_practice

WRITTEN = Practice("Tom has 3 hats. How many?", "He has 3.\nThe answer is \\boxed{3}.", True)
BODY, STEPS = WRITTEN.prompt, WRITTEN.solution


@pytest.mark.parametrize(
    "text",
    [
        f"Problem: {BODY}\nSolution: {STEPS}",
        f"Problem:\n{BODY}\n\nSolution:\n{STEPS}\n",
        f"problem : {BODY}\nSOLUTION : {STEPS}",
        f"**Problem:** {BODY}\n\n**Solution:** {STEPS}",
        f"**Problem**: {BODY}\n\n**Solution**: {STEPS}",
        f"**Problem**\n{BODY}\n\n**Solution**\n{STEPS}",
        f"### New Problem\n\n{BODY}\n\n### Step-by-step solution\n\n{STEPS}",
        f"Question: {BODY}\nAnswer: {STEPS}",
        f"**Question 1:** {BODY}\n**Answer:** {STEPS}",
        f"1. Problem: {BODY}\n2. Solution: {STEPS}",
        f"Problem 1: {BODY}\nSolution 1: {STEPS}",
        f"Practice problem: {BODY}\nSolution: {STEPS}",
        f"> Problem: {BODY}\n> Solution: {STEPS}",
        f"Problem: **{BODY}**\nSolution: {STEPS}",
        f"Sure! Here is a new problem.\n\nProblem: {BODY}\nSolution: {STEPS}",
        f"Given problem: something else?\n\nNew problem: {BODY}\nSolution: {STEPS}",
        f"Problem: something else?\n\nNew problem: {BODY}\nSolution: {STEPS}",
        f"Problem: {BODY}\n---\nSolution: {STEPS}\n---\nHope this helps, \\boxed it!"[: -len(" \\boxed it!")],
        f"Problem: {BODY}\nSolution: {STEPS}\n\nLet me know if you want another one!",
        f"Problem: {BODY}\nSolution: {STEPS}\n\nProblem: Another?\nSolution: \\boxed{{4}}",
        f"Problem: {BODY}\nSolution: {STEPS}\n**Problem 2**\nAnother?\n**Solution**\n\\boxed{{4}}",
        f"{BODY}\nSolution:\n{STEPS}",
        f" {BODY}\nSolution:\n{STEPS}\n\nProblem:\nAnother",
        f"<think>Problem: x\nSolution: \\boxed{{1}}</think>Problem: {BODY}\nSolution: {STEPS}",
        f"Problem: {BODY}\r\nSolution: {STEPS}".replace("\n", "\r\n").replace("\r\r", "\r"),
    ],
)
def test_variants_of_the_form(text):
    assert parse_practice(text) == WRITTEN


@pytest.mark.parametrize(
    ("solution", "read"),
    [
        ("He has 3.\n#### 3", "He has 3.\nThe answer is \\boxed{3}."),
        ("#### 1,200", "The answer is \\boxed{1,200}."),
        ("The answer is $\\frac{1}{2}$.", "The answer is $\\frac{1}{2}$.\nThe answer is \\boxed{\\frac{1}{2}}."),
        ("3\nFinal answer: 3", "3\nFinal answer: 3\nThe answer is \\boxed{3}."),
        ("So\n\\[\n\\boxed{3}\n\\]\n\nBye", "So\n\\[\n\\boxed{3}\n\\]"),
    ],
)
def test_other_marks_of_the_answer_become_a_box(solution, read):
    practice = parse_practice(f"Problem: {BODY}\nSolution: {solution}")
    assert practice == Practice(BODY, read, True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I cannot do that.",
        f"Problem: {BODY}",
        f"Problem: {BODY}\nSolution:",
        f"Problem: {BODY}\nSolution: He has 3.",
        f"<thinking>Problem: {BODY}\nSolution: {STEPS}",
        f"Problem: {BODY}\nSolution: He has \\boxed{{}}.",
        f"Problem: {BODY}\nSolution: He has \\boxed{{3",
        f"Problem: {BODY}\nSolution: The answer is ...",
        f"Problem:\nSolution: {STEPS}",
        f"Problem: ?!\nSolution: {STEPS}",
        f"Solution: {STEPS}",
        f"Problem: {BODY}\nSolution: none\n\nProblem: B?\nSolution: \\boxed{{4}}",
    ],
)
def test_what_lacks_a_part_is_malformed(text):
    assert parse_practice(text) == MALFORMED


PIECES = [
    "Problem:",
    "Solution:",
    "Answer:",
    "**",
    "###",
    "\n",
    "\n\n",
    "\\boxed{",
    "}",
    "{",
    "####",
    " ",
    "5",
    "x",
    "---",
    ":",
]
PIECES += [
    "The answer is",
    "Question 2:",
    "</think>",
    "\x00",
    "\udc80",
    "\u2028",
    "é",
    "$",
    "\\",
    "1.",
    ">",
    "\r",
    "\ufeff",
]


def test_it_never_raises_and_what_it_reads_is_complete():
    rng = random.Random(0)
    good = f"Problem: {BODY}\nSolution: {STEPS}\n\nBye"
    read = 0
    for i in range(6000):
        if i % 3 == 0:
            text = "".join(rng.choices(PIECES, k=rng.randrange(40)))
        elif i % 3 == 1:
            text = rng.randbytes(rng.randrange(200)).decode("latin-1")
        else:
            cuts = sorted(rng.randrange(len(good)) for _ in range(3))
            parts = [good[start:end] for start, end in zip([0, *cuts], [*cuts, None], strict=True)]
            text = "".join(part + rng.choice(PIECES) for part in parts)
        practice = parse_practice(text)
        if practice.well_formed:
            read += 1
            assert any(map(str.isalnum, practice.prompt))
            assert "\\boxed" in practice.solution and not has_open_box(practice.solution)
            assert final_answer(practice.solution)
        else:
            assert practice == MALFORMED
    assert 500 < read < 1990


@pytest.mark.parametrize(
    "piece", ["Problem:", "Solution:", "\n ", "\n**", " ", "*", "\\boxed{", "Solution:\n\\boxed{1}\n", "#"]
)
def test_endless_repetitions_take_no_quadratic_time(piece):
    start = time.thread_time()
    parse_practice("x\n" + piece * (LONGEST // len(piece)))
    assert time.thread_time() - start < 2
