"""The program of one grading process: equivalence of two answers by math-verify (https://github.com/huggingface/Math-Verify).

Run as a script, outside the package: it starts in the time that SymPy takes. Each line of standard input is the JSON
of ``[reference, answer, seconds]`` and each line written the JSON of whether they are equal; the first line says that
it is ready: everything is imported, and it has compared some answers of every kind rightly. It ends when its input
does. An expression that takes more than its seconds of processor time ends the process, by SIGPROF.
"""

import contextlib
import json
import logging
import os
import re
import resource
import signal
import sys

MEMORY = 4 << 30
"""Bytes of address space; an expression that needs more is not an answer."""
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


def main() -> None:
    """Serve until standard input ends."""
    # The pipe to the parent is kept aside: nothing that a library prints may end up in it.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    logging.disable(logging.CRITICAL)
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    with contextlib.suppress(ValueError, OSError):  # macOS knows the limit and refuses to set it
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY if hard < 0 else min(MEMORY, hard), hard))
    for reference, answer, equal in WARM_UP:
        if bool(equivalent(reference, answer)) != equal:
            raise SystemExit(f"math-verify should find {reference} and {answer} {'equal' if equal else 'different'}.")
    print("true", file=answers)
    for line in sys.stdin:
        reference, answer, seconds = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            equal = bool(equivalent(reference, answer))
        except Exception:  # among them RecursionError and MemoryError
            equal = False
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps(equal), file=answers)


if __name__ == "__main__":
    main()
