"""The text of an episode: calls, each with the mark that hands over to the tools and the word that these say.

    read a > 3 read d > 9 calc 3 * 9 > 27 write c 27 > ok done

A transcript is believed in nothing: `replayed` makes its calls anew, and says where the tools say something else.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from mass_jax.tasks.agent import tools
from mass_jax.tasks.agent.tools import World, short
from mass_jax.tasks.base import Piece

HANDS_OVER = ">"
"""The word that ends a call."""


class Turn(NamedTuple):
    """A call with its mark, and the word behind it; None where there is none yet."""

    called: str
    said: str | None

    @property
    def call(self) -> str:
        """Without the mark."""
        return self.called.removesuffix(HANDS_OVER).removesuffix(" ")


class Replayed(NamedTuple):
    """What came of a transcript's calls.

    Attributes:
      world: after the last of them.
      last: what the tools said to it.
      forged: where the transcript says something else than the tools, in a sentence; empty where it does not.
      trouble: what was wrong with the last call that was an error, likewise.
    """

    world: World
    last: str
    forged: str
    trouble: str


def turns(text: str) -> tuple[list[Turn], str | None]:
    """The turns of a text, and what stands behind them, None for nothing; joined by spaces they are the text."""
    found, call = list[Turn](), list[str]()
    words = iter(text.split(" "))
    for word in words:
        call.append(word)
        if word == HANDS_OVER:
            found.append(Turn(" ".join(call), next(words, None)))
            call = []
    return found, " ".join(call) if call else None


def pieces(text: str) -> tuple[Piece, ...]:
    """A text in pieces: the model's, each up to its mark, and what stands behind these."""
    found, rest = turns(text)
    parts = [part for called, said in found for part in ((called, True), (said, False))] + [(rest, True)]
    written = [(text, own) for text, own in parts if text is not None]
    return tuple(Piece(f" {text}" if i else text, own) for i, (text, own) in enumerate(written))


def replayed(text: str, files: Mapping[str, int]) -> Replayed:
    """Makes the calls of a text, in a world of its own.

    Args:
      text: any.
      files: of the world.
    """
    found, rest = turns(text)
    world, forged, trouble = World(files), "", ""
    for i, turn in enumerate(found + ([] if rest is None else [Turn(rest, None)]), 1):
        world, (word, why) = tools.step(world, turn.call)
        trouble = f"call {i}: {why}" if why else trouble
        if turn.said not in (None, word) and not forged:
            truth = short(word) if word else "nothing"
            forged = f"call {i}: the tools say {truth} to {short(turn.call)}, not {short(turn.said)}"
    return Replayed(world, word, forged, trouble)


def answered(text: str, files: Mapping[str, int]) -> str | None:
    """What the tools say to the call that a text ends with; None where it ends otherwise, or the episode is over."""
    found, rest = turns(text)
    if rest is not None or found[-1].said is not None:
        return None
    world, last, *_ = replayed(text, files)
    # The last call that is allowed is answered; one behind it, which the world does not count, is not.
    return (last or None) if len(found) == world.calls else None


def performed(calls: Iterable[str], files: Mapping[str, int]) -> str:
    """The transcript of some calls, of which the last is ``done``."""
    world, words = World(files), list[str]()
    for call in calls:
        world, said = tools.step(world, call)
        words += [call, HANDS_OVER, said.word] if said.word else [call]
    return " ".join(words)
