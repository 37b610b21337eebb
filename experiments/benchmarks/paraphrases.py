r"""Ways to write an answer that keep its value, and systematic ways to get it wrong.

Each is a function from an `Answer` to a completion, or to None where it does not apply: there are no thousands to
separate in 7, and half of 0 is no wrong answer. Values are told apart here by fractions alone, not by the grader that
is audited.
"""

import re
from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

from mass_jax.tasks.mathematics import exact

_PAIR = re.compile(r"([(\[])\s*([^()\[\],]+),([^()\[\],]+)([)\]])")


_RAISED = "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079"


class Answer(NamedTuple):
    """A reference answer.

    Attributes:
      text: as it is written.
      kind: ``number``, ``pair`` (a point of the plane or an interval), ``tuple``, ``list``, ``base``, ``words``,
        ``equation``, ``matrix`` or ``expression``.
      value: of a number; 0 for the rest.
    """

    text: str
    kind: str
    value: Fraction = Fraction(0)

    @property
    def whole(self) -> int | None:
        """The number if it is an integer written in figures alone."""
        return int(self.text) if re.fullmatch(r"-?\d{1,30}", self.text, re.A) else None


Change = Callable[[Answer], str | None]


def classify(text: str) -> Answer:
    """What kind of answer a reference is."""
    plain = re.sub(
        r"\\(?:left|right)|\s*\\!\s*|\\?\$|\\?%|\^\{?\\circ\}?|(?<=\S)\s*\\text\s*\{[^{}\d]*\}$", "", text
    ).strip()
    plain = re.sub(r"\\[dt]frac", r"\\frac", plain)
    plain = plain.replace(",", "") if re.fullmatch(r"-?\d{1,3}(?:,\s?\d{3})+(?:\.\d+)?", plain) else plain
    number = exact.number(re.sub(r"\\frac\s*(\d)\s*(\d)(?!\d)", r"\\frac{\1}{\2}", plain))
    if number:
        return Answer(text, "number", number.value)
    kinds = (
        ("matrix", r"\\begin"),
        ("words", r"^\(?\\(?:text|mbox)\s*\{|^[A-Za-z]{3,}|^\(?[A-Z]\)?$"),
        ("base", r"^[\dA-F.]+_"),
        ("equation", r"=|<|>|\\[lg]e|\\in\b"),
        ("pair", rf"^{_PAIR.pattern}$"),
        ("tuple", r"^\([^()]*,[^()]*\)$"),
        ("list", r",|\\text\s*\{\s*and"),
    )
    return Answer(text, next((kind for kind, pattern in kinds if re.search(pattern, plain)), "expression"))


def box(answer: str | None) -> str | None:
    """A completion that ends in a box."""
    return None if answer is None else f"So we get \\boxed{{{answer}}}."


def _boxed(change: Change) -> Change:
    return lambda answer: box(change(answer))


def _replaced(pattern: str, replacement: str) -> Change:
    """The answer with every match replaced; None where there is none."""

    def change(answer: Answer) -> str | None:
        changed = re.sub(pattern, replacement, answer.text)
        return changed if changed != answer.text else None

    return change


def _whole(change: Callable[[int], str | None]) -> Change:
    return lambda answer: None if answer.whole is None else change(answer.whole)


def _grouped(mark: str) -> Change:
    return _whole(lambda n: f"{n:,}".replace(",", mark) if abs(n) >= 1000 else None)


def _number(change: Callable[[Fraction], str | None]) -> Change:
    return lambda answer: change(answer.value) if answer.kind == "number" and "%" not in answer.text else None


def _ratio(value: Fraction) -> str:
    return str(value.numerator) if value.denominator == 1 else rf"\frac{{{value.numerator}}}{{{value.denominator}}}"


def _decimal(value: Fraction) -> str | None:
    """The decimal, where it ends within nine places."""
    return f"{float(value):.9f}".rstrip("0") if value.denominator > 1 and 10**9 % value.denominator == 0 else None


def _tripled(value: Fraction) -> str | None:
    """The fraction with both of its parts three times as large."""
    return None if value.denominator == 1 else rf"\frac{{{3 * value.numerator}}}{{{3 * value.denominator}}}"


def _without_zero(value: Fraction) -> str | None:
    return (_decimal(value) or "").replace("0.", ".", 1) or None if abs(value) < 1 else None


