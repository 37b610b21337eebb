r"""The final answer in a completion.

Looked for in the order of how plainly it is marked: the last ``\boxed{...}``, GSM8K's ``#### ...``, "the answer is",
then the mathematics of the last line, the last number, and the last line itself. Of several boxes the last one counts,
as in Hendrycks et al., 2021 (https://arxiv.org/abs/2103.03874); boxes that nothing but "and", "or" or a comma joins are
one list. What is denied ("not 5") is no answer. Only the solver's own words about its own problem are read: not an echo
of the prompt, not its hidden reasoning, not a further problem that a base model goes on to write.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

from mass_jax.tasks.mathematics import exact
from mass_jax.tasks.mathematics.normal_form import normal_form
from mass_jax.tasks.mathematics.unicode import RAISED
from mass_jax.tasks.mathematics.units import MAGNITUDE

LONGEST = 100_000
"""Characters that are read, from the end: of an endless repetition no more is needed."""

HEADING = (
    r"(?:(?:your|the|new|next|related|similar|practice)[ \t]+){0,3}"
    r"(?:problem|question|exercise|example|task|q)(?:[ \t]*#?\d{1,3})?"
)
"""What a problem is announced by, in lower case."""

# Runs of spaces are bounded wherever a pattern may begin anew at each of them: a search stays linear in hostile text.
_CALCULATED = re.compile(r"<<[^<>\n]{0,200}>>")
"""A calculator's note, as GSM8K's solutions have it: 9*2=<<9*2=18>>18."""
_THOUGHT = re.compile(r"<(/?)(?:think(?:ing)?|thoughts?|reasoning)>", re.I)
_NEXT_PROBLEM = re.compile(
    rf"\n[ \t]{{0,8}}[#*_]{{0,6}}[ \t]{{0,8}}{HEADING}[ \t]{{0,8}}[*_]{{0,3}}[ \t]{{0,8}}:", re.I
)
_BOX = re.compile(r"\\(?:boxed|fbox)(?![a-zA-Z])[ \t]*")
_GSM8K = re.compile(r"####[ \t]{0,8}([-+\u2212]?[\d.$\\(][^\n]*)")  # "#### Step 2" is a heading
_STATED = re.compile(
    r"(?P<doubted>n['\u2019]t (?:think|believe)[ \t]{1,8}(?:that[ \t]{1,8})?(?:the[ \t]{1,8})?(?:final[ \t]{1,8})?)?"
    r"(?:\banswer[ \t]{0,8}[*_]{0,3}[ \t]{0,8}(?:\bis\b[ \t]{0,8}:?|(?P<headed>:))|\banswer to [^\n.]{0,80}? is\b|"
    r"^[ \t]{0,8}[#*_]{1,6}[ \t]{0,8}(?:the[ \t])?(?:final[ \t])?(?P<heading>answer)[ \t]{0,8}[*_]{0,3}[ \t]{0,8}$)",
    re.I | re.M,
)
_HEADED = 8
"""Words of a line that may follow "Answer:" for the line to be the answer; a longer one begins the worked solution."""
_LONGEST_LINE = 2000
_MOST_BOXES = 50
# Between two amounts of dollars there is no mathematics: its signs touch it, and no digit follows the second one.
_MATHEMATICS = re.compile(
    r"\$\$([^$]+)\$\$|(?<!\\)\$(?=\S)((?:\\\$|[^$\n])+?)(?<![\\\s])\$(?!\d)|\\\(([^\n]+?)\\\)|\\\[([^\n]+?)\\\]"
)
_DIGITS = (
    r"(?<![\w.^\u221a])(?<!sqrt[({ ])(?<!\d:)[-+\u2212]?(?:\\?[$\u20ac\u00a3\u00a5][ \t]?)?[-\u2212]?\u221a?"
    r"(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:/\d+)?"
)
_NUMBER = re.compile(
    rf"{_DIGITS}(?:\^\{{?-?\d+\}}?|[{RAISED}]+)?(?:[ \t]?\\?%|(?:[ \t-]?{MAGNITUDE})+|[kK](?![A-Za-z]))?"
)
_ASKED = re.compile(
    rf"\b(?:how many[ \t\n]{{1,8}}|in[ \t\n]{{1,8}}(?=[a-z]{{3,12}}s[ \t\n]{{0,8}}(?:[?.,]|is\b|\Z)))({MAGNITUDE})",
    re.I,
)
_VALUE = rf"(?:{_MATHEMATICS.pattern}|\\boxed\{{[^{{}}\n]*\}}|{_NUMBER.pattern})"
_NOT = r"(?:\bnot|n['\u2019]t|\bcannot|\bneither|\bnor|\brather than|\binstead of)"
_BOUND = r"(?:\bat (?:least|most)|\b(?:more|less|fewer|greater|larger|smaller) than)"
_DENIED = re.compile(
    rf"(?:{_NOT}|{_BOUND})[ \t]{{1,8}}(?:(?:be|equal|exactly|simply|just|to|(?:think|believe)[^.\n]{{0,40}}? is)"
    rf"[ \t]{{1,8}}){{0,3}}[*_]{{0,3}}{_VALUE}"
    rf"|(?>{_DIGITS})(?=[*_]{{0,3}}[ \t]{{1,8}}(?:is|was)(?:n['\u2019]t| not| wrong| incorrect)\b)",
    re.I,
)
_DENIED_BOX = re.compile(rf"{_NOT}[ \t]{{1,8}}(?:equal[ \t]{{1,8}}to[ \t]{{1,8}})?[$\\(\[*]{{0,3}}\Z", re.I)
_PART_OF = re.compile(
    r"\b(?:twice|double|triple|half|(?:square|cube)[sd]?(?:[ \t]root)?|root)[ \t]{1,8}(?:of[ \t]{1,8})?[$*_]{0,3}\Z",
    re.I,
)
"""What makes something else of the number that follows."""
_JOINT = re.compile(r"(?:[\s$,;]|\\[()\[\], ;]|\\text\s*\{|\}|\b(?:and|or)\b){0,40}", re.I)
"""What joins two values into one list."""
_DISPLAY = re.compile(
    r"\\(?:begin|end)\{(?:align|aligned|equation|gather|gathered|split|multline)\*?\}|"
    r"\\(?:blacksquare|square|qed)(?![a-zA-Z])|(?<![A-Za-z])Q\.?E\.?D(?![A-Za-z])\.?|\\\\\s*\Z"
)
"""What is set around a result, or behind it, and says nothing."""
_SAYS = re.compile(r"[^\W_]|[{\u221e\u2205]")
"""What a line has that is more than the sign of a display, a fence or a rule."""
_LABEL = re.compile(r"\A\s*(?:(?:[-*\u2022>#]+|\(?[A-Za-z]\)|[A-Za-z][:.]|\d{1,2}\))\s+|[#=&]+\s*)+")
"""What may stand before a result on its line: the sign of a list, of a quotation or of a heading, or a choice."""
_STEP = re.compile(
    r"(?:^|\s)\|(?:\s|$)|<?[=-]>|[\u2192\u21d2\u2234]|\\(?:implies|Rightarrow|therefore)(?![a-zA-Z])|"
    r"(?<=[\d)}])[.!]\s+(?![-+*/=^])|[,;]\s+(?=(?:[^A-Za-z=,;\\]|\\[a-z]+)*=)"
)
"""What separates steps, or the cells of a table; a comma does where figures are equated next, not where x is."""
_PREMISE = re.compile(
    r"\b(?:let|suppose|consider|assume|recall|restate|note (?:that|there)|we (?:use|split|break)|where|in the form|"
    r"(?:are|in) \d{1,2} (?:cases|parts|steps))\b",
    re.I,
)
"""A line with one of these words prepares an answer; its numbers are not the answer."""
_WORD = re.compile(r"(?<![\\A-Za-z{])[A-Za-z]{2,}")
_EXPRESSION = re.compile(r"[-+\d\\($\[{.\u2212\u221a]")
_COMPOSED = re.compile(rf"\d.*(?:\\[a-zA-Z]|[\u221a^\u00d7{RAISED}])|(?:\\[a-zA-Z]|\u221a).*\d")
"""A number that is more than figures: it is not the last of its figures."""
_SENTENCE_END = re.compile(r"(?<!\\)[.;!?](?=\s|$)|:(?=\s+[a-zA-Z]{2})")
_REASON = re.compile(
    r"(?:,|\s[-\u2013\u2014])?\s+(?:because|since|as|so|which|where|when|if|but|given|after|before|for|from|while|at|"
    r"with|in(?!\s+\d)|out\s+of(?!\s+\d+\W*$)|meaning|and\s+(?:it|this|that|so|thus|he|she|they|we))\b|"
    r"\s[-\u2013\u2014]\s+(?=[A-Za-z]{2})|,\s*(?:not\b|$)|\s\((?=[A-Za-z]{2}|[^()]*=)|(?<=[a-z]s)(?<!cos)(?<!abs)\s\(",
    re.I,
)
"""What follows it says why, or for what, and has numbers of its own."""


def final_answer(text: str, prompt: str = "") -> str:
    """The answer as it is written, or an empty string if there is none.

    Args:
      text: a completion, or a reference solution.
      prompt: the problem; where the completion repeats it, only what follows counts, and a word of magnitude that
        its last sentence asks for ("how many dozen", "in dozens?") is a unit.
    """
    text = own_words(text, prompt)
    marked = marked_answer(text)
    answer = _unmarked(text) if marked is None else marked
    question = re.split(r"(?<!Mr)(?<!Mrs)(?<!Ms)(?<!Dr)[.!;]\s", prompt.strip())[-1]
    if asked := _ASKED.search(question):  # "How many dozen eggs?": there "7 dozen" is 7
        answer = re.sub(rf"(?<![A-Za-z]){asked[1].rstrip('s')}s?(?![A-Za-z])", "", answer, flags=re.I)
    return answer


def boxed(answer: str) -> str:
    """The sentence in which every solution ends."""
    return f"The answer is \\boxed{{{answer}}}."


def marked_answer(text: str) -> str | None:
    """What stands in the last box, after ``####`` or after "the answer is"; None where nothing of this occurs."""
    if boxes := [
        box for box in _BOX.finditer(text) if not _DENIED_BOX.search(text, max(0, box.start() - 60), box.start())
    ]:
        return _last_boxes(text, boxes)
    if marked := _GSM8K.findall(text):
        return marked[-1].strip()
    for stated in reversed(list(_STATED.finditer(text))):
        line = next(_speaking(text[stated.end() :].split("\n")), "")
        begun = (stated["headed"] or stated["heading"]) and len(line.split()) > _HEADED and _WORD.search(line)
        if stated["doubted"] or begun:
            continue
        if (answer := _stated(line)) is not None:
            return answer
    return None


