r"""What counts as right: a reference answer, a completion, and the field's verdict.

A completion without any mark of its answer is written in a box by the test. `KNOWN` are the pairs where the verdict is
not what a mathematician would say; they stand here so that a change of it is noticed. `grading.jsonl` has whole
completions, each with its reason.
"""

import json
from pathlib import Path

import pytest

from mass_jax.tasks.mathematics.answers import final_answer

RIGHT, WRONG = True, False

TABLE = [
    # integers and decimals
    ("18", "18", RIGHT),
    ("18", "18.00", RIGHT),
    ("18", "018", RIGHT),
    ("18", "81", WRONG),
    ("18", "18.5", WRONG),
    ("-3", "3", WRONG),
    ("1000000007", "1000000008", WRONG),
    ("0.5", ".5", RIGHT),
    ("0", "0.0000001", WRONG),
    # fractions
    (r"\frac{1}{2}", "0.5", RIGHT),
    (r"\frac12", r"\dfrac{2}{4}", RIGHT),
    (r"\frac{3}{4}", "3/4", RIGHT),
    (r"-\frac{1}{2}", r"\frac{-1}{2}", RIGHT),
    (r"\frac{1}{2}", r"\frac{2}{1}", WRONG),
    (r"\frac{1}{3}", "0.333333", RIGHT),
    (r"\frac{1}{3}", "0.33", WRONG),
    (r"0.\overline{3}", r"\frac{1}{3}", RIGHT),
    (r"0.1\overline{6}", r"\frac{1}{6}", RIGHT),
    (r"\frac{1}{0}", "1", WRONG),
    # mixed numbers
    (r"3\frac{1}{2}", r"\frac{7}{2}", RIGHT),
    ("3.5", "3 1/2", RIGHT),
    ("3.5", "3½", RIGHT),
    (r"-1\frac{1}{2}", "-1.5", RIGHT),
    ("3.5", "31/2", WRONG),
    # thousands separators
    ("10000", "10,000", RIGHT),
    ("10,000", r"10{,}000", RIGHT),
    ("1234567", r"1\,234\,567", RIGHT),
    ("1234567.5", "1,234,567.5", RIGHT),
    ("(1,234)", "1234", WRONG),
    ("1234", "1,2,3,4", WRONG),
    # scientific notation
    ("1500", r"1.5 \times 10^3", RIGHT),
    ("1500", "1.5e3", RIGHT),
    ("0.0003", r"3 \cdot 10^{-4}", RIGHT),
    ("1500", r"1.5 \times 10^4", WRONG),
    # percentages
    (r"50\%", "50", RIGHT),
    ("50", r"50\%", RIGHT),
    (r"50\%", "0.5", RIGHT),
    (r"12.5\%", "12.5 percent", RIGHT),
    (r"50\%", "5", WRONG),
    # currencies
    ("18", r"\$18", RIGHT),
    ("18", "The answer is $18.", RIGHT),
    (r"\$18.90", "18.9", RIGHT),
    ("18", "€18", RIGHT),
    ("18", "18 dollars", RIGHT),
    (r"\$18", r"\$19", WRONG),
    # units and degrees
    (r"10\text{ cm}", "10", RIGHT),
    ("10", r"10\text{ cm}^2", RIGHT),
    ("10", r"10~\mathrm{m/s}", RIGHT),
    ("10", "10 square feet", RIGHT),
    ("5", "5 hours", RIGHT),
    (r"90^\circ", "90", RIGHT),
    ("90", "90°", RIGHT),
    ("90", "90 degrees", RIGHT),
    ("2", "2x", WRONG),
    ("3", "3t", WRONG),
    ("2t", "2s", WRONG),
    # surds and constants
    (r"2\sqrt{3}", r"\sqrt{12}", RIGHT),
    (r"\frac{\sqrt{2}}{2}", r"\frac{1}{\sqrt2}", RIGHT),
    (r"11\sqrt2", "11√2", RIGHT),
    (r"2\sqrt{3}", "2sqrt(3)", RIGHT),
    (r"2\sqrt{3}", r"3\sqrt{2}", WRONG),
    (r"6\pi", "6π", RIGHT),
    (r"6\pi", "6*pi", RIGHT),
    (r"6\pi", "18.85", WRONG),
    (r"\sqrt[3]{8}", "2", RIGHT),
    # algebra
    ("x^2+2x+1", "(x+1)^2", RIGHT),
    ("x^2", "x**2", RIGHT),
    ("x^2-1", "x^2+1", WRONG),
    (r"\frac{x}{2}", "0.5x", RIGHT),
    ("3+4i", "4i+3", RIGHT),
    ("2^{100}", "1267650600228229401496703205376", RIGHT),
    (r"\binom{5}{2}", "10", RIGHT),
    ("5!", "120", RIGHT),
    # equations
    ("5", "x = 5", RIGHT),
    ("x=5", "5", RIGHT),
    ("x=5", "x = 5.0", RIGHT),
    ("x=5", "x=6", WRONG),
    ("x=5", "y=5", WRONG),
    ("2x+3", "y = 2x + 3", RIGHT),
    ("y=2x+3", "y-2x=3", RIGHT),
    ("x^2", "f(x) = x^2", RIGHT),
    # tuples, sets, lists
    ("(1,2)", "(1, 2)", RIGHT),
    ("(1,2)", "(2,1)", WRONG),
    (r"\left(\frac{1}{2},3\right)", "(0.5, 3)", RIGHT),
    ("(1,2,3)", "(1,3,2)", WRONG),
    (r"\{1,2\}", r"\left\{2, 1\right\}", RIGHT),
    ("1,2", "2, 1", RIGHT),
    ("1,2", "1, 3", WRONG),
    ("1,2", r"1 \text{ and } 2", RIGHT),
    ("1,2", "1 or 2", RIGHT),
    (r"3 \pm 2\sqrt2", r"3+2\sqrt{2}, 3-2\sqrt{2}", RIGHT),
    (r"\emptyset", r"\{\}", RIGHT),
    # intervals
    (r"[0,\infty)", r"\left[0, \infty\right)", RIGHT),
    ("(1,2)", "[1,2]", WRONG),
    (r"(-\infty,2)\cup(3,\infty)", r"(3,\infty) \cup (-\infty,2)", RIGHT),
    ("(-1,1)", "-1 < x < 1", RIGHT),
    ("[0,1]", r"x \in [0,1]", RIGHT),
    (r"x \ge 3", r"x > 3", WRONG),
    (r"(-\infty, 3]", "(−∞, 3]", RIGHT),
    # matrices
    (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{bmatrix} 1 & 2 \\ 3 & 4 \end{bmatrix}", RIGHT),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}2\\1\end{pmatrix}", WRONG),
    (r"\begin{pmatrix}1/2\\2\end{pmatrix}", r"\begin{pmatrix}0.5\\2\end{pmatrix}", RIGHT),
    # text answers
    (r"\text{Evelyn}", "Evelyn", RIGHT),
    (r"\text{Evelyn}", r"\text{ evelyn }", RIGHT),
    (r"\text{Evelyn}", "Angela", WRONG),
    (r"\text{(B)}", "B", RIGHT),
    ("B", "(B)", RIGHT),
    (r"\text{(B)}", "C", WRONG),
    (r"\text{even}", "The answer is even.", RIGHT),
    # numerals of another base
    ("52_8", "52_{8}", RIGHT),
    ("52_8", "52", RIGHT),
    ("52_8", "52_7", WRONG),
    # unicode
    ("12", "１２", RIGHT),
    ("-5", "−5", RIGHT),
    ("12", "١٢", RIGHT),
    ("1234", "1 234", RIGHT),
    (r"2\cdot 3", "2·3", RIGHT),
    ("6000", "6×10³", RIGHT),
    (r"x \le 2", "x ≤ 2", RIGHT),
    # several boxes, unterminated, empty, none
    ("2", r"First \boxed{1}, then \boxed{2}.", RIGHT),
    ("1", r"First \boxed{1}, then \boxed{2}.", WRONG),
    (r"\frac{1}{2}", r"So it is \boxed{\frac{1}{2}", RIGHT),
    ("5", r"I get \boxed{", WRONG),
    ("5", r"It was 5, so \boxed{}.", WRONG),
    ("5", "", WRONG),
    ("5", "The answer is", WRONG),
    ("5", "I do not know.", WRONG),
    # other marks
    ("1234", "So 1000 + 234.\n#### 1,234", RIGHT),
    ("18", "She makes 9 * 2 = 18 dollars every day.", RIGHT),
    ("18", "The answer is that she makes 18 dollars.", RIGHT),
    ("18", "**Final answer:** 18", RIGHT),
    (r"\frac{3}{4}", "Final Answer: The final answer is $\\frac{3}{4}$. I hope it is correct.", RIGHT),
    ("18", r"The answer is \(18\)", RIGHT),
    ("5", "Hence $x = 5$.", RIGHT),
    # prompt echo and what a base model writes after its answer
    ("4", "What is \\boxed{3} + 1? It is \\boxed{4}.", RIGHT),
    ("3", "What is \\boxed{3} + 1? I cannot say", WRONG),
    ("4", "It is \\boxed{4}.\n\nProblem:\nWhat is 2 + 3?\nSolution:\n\\boxed{5}", RIGHT),
    ("5", "It is \\boxed{4}.\n\nProblem:\nWhat is 2 + 3?\nSolution:\n\\boxed{5}", WRONG),
    ("4", "<think>Perhaps \\boxed{3}?</think>\\boxed{4}", RIGHT),
]
PROMPT = "What is \\boxed{3} + 1?"

