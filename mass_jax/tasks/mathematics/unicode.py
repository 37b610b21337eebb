r"""Unicode as ASCII LaTeX: figures of any script, raised and lowered ones, operators, Greek letters, fractions."""

import re
import unicodedata

_SYMBOLS = {
    "\u2212": "-", "\u2013": "-", "\u2014": "-", "\u2010": "-", "\u2011": "-", "\u00d7": r"\times ",
    "\u00b7": r"\cdot ", "\u22c5": r"\cdot ", "\u2219": r"\cdot ", "\u00f7": "/", "\u2044": "/", "\u2215": "/",
    "\u2217": "*", "\u2236": ":", "\u221a": r"\sqrt ", "\u221b": r"\sqrt[3] ", "\u221c": r"\sqrt[4] ",
    "\u221e": r"\infty ", "\u2264": r"\le ", "\u2265": r"\ge ", "\u2260": r"\ne ", "\u2248": r"\approx ",
    "\u00b1": r"\pm ", "\u222a": r"\cup ", "\u2229": r"\cap ", "\u2208": r"\in ", "\u2205": r"\emptyset ",
    "\u211d": r"\mathbb{R}", "\u00b0": r"^\circ ", "\u00ba": r"^\circ ", "\u2218": r"^\circ ", "\u2103": r"^\circ C",
    "\u2109": r"^\circ F", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u20ac": "$", "\u00a3": "$", "\u00a5": "$",
    "\u20b9": "$", "\u00a2": " cents", "\u3001": ",",
}  # fmt: skip


def _of_kind(kind: str) -> str:
    """All characters whose compatibility form is of a kind, such as ``<super>``."""
    characters = map(chr, range(0xB2, 0x2100))
    return "".join(c for c in characters if unicodedata.decomposition(c).startswith(kind) and c not in _SYMBOLS)


RAISED = _of_kind("<super>")
"""Exponents in one character each: all figures, signs, brackets and letters."""
_LOWERED = _of_kind("<sub>")
_FRACTION = re.compile(f"([{RAISED}]+)[/\u2044\u2215]([{_LOWERED}]+)")
_RAISED_RUN, _LOWERED_RUN = re.compile(f"[{RAISED}]+"), re.compile(f"[{_LOWERED}]+")


def to_ascii(text: str) -> str:
    """Digits of any script, operators, Greek letters and fractions of Unicode, as LaTeX would have them."""
    if text.isascii():
        return text
    text = _FRACTION.sub(lambda m: f" {_folded(m[1])}/{_folded(m[2])}", text)
    text = _RAISED_RUN.sub(lambda m: f"^{{{_folded(m[0])}}}", text)
    text = _LOWERED_RUN.sub(lambda m: f"_{{{_folded(m[0])}}}", text)
    return "".join(map(_to_ascii, text))


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


def _to_ascii(character: str) -> str:
    if character.isascii():
        return character
    if character in _SYMBOLS:
        return _SYMBOLS[character]
    if (digit := unicodedata.decimal(character, None)) is not None:
        return str(digit)
    folded = _folded(character)
    if "\u2044" in folded:  # one half in one character; after an integer it is a mixed number
        return " " + folded.replace("\u2044", "/")
    if len(folded) == 1 and (name := unicodedata.name(folded, "")).startswith("GREEK"):
        letter = name.rpartition(" ")[2]
        return rf"\{letter.lower() if folded.islower() else letter.title()} "
    kind = unicodedata.category(character)
    return "" if kind in ("Cf", "Mn") or (kind == "So" and folded == character) else folded  # So: a tick, an emoji
