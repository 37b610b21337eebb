"""Equivalence of two answers by math-verify (https://github.com/huggingface/Math-Verify): what grading's workers run.

`sandbox.pool` loads this file by itself, so it imports nothing of the package, and starts in the time that SymPy takes.
"""

import re

WARM_UP = (
    (r"\frac{1}{2}", "0.5", True),
    (r"\frac{1}{2000}", "0.0005", True),
    ("x+1", "2+x", False),
    ("x^2-1", "(x-1)(x+1)", True),
    (r"\sin(x)", r"\cos(x)", False),
    (r"\sqrt{8}", r"2\sqrt{2}", True),
    (r"\{1,2\}", r"\{2,1\}", True),
    ("(1,2)", "(1,3)", False),
    (r"[0,1)\cup(2,3)", r"(2,3)\cup[0,1)", True),
    ("x=5", "5", True),
    (r"x\le 3", r"3\ge x", True),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}1\\3\end{pmatrix}", False),
    (r"\int_0^1 x dx", r"\frac{1}{2}", True),
)
"""Comparisons of every kind and whether they are equal: what a first one imports and builds, no answer's time pays."""


def prepare() -> None:
    """Import everything, and compare some answers of every kind.

    Raises:
      SystemExit: one was compared wrongly.
    """
    for reference, answer, equal in WARM_UP:
        if bool(equivalent(reference, answer)) != equal:
            raise SystemExit(f"math-verify should find {reference} and {answer} {'equal' if equal else 'different'}.")


def judge(reference: str, answer: str) -> bool:
    """`equivalent`; what math-verify cannot compare is not equal."""
    try:
        return bool(equivalent(reference, answer))
    except Exception:  # among them RecursionError and MemoryError
        return False


def equivalent(reference: str, answer: str) -> bool:
    """Whether two answers in normal form are the same mathematics. It may take forever, or all memory."""
    return all(_equal(reference, side) for side in sides(reference, answer))


def sides(reference: str, answer: str) -> list[str]:
    """The sides that must equal the reference: the last, and all without variables; of no equation the whole answer."""
    *others, last = answer.split("=") if "=" not in reference and "," not in answer else [answer]
    if others and re.fullmatch("[A-Za-z]", last):  # 5=x
        *others, last = others
    return [last, *(side for side in others if not re.search("[A-Za-z]", re.sub(r"\\[A-Za-z]+", "", side)))]


def _equal(reference: str, answer: str) -> bool:
    from latex2sympy2_extended import NormalizationConfig
    from math_verify import parse, verify
    from math_verify.parser import LatexExtractionConfig

    # Units are gone already: math-verify would also take the t of 3t for one. Its own time-outs are off, since they
    # are exceptions, which neither a loop in C nor the libraries' many handlers let through.
    normalization = NormalizationConfig(basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="all")
    targets = [LatexExtractionConfig(boxed_match_priority=0, normalization_config=normalization)]
    expressions = [parse(rf"\boxed{{{text}}}", targets, parsing_timeout=None) for text in (reference, answer)]
    if small := _small(*(each[0] if each else None for each in expressions)):
        expressions = [[small[0]], [small[1]]]
    return verify(*expressions, allow_set_relation_comp=True, timeout_seconds=None)


def _small(reference: object, answer: object) -> tuple[object, object] | None:
    """Two numbers times the power of ten that lifts the reference to 1: math-verify compares absolute differences."""
    import sympy

    if not isinstance(reference, sympy.Expr) or not isinstance(answer, sympy.Expr):
        return None
    if reference.has(sympy.UnevaluatedExpr) or answer.has(sympy.UnevaluatedExpr):  # a percent sign
        return None
    size = abs(reference.doit().evalf(15)) if not (reference.free_symbols | answer.free_symbols) else None
    if size is None or not size.is_Float or not 0 < size < sympy.Rational(1, 1000):
        return None
    scale = sympy.Integer(10) ** -sympy.floor(sympy.log(size, 10))
    return reference.doit() * scale, answer.doit() * scale