KNOWN = [
    ("10 cm", "10 m", RIGHT),  # units are removed, so wrong ones are not noticed
    ("1,1,2", "1,2", RIGHT),  # a list is compared as a set
    ("(1,2)", "1,2", RIGHT),  # brackets around a list may be missing
    (r"\{1,2\}", "(1,2)", RIGHT),
    ("100,200", "200,100", WRONG),  # read as 100200; with a space after the comma it would be a list
    (r"\sin 30^\circ", r"\frac{1}{2}", WRONG),  # the degree sign is removed
    (r"e^{i\pi}", "-1", WRONG),  # i is a variable
    ("18", "eighteen", WRONG),
    ("ABC", "CBA", RIGHT),  # a product of variables
]


ROWS = [json.loads(line) for line in Path(__file__).with_name("grading.jsonl").read_text("utf-8").splitlines()]


def completion(text: str) -> str:
    marked = any(mark in text for mark in ("boxed", "####", "answer", "Answer", "is", "makes", "know", "Hence"))
    return text if marked or not text else rf"\boxed{{{text}}}"


@pytest.fixture(scope="module")
def verdicts(grader):
    """All of the table in one batch."""
    rows = TABLE + KNOWN
    pairs = [(final_answer(rf"\boxed{{{ref}}}"), final_answer(completion(text), PROMPT)) for ref, text, _ in rows]
    return dict(zip([row[:2] for row in rows], grader.grade_many(pairs), strict=True))