def has_open_box(text: str) -> bool:
    """Whether the last box of ``text`` was begun and not ended, as in a completion that was cut off."""
    boxes = list(_BOX.finditer(text))
    return bool(boxes) and not _boxed(text, boxes[-1].end())[1]


def said(text: str) -> str:
    """``text`` without hidden reasoning; a thought that is never closed hides all that follows."""
    end, hidden = 0, len(text)
    for tag in _THOUGHT.finditer(text):
        if tag[1]:
            end, hidden = tag.end(), len(text)
        else:
            hidden = min(hidden, tag.start())
    return text[end:hidden]


def own_words(text: str, prompt: str = "") -> str:
    """``text`` without hidden reasoning, an echo of ``prompt``, and the problems that follow the answer."""
    text = _CALCULATED.sub("", said(text)[-LONGEST:]).strip()
    words = prompt.split()
    if words and " ".join(words) in " ".join(text.split()):  # most texts have no echo: this is quicker
        echo = re.search(r"\s+".join(map(re.escape, words)), text)
        if echo:
            answered = any(mark.search(text, 0, echo.start()) for mark in (_BOX, _GSM8K, _STATED))
            text = text[: echo.start()] if answered else text[echo.end() :]
    text = text.strip()
    return text[: _answered(text)].strip()


