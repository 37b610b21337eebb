"""A program for workers that compares sums, without SymPy: what a pool does to its workers is no mathematics."""


def prepare() -> None:
    """Nothing to import."""


def judge(reference: str, answer: str) -> bool:
    """Whether the terms are the same, but for zeros."""
    return _terms(reference) == _terms(answer)


def _terms(text: str) -> list[str]:
    return sorted(term for term in text.split("+") if term != "0")
