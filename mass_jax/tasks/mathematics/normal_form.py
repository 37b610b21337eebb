r"""One way to write an answer: ASCII LaTeX without what does not change its value.

Removed are wrappers, spacing commands, units after a number, currency signs, degrees and thousands separators, as is
the field's habit: "$18", "18 dollars" and ``18\text{ dollars}`` are one answer. Words of magnitude are multiplied in.
"""

import re

from mass_jax.tasks.mathematics import units
from mass_jax.tasks.mathematics.unicode import to_ascii

_GROUPED = r"(?<![\d.,_^])(\d{1,3})((?:%s\d{3})+)(?![\d,])"
_COMMA_GROUPS, _SPACE_GROUPS = re.compile(_GROUPED % ","), re.compile(_GROUPED % " ")
_WRAPPERS = (
    ("**", "**"),
    ("__", "__"),
    ("*", "*"),
    ("$$", "$$"),
    ("$", "$"),
    (r"\(", r"\)"),
    (r"\[", r"\]"),
    ("`", "`"),
    ('"', '"'),
    ("{", "}"),
)
_FUNCTION = r"(?:arc)?(?:sin|cos|tan)h?|ln|log|exp|cot|sec|csc"
_REWRITES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\s{0,8}(?<!\\)\\!\s*|(?<!\\)\\,(?=\d{3}(?!\d))", ""),
        (r"(?<!\\)\\(?:[,;:> ]|q?quad(?![a-zA-Z]))|~", " "),
        (r"\\(?:left|right|[bB]igg?[lr]?)(?![a-zA-Z])\s*", ""),
        (r"\\(?:displaystyle|textstyle|limits|rm|bf|it|large)(?![a-zA-Z])", ""),
        (r"\\(?:mathbf|boldsymbol|bm|mathit|mathsf|underline)\s*\{([^{}]*)\}", r"\1"),
        (r"\\(?:text)?color\s*\{[^{}]*\}", ""),
        (r"\\(?:[dtcs]|nice)frac(?![a-zA-Z])", r"\\frac"),
        (r"\\(?:leq|geq|neq)(?![a-zA-Z])", lambda m: m[0][:-1]),
        (r"<=|>=|!=", lambda m: {"<": r"\le ", ">": r"\ge ", "!": r"\ne "}[m[0][0]]),
        (r"\\(?:l|r)angle(?![a-zA-Z])", lambda m: "(" if "l" in m[0][:2] else ")"),
        (r"\\(?:lbrace|rbrace)(?![a-zA-Z])", lambda m: r"\{" if "l" in m[0] else r"\}"),
        (r"\\(?:mathrm|operatorname|textrm|textnormal|textbf|textit|mbox)(?![a-zA-Z])\*?", r"\\text"),
        (r"^\\text\s*\{[^{}\d]*(?:(?<![a-zA-Z])(?:is|are)|:|=)\s*\}\s*(?=[-\d\\$(])", ""),
        # Upright letters: those that are no unit are letters wherever they stand, and i and e are numbers.
        (r"\\text\s*\{\s*([ie])\s*\}|(?<=[^\s])\s*\\text\s*\{\s*([abcdfj-kn-rtu-zKk])\s*\}", lambda m: m[1] or m[2]),
        (rf"\\text\s*\{{\s*({_FUNCTION})\s*\}}", r"\\\1 "),
        (r",?\s*\\text\s*\{\s*(?:and|or|,)\s*\}", ", "),
        (r"(?<=[\d})\w]),\s*(?:and|or)\s+|(?<=[\d})])\s+(?:and|or)\s+(?=[\d({\\$-]|[a-zA-Z]\s*=)", ", "),
        (r"(?<![A-Za-z])([A-Z])\s+(?:and|or)\s+(?=[A-Z](?![A-Za-z]))", r"\1, "),
        (r"\\text\s*\{([^{}\\]*\d[^{}\\]*)\}", r"\1"),
        (r"\{\s*,\s*\}(?=\d{3}(?!\d))", ""),
        (r"(\$\s*[\d.,]*\d)\s*/\s*[a-z]\s*$", r"\1"),  # $18/d
        (r"\\?%|\s*\\text\s*\{\s*(?:percent|percentage)\s*\}|\s*\bper\s?cent(?:age)?\b", "%"),
        (r"\\\$", "$"),
        (r"(?<=\$)\s+(?=[\d.])|(?<=-)\s*\$\s*|\$(?=\s*-?[\d.\\])|(?<=[\d}])\s*\$", ""),
        (r"\*\*\s*(\w+)", r"^{\1}"),
        (r"(?<=\d)\s+[xX]\s+(?=\d)", r"\\times "),
        (r"(?<![a-zA-Z\\])(pi|sqrt|infinity|infty)(?![a-zA-Z])", lambda m: "\\" + m[1].replace("inity", "ty")),
        (r"(?<![a-zA-Z\\])log(\d+)(?=\()", r"\\log_{\1}"),
        (rf"(?<![a-zA-Z\\])({_FUNCTION})(?=\s*(?:[\d({{\\^_]|[a-zA-Z](?![a-zA-Z])))", r"\\\1"),
        (r"\\(?:sqrt|frac)\s+(?=[\d({])", lambda m: m[0].rstrip()),
        (r"\\sqrt(\[\d+\])?\s*(?:(\d+)|([a-zA-Z])(?![a-zA-Z]))", lambda m: rf"\sqrt{m[1] or ''}{{{m[2] or m[3]}}}"),
        (
            r"\^\s*\{?\s*\\(?:circ|degree)\s*\}?(?:\s*(?:\\text\s*\{\s*)?[CF](?![a-zA-Z])\s*\}?)?\s*$|\\degree\s*$|"
            r"\s+deg(?:rees?)?(?:\s+(?:Celsius|Fahrenheit|C|F))?\s*$",
            "",
        ),
        (r"^\\text\s*\{\s*([A-Za-z][A-Za-z ]{2,40})\}\s*(?=\d+$)", lambda m: f"{m[1].strip()} "),  # \text{June } 20
        (r"^(?:\\approx|(?:approximately|about|exactly|only|is)(?![a-zA-Z])|=)\s*(?=\S)", ""),
        (r"^(?:negative|minus)\s+(?=[\d.])", "-"),
        (r"^US(?:D\s*|(?=\$))", ""),
        (r"^(\d+)\s+to\s+(\d+)$", r"\1:\2"),
        (r"^(\d+)\s+out\s+of\s+(\d+)$", r"\1/\2"),
        (r"(?<=[\dA-F])\s*\(?\s*(?:\\text\s*\{\s*)?\(?base\s*\}?\s*(\d+)\s*\)?$", r"_\1"),
        (r"(?<=\d)\s*(?:\\cdot|\*)\s*i(?![a-zA-Z])", "i"),
        (r"(\^|_)\{\s*(\w)\s*\}", r"\1\2"),
    )
)
_TIME = re.compile(r"(\d{1,2}:\d\d)\s*([ap])\.?\s*m\.?", re.I)
_MIXED = re.compile(r"(-?\d+)\s*\((\d+)\)/\((\d+)\)")