def _answered(text: str) -> int:
    """Where the first problem begins that stands behind an answer: a marked one, or the number of the line before."""
    marks = [mark.start() for pattern in (_BOX, _GSM8K) if (mark := pattern.search(text))]
    stated = (mark.start() for mark in _STATED.finditer(text) if not _PREMISE.search(_line(text, mark.start())))
    marks += [place for place in [next(stated, None)] if place is not None]
    for i, heading in enumerate(_NEXT_PROBLEM.finditer(text)):
        before = text[: heading.start()].rstrip() if i == 0 else ""
        line = before.rpartition("\n")[2]
        if min(marks, default=len(text)) < heading.start() or (
            not line.endswith((":", "?")) and not _PREMISE.search(line) and (_NUMBER.search(line) or _mathematics(line))
        ):
            return heading.start()
    return len(text)


def _line(text: str, place: int) -> str:
    """The line around a place, of a long one 200 characters on either side."""
    return text[max(0, place - 200) : place].rpartition("\n")[2] + text[place : place + 200].partition("\n")[0]


def _last_boxes(text: str, boxes: Sequence[re.Match[str]]) -> str:
    """The content of the last box, and of those that are joined to it by nothing but "and", "or" or a comma."""
    found = [_boxed(text, boxes[-1].end())[0]]
    for box, following in zip(boxes[-2:-_MOST_BOXES:-1], boxes[:0:-1], strict=False):
        content, closed = _boxed(text, box.end())
        end = text.find("}", box.end() + len(content)) + 1
        if not closed or not end or not _JOINT.fullmatch(text, end, max(end, following.start())):
            break
        found.insert(0, content)
    first, *others = map(normal_form, found)
    same = all((verdict := exact.compare(first, other)) and verdict.correct for other in others)
    return found[-1] if same else ", ".join(found)