def _in_thousands(number: int) -> str | None:
    return f"{number / 1000:g} thousand" if 100 <= number < 10**6 and not number % 10 else None


def _mixed(value: Fraction) -> str | None:
    whole, rest = divmod(abs(value.numerator), value.denominator)
    return f"{'-' * (value < 0)}{whole}\\frac{{{rest}}}{{{value.denominator}}}" if whole and rest else None


def _stated(form: str, *kinds: str) -> Change:
    """A sentence around an answer of one of the kinds; around any where none is given."""
    return lambda a: form.format(a.text) if not kinds or a.kind in kinds and "_" not in a.text else None


def _counted(form: str) -> Change:
    return _whole(lambda n: form.format(n, n - 1, n + 1))


RIGHT: dict[str, Change] = {
    "box": lambda a: box(a.text),
    "box in dollars": _stated("So $\\boxed{{{0}}}$."),
    "box on its own line": _stated("So\n\\[\n\\boxed{{{0}}}\n\\]"),
    "box around dollars": _stated("\\boxed{{${0}$}}", "number", "expression", "pair", "tuple", "equation"),
    "fbox": _stated("So \\fbox{{{0}}}."),
    "the answer is $x$": _stated("The answer is ${0}$."),
    "the final answer is, I hope": _stated("Final Answer: The final answer is ${0}$. I hope it is correct."),
    "bold heading": _stated("**Answer:** ${0}$"),
    "the answer is x": _stated("The answer is {0}."),
    "a heading without a colon": _stated("### Final Answer\n\n{0}"),
    "spacing in the box": _stated("\\boxed{{\\;{0}\\;}}"),
    "bold": _counted("The answer is **{0}**."),
    "hashes": _counted("#### {0}"),
    "a reason behind": _counted("The answer is {0} apples, because {1} + 1 = {0}."),
    "another number denied": _counted("So the answer is {0}, not {1}."),
    "other numbers behind": _counted("The answer is {0} per day for 7 eggs.\n\nTell me if you have 2 more questions."),
    "a closed thought": _counted("<think>Perhaps \\boxed{{{1}}}?</think>It is \\boxed{{{0}}}."),
    "a further problem": _counted("It is \\boxed{{{0}}}.\n\nProblem: 1 + 1?\nSolution: \\boxed{{2}}"),
    "an equation": _boxed(_counted("{1} + 1 = {0}")),
    "a sentence": _boxed(_counted("\\text{{Tom has {0} apples}}")),
    "unit in words": _boxed(_counted("{0} square feet")),
    "unit upright": _boxed(_counted("{0}\\text{{ cm}}^2")),
    "unit compound": _boxed(_counted("{0} km/h")),
    "currency": _boxed(_counted("\\${0}")),
    "currency in words": _boxed(_counted("{0} dollars")),
    "upright": _boxed(_counted("\\text{{{0}}}")),
    "bold in the box": _boxed(_counted("\\mathbf{{{0}}}")),
    "named": _boxed(_counted("x = {0}")),
    "decimal zeros": _boxed(_counted("{0}.00")),
    "commas": _boxed(_grouped(",")),
    "commas in braces": _boxed(_grouped("{,}")),
    "thin spaces": _boxed(_grouped("\\,")),
    "spaces": _boxed(_grouped(" ")),
    "magnitude in words": _boxed(_whole(_in_thousands)),
    "fraction of one": _boxed(_whole(lambda n: f"\\frac{{{2 * n}}}{{2}}")),
    "percent sign, which does not count": _boxed(_counted("{0}\\%")),
    "full width": _boxed(_whole(lambda n: "".join(chr(0xFEE0 + ord(c)) for c in str(n)) if n >= 0 else None)),
    "times one": _boxed(_whole(lambda n: f"{n} \\times 1")),
    "unicode minus": _boxed(_replaced("-", "\u2212")),
    "unicode root": _boxed(_replaced(r"\\sqrt\s*\{(\d+)\}", "\u221a\\1")),
    "unicode pi": _boxed(_replaced(r"\\pi(?![a-z])", "\u03c0")),
    "unicode infinity": _boxed(_replaced(r"\\infty", "\u221e")),
    "plain root": _boxed(_replaced(r"\\sqrt\s*\{(\d+)\}", r"sqrt(\1)")),
    "upright i": _boxed(_replaced(r"(?<![a-zA-Z{])i(?![a-zA-Z}])", r"\\mathrm{i}")),
    "dfrac": _boxed(_replaced(r"\\[dt]?frac", r"\\dfrac")),
    "short frac": _boxed(_replaced(r"\\frac\{(\d)\}\{(\d)\}", r"\\frac\1\2")),
    "slash": _boxed(_replaced(r"^(-?)\\[dt]?frac\{(\d+)\}\{(\d+)\}$", r"\1\2/\3")),
    "equal fraction": _boxed(_number(_tripled)),
    "fraction of a decimal": _boxed(_number(lambda v: _ratio(v) if v.denominator > 1 else None)),
    "mixed number": _boxed(_number(_mixed)),
    "decimal": _boxed(_number(_decimal)),
    "no leading zero": _boxed(_number(_without_zero)),
    "left and right": _boxed(_replaced(r"(?<!left)(?<!\\)\(([^()]*)(?<!\\right)\)", r"\\left(\1\\right)")),
    "spaces behind commas": _boxed(_replaced(r"(?<=[\w)}]),\s*(?=[-\\(\w])(?!\s*\\!)(?!\d{3})", ", \\\\, ")),
    "no spaces": _boxed(_replaced(r"(?<=[^a-zA-Z,]) (?=[^a-zA-Z,])(?![^{]*\\text)", "")),
    "word without command": _boxed(_replaced(r"^\\text\{([A-Za-z]{3,})\}$", r"\1")),
    "word in capitals": _boxed(_replaced(r"^\\text\{([a-z]{3,})\}$", r"\\textbf{\1}")),
    "base in braces": _boxed(_replaced(r"_\{?(\d+)\}?$", r"_{\1}")),
}  # fmt: skip
"""Completions with the reference's value."""


