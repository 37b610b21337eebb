"""Where the final answer is found, and what one normal form it has."""

import random
import time

import pytest

from mass_jax.tasks.mathematics import exact
from mass_jax.tasks.mathematics.answers import LONGEST, final_answer, has_open_box, marked_answer, own_words
from mass_jax.tasks.mathematics.normal_form import normal_form


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"\boxed{7}", "7"),
        (r"\fbox{7}", "7"),
        (r"\boxed 7 is it", "7"),
        (r"$\boxed{\frac{\sqrt{3}}{2}}$ and so on.", r"\frac{\sqrt{3}}{2}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{1}, no: \boxed{2}", "2"),
        ("\\boxed{3, 4\nand more}", "3, 4\nand more"),
        ("It is \\boxed{12$.\nNext line", "12"),
        (r"\boxedx{7} or 8", "8"),
        ("2 + 2 = 4\n#### 4\n", "4"),
        ("#### Step 2: add\nSo the total is 9.", "9"),
        ("The answer is 5. I am sure.", "5"),
        ("The answer is: **5** dollars", "5 dollars"),
        ("The answer to this is 3.5.", "3.5"),
        ("The answer is that both have 12 each.", "12"),
        ("Answer: Evelyn", "Evelyn"),
        ("Answer:\n\n(3, 4)", "(3, 4)"),
        ("Answer: He first has 16 - 3 - 4 = 9 eggs left. He sells them at $2, which makes $18.", "$18"),
        ("The answer is $x = \\frac{1}{2}$, since 2 divides 4.", r"x = \frac{1}{2}"),
        ("We add.\nSo $a$ is $7$.", "7"),
        ("We add 3 and 4 and get 7 apples", "7"),
        ("A list:\n- 18 apples", "18"),
        ("It falls by -3.5%", "-3.5%"),
        ("They leave at 5:00 pm", "5"),
        ("It costs $1,250.50, he says", "$1,250.50"),
        ("Evelyn", "Evelyn"),
        ("  \n ", ""),
        ("", ""),
        (r"5 or \boxed{}", ""),
    ],
)
def test_final_answer(text, answer):
    assert final_answer(text) == answer


def test_only_what_follows_an_echo_of_the_prompt_counts():
    prompt = "Is it \\boxed{1}  or\n2? The answer is 9."
    assert final_answer("Is it \\boxed{1} or 2? The answer is 9. I think 5", prompt) == "5"
    assert final_answer("Is it \\boxed{1} or 2? The answer is 9.", prompt) == ""
    # Asked again after the answer, it is the beginning of something else.
    assert final_answer(f"\\boxed{{2}}\n{prompt} \\boxed{{3}}", prompt) == "2"


def test_a_magnitude_that_is_asked_for_is_a_unit():
    prompt = "How many dozen eggs does she need?"
    assert normal_form(final_answer("\\boxed{7 dozen}", prompt)) == "7"
    assert normal_form(final_answer("\\boxed{7\\text{ dozen eggs}}", prompt)) == "7"
    assert normal_form(final_answer("\\boxed{7 thousand}", prompt)) == "7000"
    assert normal_form(final_answer("\\boxed{7 dozen}", "How many eggs are in a dozen boxes?")) == "84"


@pytest.mark.parametrize(
    ("prompt", "form"),
    [
        ("Eggs come in dozens. How many eggs does he buy?", "84"),
        ("Eggs are sold in dozens; how many eggs does he buy?", "84"),
        ("She paid in dozen packs. How many eggs?", "84"),
        ("How many eggs are in dozen packs?", "84"),
        ("How many dozen does Mr. Smith buy?", "7"),
        ("What is it, in dozens?", "7"),
        ("Tell how many there are. Answer in dozens.", "7"),
        ("The number of eggs in dozens is what?", "7"),
    ],
)
def test_a_magnitude_is_asked_for_in_the_last_sentence(prompt, form):
    assert normal_form(final_answer("\\boxed{7 dozen}", prompt)) == form


@pytest.mark.parametrize(
    "heading", ["Problem:", "**Problem:**", "## New Problem 2:", "Q:", "Question 3 :", "Example 1:"]
)
def test_a_further_problem_does_not_count(heading):
    assert final_answer(f"It is 4.\n\n{heading} 2 + 3\n\\boxed{{5}}") == "4"
    assert final_answer(f"{heading} 2 + 3\nIt is 5") == "5"