def _boxed(text: str, start: int) -> tuple[str, bool]:
    """The content of a box that opens at ``start``, and whether it is closed. An open one ends with its line."""
    if text[start : start + 1] != "{":
        return text[start : start + 1].strip(), True  # TeX boxes one token: \\boxed5
    depth = 0
    for i in range(start, len(text)):
        if text[i] in "{}" and text[i - 1] != "\\":
            depth += 1 if text[i] == "{" else -1
            if depth == 0:
                return text[start + 1 : i].strip(), True
    return text[start + 1 :].partition("\n")[0].strip().rstrip("$.").strip(), False


def _stated(line: str) -> str | None:
    """The answer that a sentence states: what it begins with, its mathematics or its last number, else the sentence.

    None where it only says what the answer is not.
    """
    line = line.replace("**", "").strip()[:_LONGEST_LINE]
    line = re.sub(r"^[*_]+(?=\s|[^*_]*$)", "", line).strip()  # the end of *Answer:*
    line = re.sub(r"^([^*_]*)[*_]$", r"\1", line)  # and that of *Answer: 12*
    affirmed = _DENIED.sub(" ", line)
    if affirmed != line:
        affirmed = re.sub(r"^[\s,;.]*(?:but|it is|it's|rather)?\s*|\(\s*\)", "", affirmed)
        if not any(map(str.isalnum, affirmed)):
            return None
    end = _SENTENCE_END.search(affirmed)
    sentence = affirmed[: end.start()] if end else affirmed
    if end and end[0] == "?":
        return None
    mathematics = _MATHEMATICS.search(affirmed)
    if mathematics and (mathematics.start() == 0 or not _is_expression(sentence)):
        return _mathematics(affirmed)[0]
    reason = _REASON.search(sentence)
    if reason and any(map(str.isalnum, sentence[: reason.start()])):
        sentence = sentence[: reason.start()]
    if not _is_expression(sentence) and (number := _last_number(sentence)):
        return number
    return sentence.strip()


def _is_expression(text: str) -> bool:
    """Whether it begins as mathematics does, or has no words."""
    return bool(_EXPRESSION.match(text)) or not _WORD.search(text)


def _unmarked(text: str) -> str:
    """The mathematics of the last line, or its last step if it has no word, or the last number of the text."""
    tail = _DENIED.sub(" ", text[-_LONGEST_LINE:])
    last = next(_speaking(tail.split("\n")[::-1]), tail)
    if found := _mathematics(last):
        return found[-1]
    if not _WORD.search(last):
        return _last_step(last)
    if _COMPOSED.search(composed := re.split(r"=|(?<!\\)[.;!?:]\s|(?<![\\A-Za-z{])[A-Za-z]{2,}", last)[-1]):
        return composed.strip().rstrip(".")
    return _last_number(tail) or _last_number(text[:-_LONGEST_LINE]) or last.strip()


def _speaking(lines: Iterable[str]) -> Iterator[str]:
    """The lines that say something, without the signs of a display."""
    return filter(_SAYS.search, (_DISPLAY.sub("", line).strip() for line in lines))


def _last_step(line: str) -> str:
    """The result of a line of mathematics without dollars, such as "A: 16 - 7 = 9, 9 * 2 = 18!"."""
    steps = list(filter(_SAYS.search, _STEP.split(line))) or [line]
    step = _LABEL.sub("", steps[-1]).strip().rstrip(".")
    return re.sub(r"!(?=[*_]*$)", "", step) if step.count("!") == 1 else step  # of two, both are factorials


def _last_number(text: str) -> str:
    """The last number, with the one before it where "or" joins them; an empty string if there is none."""
    numbers = [
        number
        for number in _NUMBER.finditer(text)
        if not _PART_OF.search(text, max(0, number.start() - 40), number.start())
    ]
    joined = numbers[1:] and re.fullmatch(r"\s+or\s+", text[numbers[-2].end() : numbers[-1].start()])
    return " or ".join(number[0].strip().rstrip(",") for number in numbers[-2 if joined else -1 :])


def _mathematics(line: str) -> list[str]:
    """The mathematics of a line; pieces that only "and", "or" or a comma joins are one."""
    found: list[str] = []
    line, end = line[-_LONGEST_LINE:], None
    for match in _MATHEMATICS.finditer(line):
        content = next(filter(None, match.groups())).strip()
        if end is not None and _JOINT.fullmatch(line, end, match.start()) and line[end : match.start()].strip():
            found[-1] += f", {content}"
        else:
            found.append(content)
        end = match.end()
    return found