def test_the_table_is_large_and_has_both_verdicts():
    assert len({row[:2] for row in TABLE}) == len(TABLE) >= 80
    assert sum(right for *_, right in TABLE) >= 30 and sum(not right for *_, right in TABLE) >= 30


@pytest.mark.parametrize(("reference", "text", "right"), TABLE)
def test_verdict(verdicts, reference, text, right):
    assert verdicts[reference, text].correct is right, verdicts[reference, text].reason


@pytest.mark.parametrize(("reference", "text", "right"), KNOWN)
def test_known_disagreements_have_not_changed(verdicts, reference, text, right):
    assert verdicts[reference, text].correct is right, verdicts[reference, text].reason


def test_every_reference_equals_itself(grader):
    references = [reference for reference, *_ in TABLE if reference]
    assert all(verdict.correct for verdict in grader.grade_many([(r, r) for r in references]))


@pytest.fixture(scope="module")
def row_verdicts(grader):
    return grader.grade_many([(row["reference"], final_answer(row["completion"])) for row in ROWS])


@pytest.mark.parametrize("i", range(len(ROWS)), ids=[f"{row['reference']}|{row['completion']}" for row in ROWS])
def test_row(row_verdicts, i):
    assert row_verdicts[i].correct is ROWS[i]["correct"], f"{ROWS[i]['why']}: {row_verdicts[i].reason}"
