"""What a compiled program says of itself beyond its size: every collective, and the loops that it stands in."""

import re
from collections.abc import Iterator
from typing import NamedTuple

KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute", "collective-broadcast")
_COLLECTIVE = re.compile(rf"= (\(?[a-z0-9]+\[.*?) (?:ragged-)?({'|'.join(KINDS)})(?:-start)?\(")
_CALLED = re.compile(r"\b(body|condition|calls|to_apply|[a-z]+_computations?)=(\{[^}]*\}|%[\w.\-]+)")


class Collective(NamedTuple):
    """One collective of a compiled program.

    Attributes:
      kind: one of ``KINDS``.
      shapes: dtype and dimensions of each result on one device; where it is asynchronous, of its operands too.
      trips: how often each loop around it goes round, outermost first; None where the program does not say.
      line: the instruction.
    """

    kind: str
    shapes: tuple[tuple[str, tuple[int, ...]], ...]
    trips: tuple[int | None, ...]
    line: str


def collectives(text: str) -> Iterator[Collective]:
    """The collectives of an optimised program (``compiled.as_text()``), once for each place that calls them."""
    computations, entry = _computations(text)
    stack: list[tuple[str, tuple[int | None, ...]]] = [(entry, ())]
    while stack:
        name, trips = stack.pop()
        for line in computations[name]:
            if found := _COLLECTIVE.search(line):
                yield Collective(found[2], _shapes(found[1]), trips, line.strip())
            for role, called in _CALLED.findall(line):
                inner = (*trips, _trips(line, computations)) if role in ("body", "condition") else trips
                stack += [(each, inner) for each in re.findall(r"%([\w.\-]+)", called) if each in computations]


def distinct(text: str) -> Iterator[Collective]:
    """`collectives`, each once: what a compiler has cut into pieces between other work bears one channel."""
    seen: set[str] = set()
    for found in collectives(text):
        channel = re.search(r"channel_id=\d+", found.line)
        name = channel[0] if channel else found.line
        if name not in seen:
            seen.add(name)
            yield found


def _trips(line: str, computations: dict[str, list[str]]) -> int | None:
    """How often a ``while`` goes round: where its compiler does not say, what its counter is less than."""
    if count := re.search(r'known_trip_count":\{"n":"(\d+)"', line):
        return int(count[1])
    condition = re.search(r"condition=%([\w.\-]+)", line)
    lines = computations.get(condition[1], []) if condition else []
    limits = [found[1] for each in lines if (found := re.search(r" s32\[\]\S* constant\((\d+)\)", each))]
    counted = any(re.search(r"ROOT .* compare\(.*direction=LT", each) for each in lines)
    return int(limits[0]) if counted and len(limits) == 1 else None


def _computations(text: str) -> tuple[dict[str, list[str]], str]:
    """The lines of every computation by its name, and the name of the first that runs."""
    found: dict[str, list[str]] = {}
    entry = ""
    lines: list[str] = []
    for line in text.splitlines():
        if head := re.match(r"(ENTRY )?%([\w.\-]+) \(.*\{$", line):
            found[head[2]] = lines = []
            entry = head[2] if head[1] else entry
        else:
            lines.append(line)
    return found, entry


def _shapes(text: str) -> tuple[tuple[str, tuple[int, ...]], ...]:
    return tuple(
        (kind, tuple(int(dim) for dim in dims.split(",") if dim))
        for kind, dims in re.findall(r"\b([a-z]\w*)\[([0-9,]*)\]", text)
    )