def normal_form(answer: str) -> str:
    """The answer without units, currency, wrappers, separators and superfluous spaces; never raises."""
    text = _unwrap(to_ascii(answer))
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    text = _unwrap(_braced(text))
    if not any(bracket in text for bracket in "([{"):  # (1,234) is a point, 1,234 a number
        text = _COMMA_GROUPS.sub(lambda m: m[1] + m[2].replace(",", ""), text)
    text = _SPACE_GROUPS.sub(lambda m: m[1] + m[2].replace(" ", ""), text)
    if time := _TIME.fullmatch(text):
        return f"{time[1]}{time[2].lower()}m"
    head, equals, last = text.rpartition("=")
    text = head + equals + units.value(last.strip())
    if (mixed := _MIXED.fullmatch(text)) and int(mixed[2]) < int(mixed[3]):
        text = f"{mixed[1]} {mixed[2]}/{mixed[3]}"
    text = re.sub(r"\s*([^\w\s,])\s*", r"\1", " ".join(text.split()))
    # 100, 200 is a list; 100,200 would be a number.
    return re.sub(r"\s*,\s*(?!\s*\d{3}(?!\d))|\s*,(?=\S)", ",", text)


def _braced(text: str) -> str:
    r"""``\sqrt(...)`` and ``^(...)`` with braces in place of the brackets."""
    for opening in (r"\sqrt(", "^("):
        start = text.find(opening)
        while start >= 0:
            start += len(opening) - 1
            depth = 0
            for i in range(start, len(text)):
                depth += (text[i] == "(") - (text[i] == ")")
                if depth == 0:
                    text = f"{text[:start]}{{{text[start + 1 : i]}}}{text[i + 1 :]}"
                    break
            start = text.find(opening, start)
    return text


def _unwrap(text: str) -> str:
    """Without the signs around the whole answer, and without the full stop after it."""
    before = None
    while text != before:
        before = text
        text = re.sub(r"(?<!\\)[.,;:]+\Z", "", text.strip()).strip()
        for opening, closing in _WRAPPERS:
            inside = text[len(opening) : len(text) - len(closing)]
            if (
                text.startswith(opening)
                and text.endswith(closing)
                and inside
                and closing not in inside.replace(rf"\{closing}", "")
            ):
                text = inside
    return text
