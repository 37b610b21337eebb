"""Exact judgement of a Countdown solution: each step is looked at, whoever found it."""

import re
from collections.abc import Sequence

from mass_jax.tasks.base import Verdict
from mass_jax.tasks.countdown.rules import OPERATIONS, Move, fault

_NUMBER = re.compile(r"[1-9][0-9]{0,8}")


def read_numbers(words: Sequence[str]) -> list[int] | None:
    """Whole numbers of 1 or more, or None if one of the words is none."""
    return [int(word) for word in words] if all(map(_NUMBER.fullmatch, words)) else None


def stated(moves: Sequence[Move]) -> str:
    """Such as ``3 * 7 > 21 21 - 2 > 19``."""
    return " ".join(f"{left} {operation} {right} > {made}" for left, operation, right, made in moves)


def read_moves(text: str) -> list[Move] | None:
    """The steps that a text states, or None if it is of another form."""
    words = text.split()
    lefts, operations, rights, marks, mades = (words[i::5] for i in range(5))
    numbers = read_numbers([*lefts, *rights, *mades])
    if not words or len(words) % 5 or not {*operations} <= OPERATIONS.keys() or {*marks} != {">"} or numbers is None:
        return None
    count = len(lefts)
    columns = numbers[:count], operations, numbers[count : 2 * count], numbers[2 * count :]
    return [Move(*row) for row in zip(*columns, strict=True)]


def verify(hand: Sequence[int], target: int, text: str) -> Verdict:
    """Whether steps such as ``3 * 7 > 21 21 - 2 > 19`` make the target of every number of the hand, used once.

    Any solution counts. A step uses two numbers that are there, given or made, and makes one of 1 or more; a division
    goes even. Never raises for what a model wrote.
    """
    moves = read_moves(text)
    if moves is None:
        return Verdict(False, f"expected steps such as '3 * 7 > 21' after '=', read {text!r}")
    there, used = list(hand), set()
    for i, (left, operation, right, made) in enumerate(moves, 1):
        for number in (left, right):
            if number not in there:
                why = "again" if number in used else "which is neither given nor made"
                return Verdict(False, f"step {i} uses {number}{' ' if number in used else ', '}{why}")
            there.remove(number)
            used.add(number)
        if why := fault(left, operation, right):
            return Verdict(False, f"step {i} is not allowed: {why}")
        if (value := OPERATIONS[operation](left, right)) != made:
            return Verdict(False, f"step {i} is wrong: {left} {operation} {right} is {value}, not {made}")
        there.append(made)
    if len(there) > 1:
        return Verdict(False, f"not used: {', '.join(map(str, there))}")  # ends with what the last step made
    return Verdict(there == [target], f"makes {there[0]}{'' if there == [target] else f', not {target}'}")