def test_reasoning_does_not_count():
    assert own_words("<think>\\boxed{1}</think>\n I say 2") == "I say 2"


def test_marked_answers_and_open_boxes():
    assert marked_answer("It is 5") is None
    assert marked_answer("\\boxed{}") == ""
    assert has_open_box("\\boxed{5} \\boxed{6") and has_open_box("\\boxed{5")
    assert not has_open_box("\\boxed{5}") and not has_open_box("5")


@pytest.mark.parametrize(
    ("answer", "form"),
    [
        ("  $18$. ", "18"),
        ("**18**", "18"),
        (r"\(18\)", "18"),
        (r"\left( 1 , 2 \right)", "(1,2)"),
        (r"\tfrac{1}{2}", r"\frac{1}{2}"),
        ("1,234,567", "1234567"),
        ("(1,234)", "(1,234)"),
        ("12,34", "12,34"),
        (r"5\!000", "5000"),
        ("5 cm", "5"),
        ("5cm", "5"),
        ("5 miles per hour", "5"),
        ("3 x", "3 x"),
        ("5 km^2", "5"),
        (r"\frac{3}{4}\text{ of it}", r"\frac{3}{4}"),
        (r"\text{5 apples}", "5"),
        (r"45^{\circ}", "45"),
        ("-$5", "-5"),
        ("$-5", "-5"),
        ("½", "1/2"),
        ("2½", "2 1/2"),
        ("\u200b7\ufeff", "7"),
        ("approximately 7", "7"),
        ("sqrt(5)", r"\sqrt{5}"),
        ("x**12", "x^{12}"),
    ],
)
def test_normal_form(answer, form):
    assert normal_form(answer) == form
    assert normal_form(form) == form


@pytest.mark.parametrize(
    ("text", "value"),
    [("7", 7), ("-0.5", -0.5), (".5", 0.5), ("1e3", 1000), (r"2\times 10^{-2}", 0.02), ("3 1/4", 3.25), ("1/4", 0.25)]
    + [(r"1\frac{1}{4}", 1.25), (r"-\frac{1}{4}", -0.25), (r"0.2\overline{5}", 23 / 90), (r"\frac14", 0.25)],
)
def test_numbers(text, value):
    assert float(exact.number(text).value) == pytest.approx(value, rel=1e-12) and not exact.number(text).percent
    assert exact.number(f"{text}%") == (exact.number(text).value, True)


@pytest.mark.parametrize(
    "text", ["", "x", "1/0", "1.2.3", "1e999", "9" * 100, "--1", "1/", "٣", "1_000", "0x10", "inf"]
)
def test_what_is_not_a_plain_number(text):
    assert exact.number(text) is None


def test_nothing_raises_and_nothing_takes_long():
    rng = random.Random(0)
    pieces = [
        "\\boxed{",
        "}",
        "{",
        "$",
        "\\(",
        "\\)",
        "####",
        "answer is",
        "Answer:",
        "Problem:",
        "\n",
        " ",
        "5",
        ",",
        ".",
        "/",
    ]
    pieces += [
        "\\text{",
        "\\frac",
        "%",
        "**",
        "½",
        "\u2212",
        "\udc80",
        "\x00",
        "x",
        "\\",
        "and",
        "^",
        "</think>",
        "e9",
        "_",
    ]
    start = time.thread_time()
    for _ in range(1000):
        text = "".join(rng.choices(pieces, k=rng.randrange(40)))
        exact.compare(normal_form(final_answer(text, "5 x")), normal_form(text))
    assert time.thread_time() - start < 10


@pytest.mark.parametrize(
    "piece",
    ["\\(", "$", " ", "\n ", "\\boxed{", "1,", "answer ", "#", "a.", "\\text{ ", "- ", "{", "1 "]
    + ["\\boxed{1} ", "not 5 ", "not $ ", "answer is not ", "1 thousand ", "<think>", "=", "^(", "\nProblem: "],
)
def test_endless_repetitions_take_no_quadratic_time(piece):
    text = "\n" + piece * (LONGEST // len(piece))
    start = time.thread_time()
    answer = final_answer(text, "a b")
    normal_form(answer[:1001])
    normal_form(f"3 {piece * 500}!"[:1001])
    assert time.thread_time() - start < 2
