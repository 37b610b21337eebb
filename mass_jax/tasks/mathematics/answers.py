r"""The final answer in a completion.

Looked for in the order of how plainly it is marked: the last ``\boxed{...}``, GSM8K's ``#### ...``, "the answer is",
then the mathematics of the last line, the last number, and the last line itself. Of several boxes the last one counts,
as in Hendrycks et al., 2021 (https://arxiv.org/abs/2103.03874). Only the solver's own words about its own problem are
read: not an echo of the prompt, not its hidden reasoning, not a further problem that a base model goes on to write.
"""

import re

LONGEST = 100_000
"""Characters that are read, from the end: of an endless repetition no more is needed."""

HEADING = (
    r"(?:(?:your|the|new|next|related|similar|practice)[ \t]+){0,3}"
    r"(?:problem|question|exercise|example|task|q)(?:[ \t]*#?\d{1,3})?"
)
"""What a problem is announced by, in lower case."""

# Runs of spaces are bounded wherever a pattern may begin anew at each of them: a search stays linear in hostile text.
_NEXT_PROBLEM = re.compile(
    rf"\n[ \t]{{0,8}}[#*_]{{0,6}}[ \t]{{0,8}}{HEADING}[ \t]{{0,8}}[*_]{{0,3}}[ \t]{{0,8}}:", re.I
)
_BOX = re.compile(r"\\(?:boxed|fbox)(?![a-zA-Z])[ \t]*")
_GSM8K = re.compile(r"####[ \t]{0,8}([-+\u2212]?[\d.$\\(][^\n]*)")  # "#### Step 2" is a heading
_STATED = re.compile(
    r"\banswer[ \t]{0,8}[*_]{0,3}[ \t]{0,8}(?:\bis\b[ \t]{0,8}:?|(:))|\banswer to [^\n.]{0,80}? is\b", re.I
)
_HEADED = 8
"""Words of a line that may follow "Answer:" for the line to be the answer; a longer one begins the worked solution."""
_LONGEST_LINE = 2000
# Between two amounts of dollars there is no mathematics: its signs touch it, and no digit follows the second one.
_MATHEMATICS = re.compile(
    r"\$\$([^$]+)\$\$|(?<!\\)\$(?=\S)((?:\\\$|[^$\n])+?)(?<![\\\s])\$(?!\d)|\\\(([^\n]+?)\\\)|\\\[([^\n]+?)\\\]"
)
_NUMBER = re.compile(
    r"(?<![\w.])[-+\u2212]?(?:\\?[$\u20ac\u00a3\u00a5][ \t]?)?[-\u2212]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)"
    r"(?:/\d+)?(?:[ \t]?\\?%)?"
)
_SENTENCE_END = re.compile(r"[.;!?](?=\s|$)")


def final_answer(text: str, prompt: str = "") -> str:
    """The answer as it is written, or an empty string if there is none.

    Args:
      text: a completion, or a reference solution.
      prompt: the problem; where the completion repeats it, only what follows counts.
    """
    text = own_words(text, prompt)
    marked = marked_answer(text)
    if marked is not None:
        return marked
    last = text.rpartition("\n")[2]
    if found := _mathematics(last):
        return found[-1]
    if numbers := _NUMBER.findall(text):
        return numbers[-1].strip().rstrip(",")
    return last.strip()


def boxed(answer: str) -> str:
    """The sentence in which every solution ends."""
    return f"The answer is \\boxed{{{answer}}}."


def marked_answer(text: str) -> str | None:
    """What stands in the last box, after ``####`` or after "the answer is"; None where nothing of this occurs."""
    if boxes := list(_BOX.finditer(text)):
        return _boxed(text, boxes[-1].end())[0]
    if marked := _GSM8K.findall(text):
        return marked[-1].strip()
    for stated in reversed(list(_STATED.finditer(text))):
        line = next(filter(None, map(str.strip, text[stated.end() :].split("\n"))), "")
        if stated[1] is None or len(line.split()) <= _HEADED:
            return _stated(line)
    return None


def has_open_box(text: str) -> bool:
    """Whether the last box of ``text`` was begun and not ended, as in a completion that was cut off."""
    boxes = list(_BOX.finditer(text))
    return bool(boxes) and not _boxed(text, boxes[-1].end())[1]


def own_words(text: str, prompt: str = "") -> str:
    """``text`` without hidden reasoning, an echo of ``prompt``, and the problems that follow the answer."""
    text = text[-LONGEST:].rpartition("</think>")[2].strip()
    words = prompt.split()
    if words and " ".join(words) in " ".join(text.split()):  # most texts have no echo: this is quicker
        echo = re.search(r"\s+".join(map(re.escape, words)), text)
        if echo:
            answered = any(mark.search(text, 0, echo.start()) for mark in (_BOX, _GSM8K, _STATED))
            text = text[: echo.start()] if answered else text[echo.end() :]
    text = text.strip()
    following = _NEXT_PROBLEM.search(text)
    return (text[: following.start()] if following else text).strip()


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


def _stated(line: str) -> str:
    """The answer that a sentence states: its mathematics, the sentence if it begins with it, or its last number."""
    line = line.replace("**", "").strip()
    if found := _mathematics(line):
        return found[0]
    end = _SENTENCE_END.search(line)
    sentence = line[: end.start()] if end else line
    numbers = _NUMBER.findall(sentence)
    if numbers and not re.match(r"[-+\d\\($\[{.\u2212]", sentence):
        return numbers[-1].strip().rstrip(",")
    return sentence.strip()


def _mathematics(line: str) -> list[str]:
    return [next(filter(None, groups)).strip() for groups in _MATHEMATICS.findall(line[-_LONGEST_LINE:])]