def _wrong(form: str, unless: Callable[[Fraction], bool] = lambda v: False) -> Change:
    """An expression of the number or expression; not where the number's value makes it no other value."""

    def change(answer: Answer) -> str | None:
        if answer.kind == "number":
            plain = re.sub(r"\\?\$|\\text\s*\{.*|\\!|\^\{?\\circ\}?.*", "", answer.text).strip()
            return None if "%" in plain or unless(answer.value) else form.format(plain)
        return (
            form.format(answer.text)
            if answer.kind == "expression" and not re.search(r"\\pm|text|:", answer.text)
            else None
        )

    return change


def _other(change: Callable[[Fraction], Fraction]) -> Change:
    """Another number, computed."""

    def changed(answer: Answer) -> str | None:
        if answer.kind != "number" or "%" in answer.text or change(answer.value) == answer.value:
            return None
        other = change(answer.value)
        return (_decimal(other) if "." in answer.text else None) or _ratio(other)

    return changed


def _digits(change: Callable[[str], str]) -> Change:
    """Other figures, which happen to be no other way to write the number."""
    return _whole(lambda n: text if (text := change(str(n))) not in ("", "-") and int(text) != n else None)


def _of(kinds: str, pattern: str, replacement: str | Callable[[re.Match[str]], str]) -> Change:
    """The first match replaced, in answers of some kinds."""

    def change(answer: Answer) -> str | None:
        changed = re.sub(pattern, replacement, answer.text, count=1)
        return changed if answer.kind in kinds.split() and changed != answer.text else None

    return change


def _swapped(match: re.Match[str]) -> str:
    opening, first, second, closing = match.groups()
    return f"{opening}{second.strip()},{first.strip()}{closing}"


def _next_integer(match: re.Match[str]) -> str:
    return str(int(match[0]) + 1)


_WORDS = ("thousand", "million", "billion", "dozen", "hundred")
_NOT_0 = lambda v: v == 0  # noqa: E731
_NOT_0_1 = lambda v: v in (0, 1)  # noqa: E731

