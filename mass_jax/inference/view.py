"""How one problem is answered, for whoever watches: each phase as it ends, with its seconds and tokens."""

import math
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.text import Text

from mass_jax.inference.adapter import Event

TITLES = {
    "answer_before": "answer before",
    "write": "practice",
    "weigh": "weights",
    "adapt": "update",
    "guard": "guard",
    "answer": "answer",
}
BAR = 20
"""Characters of the heaviest example's bar."""
INDENT = " " * 5


def printable(text: str) -> str:
    """A text that a terminal only shows: what a model wrote may hold commands to it."""
    return "".join(each if each.isprintable() or each == "\n" else "\N{REPLACEMENT CHARACTER}" for each in text)


class View:
    """Is told of the phases of one problem; on a terminal it also says which one is at work.

    What it prints are lines, the same with a terminal and without, so that they stay when the work is done. The last
    answer is not among them: it is the program's output.
    """

    def __init__(self, console: Console) -> None:
        """Begins nothing; ``console`` is where to print."""
        self._console = console
        self._status = console.status("")

    def __enter__(self) -> "View":
        """Begins to show."""
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is at work any more."""
        self._status.stop()

    def __call__(self, event: Event) -> None:
        """Shows a phase that begins or has ended."""
        if event.shown is None:
            self._status.update(Text("\n".join([f"{TITLES[event.phase]} ...", *self._ends(event)])))
            self._status.start()
            return
        self._status.stop()
        if event.shown[0] == {"guard": None}:
            return
        tokens = f", {event.tokens[0]} tokens" if event.tokens[0] else ""
        heading = f"{TITLES[event.phase]} ({event.seconds:.1f} s{tokens})"
        self._console.print(Text(heading, style="bold"), soft_wrap=True)
        for line in lines(event.shown[0]):
            self._console.print(line, soft_wrap=True)

    def _ends(self, event: Event) -> Iterator[str]:
        """Of every text that is being written the end, in one line."""
        room = max(self._console.width - len(INDENT) - 1, 1)
        for number, text in enumerate(event.written[0] if event.written else (), start=1):
            yield f"{number:>3}. {printable(' '.join(text.split()))[-room:]}"


def lines(shown: dict[str, Any]) -> Iterator[Text]:
    """What a phase found for one problem."""
    if "answer_before" in shown:
        yield _indented(shown["answer_before"])
    for number, example in enumerate(shown.get("practice", ()), start=1):
        text = _indented(f"{example['problem']}\n→ {example['solution']}" if example["problem"] else "(malformed)")
        yield Text.assemble((f"{number:>3}. ", "cyan"), text[len(INDENT) :])
    if "weights" in shown:
        yield from _weights(shown)
    if "losses" in shown:
        yield _indented(f"inner loss {' → '.join(f'{loss:.4f}' for loss in shown['losses'])} nats a token")
    if shown.get("guard"):
        guard = shown["guard"]
        said = f": {guard['reason']}" if guard["reason"] else ""
        far = "" if guard["kl"] is None else f", KL {guard['kl']:.3g} nats a token"
        norm = "not finite" if guard["norm"] is None else f"{guard['norm']:.3g}"
        yield _indented(f"{guard['outcome']}{said} (norm {norm}{far})")


def _weights(shown: dict[str, Any]) -> Iterator[Text]:
    """A bar an example, and the gate."""
    heaviest = max(filter(math.isfinite, shown["weights"]), default=0.0) or 1.0
    for number, (weight, why) in enumerate(zip(shown["weights"], shown["left_out"], strict=True), start=1):
        filled = round(BAR * weight / heaviest) if math.isfinite(weight) else 0
        bar = f"{'█' * filled:<{BAR}}"
        said = f" ({printable(why)})" if why else ""
        yield Text.assemble((f"{number:>3}. ", "cyan"), (bar, "green"), f" {weight:.2f}{said}")
    if shown["gate"] != 1:
        yield _indented(f"times {shown['gate']:.2f}, the gate")


def _indented(text: str) -> Text:
    return Text("\n".join(f"{INDENT}{line}" for line in printable(text).splitlines()))