WRONG: dict[str, Change] = {
    "x + 1": _boxed(_other(lambda v: v + 1)),
    "x - 1": _boxed(_other(lambda v: v - 1)),
    "-x": _boxed(_other(lambda v: -v)),
    "10x": _boxed(_other(lambda v: 10 * v)),
    "x / 10": _boxed(_other(lambda v: v / 10)),
    "x / 2": _boxed(_other(lambda v: v / 2)),
    "1 / x": _boxed(_other(lambda v: 1 / v if v else v)),
    "x + 1, written out": _boxed(_wrong("{0}+1")),
    "-x, written out": _boxed(_wrong("-({0})", _NOT_0)),
    "10x, written out": _boxed(_wrong("10 \\cdot ({0})", _NOT_0)),
    "x / 2, written out": _boxed(_wrong("\\frac{{{0}}}{{2}}", _NOT_0)),
    "x^2": _boxed(_wrong("({0})^2", _NOT_0_1)),
    "sqrt x": _boxed(_wrong("\\sqrt{{{0}}}", _NOT_0_1)),
    "root of Unicode": _boxed(_whole(lambda n: f"\u221a{n}" if n > 1 else None)),
    "square of Unicode": _boxed(_whole(lambda n: f"{n}\u00b2" if n > 1 else None)),
    "squared in words": _boxed(_whole(lambda n: f"{n} squared" if n > 1 else None)),
    "last figure raised": _boxed(_whole(lambda n: str(n)[:-1] + _RAISED[n % 10] if n > 9 else None)),
    "xi": _boxed(_wrong("({0})i", _NOT_0)),
    "x y": _boxed(_whole(lambda n: f"{n}y" if n else None)),
    **{f"x {word}": _boxed(_wrong(f"{{0}} {word}", _NOT_0)) for word in _WORDS},
    "x thousand, upright": _boxed(_wrong("{0}\\text{{ thousand}}", _NOT_0)),
    "xk": _boxed(_whole(lambda n: f"{n}k" if n else None)),
    "0.01x percent": _boxed(_number(lambda v: f"{_decimal(v / 100)}\\%" if v and _decimal(v / 100) else None)),
    "figure dropped": _boxed(_digits(lambda d: d[:-1])),
    "first figure dropped": _boxed(_digits(lambda d: d.lstrip("-")[1:])),
    "figures turned": _boxed(_digits(lambda d: d[::-1] if d[0] != "-" else "-" + d[:0:-1])),
    "figure doubled": _boxed(_digits(lambda d: d + d[-1])),
    "x or x + 1": _counted("The answer is {0} or {2}."),
    "two boxes": _counted("It is \\boxed{{{0}}} or \\boxed{{{2}}}."),
    "not x": _counted("The answer is not {0}."),
    "an open thought": _counted("<think>Perhaps \\boxed{{{0}}}"),
    "a false equation": _boxed(_counted("{1} = {0}")),
    "x in the reason": _counted("The answer is {2}, because {0} + 1 = {2}."),
    "x denied": _counted("The answer is {2}, not {0}."),
    "swapped": _boxed(_of("pair", _PAIR.pattern, _swapped)),
    "other brackets": _boxed(_of("pair", r"^(?:\\left)?\s*\((.*?)(?:\\right)?\s*\)$", r"[\1]")),
    "first end": _boxed(_of("pair", r"\[(?!\s*-\s*\\infty)(?=.*\)$)", "(")),
    "last end": _boxed(_of("pair", r"(?<!infty)(?<!infty )\](?!.)", ")")),
    "an entry + 1": _boxed(_of("pair tuple list matrix", r"(?<![\d{])\d+", _next_integer)),
    "an entry fewer": _boxed(_of("tuple list", r"^(\(?)[^,a-z]*,\s*", r"\1")),
    "an entry negated": _boxed(_of("pair tuple", r"^(\W*?)(?=[1-9])", r"\1-")),
    "another coefficient": _boxed(_of("equation expression", r"(?<![\d{^_.])[1-9]\d*", _next_integer)),
    "another word": _boxed(_of("words", r"(?<=\{)\w+|^\w+", "banana")),
    "not the word": _boxed(_of("words", r"(?<=\{)(?=[a-z])", "not ")),
    "another letter": _boxed(_of("words", r"(?<![A-Za-z])[A-Y](?![A-Za-z])", lambda m: chr(ord(m[0]) + 1))),
    "another base": _boxed(_of("base", r"_\{?(\d+)\}?$", lambda m: f"_{{{int(m[1]) + 1}}}")),
    "another numeral": _boxed(_of("base", r"\d(?=_)", lambda m: str((int(m[0]) + 1) % 2))),
}  # fmt: skip
"""Completions with another value."""
