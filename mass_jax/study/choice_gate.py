"""The gates of a domain with a choice: before anything is meta-learned, can a generator learn to choose its topic?

Measured on validation families, with the base alone:

    (a) the base's practice is seldom on topic, and mostly right where it is
    (b) practice on the hidden topic helps, also where it mentions nothing that is asked
    (c) right practice on topics of other problems, without a choice, is worth nothing
    (e) what practice says does not answer the problem: read off without an update, it gains at most a third of what
        the oracle's update gains

(d), that a perfect reward teaches the choice, takes a short meta-training.
"""

from collections.abc import Mapping
from typing import Any

from mass_jax.adapt.run import Recipe
from mass_jax.reporting import stats
from mass_jax.study.arms import ARMS
from mass_jax.study.evaluator import Evaluator
from mass_jax.study.views import share_of, synthesis_quality

COMPARED = (
    "base",
    "tt_ss",
    "oracle_filter",
    "base_ttt",
    "oracle_gold_family",
    "oracle_strict",
    "self_consistency",
    "best_of_n",
)
"""Rows of the table that are measured."""
ROWS = {name: ARMS[name].recipe for name in COMPARED} | {
    "any_topic": Recipe("any_topic"),
    "read_off_gold": Recipe("gold_strict", use="read_off"),
    "read_off_check": Recipe("own", "check", use="read_off"),
    "read_off_right": Recipe("own", "correct", use="read_off"),
}
"""By name; those that are read off make no update, and choose what they read by the model's check, or perfectly."""
CARRY = ("read_off_check", "read_off_right")
"""Rows that gate (e) is about."""
ON_TOPIC, RIGHT, ORACLE, STRICT, NOTHING, CARRIED = (0.1, 0.4), 0.6, 0.15, 0.08, 0.03, 1 / 3
"""What the gates ask for: shares, gains as fractions, and (e)'s share of the oracle's gain."""
ASKS = {
    "a": f"{ON_TOPIC[0]:.0%} to {ON_TOPIC[1]:.0%} of the base's well-formed practice are on the hidden topic, and of "
    f"those {RIGHT:.0%} or more are right",
    "b": f"the oracle gains {100 * ORACLE:.0f} points or more, and {100 * STRICT:.0f} or more without anything that is "
    "asked",
    "c": f"right practice of other problems gains or loses {100 * NOTHING:.0f} points at most, or its interval holds 0",
    "e": "what the base's practice says, read off without an update, gains at most a third of what the oracle gains",
}
"""Every gate, in words."""


def gates(rows: Mapping[str, Any], practice: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """Whether each gate is open, and by what it was judged.

    Args:
      rows: accuracies, and ``"a-b"`` for differences, as `choice_gate` has them.
      practice: as `views.synthesis_quality` has it.
    """
    gain = {name.removesuffix("-base"): row["diff"] for name, row in rows.items() if name.endswith("-base")}
    topic = share_of(practice["on_family"], practice["well_formed"])
    right = share_of(practice["correct"], practice["on_family"])
    oracle, strict, other = gain["oracle_gold_family"], gain["oracle_strict"], gain["base_ttt"]
    carried = max(gain[name] for name in CARRY)
    low, high = rows["base_ttt-base"]["ci95"]
    judged: dict[str, tuple[dict[str, float], bool]] = {
        "a": ({"on topic": topic, "right of those": right}, ON_TOPIC[0] <= topic <= ON_TOPIC[1] and right >= RIGHT),
        "b": ({"oracle": oracle, "strict oracle": strict}, oracle >= ORACLE and strict >= STRICT),
        "c": ({"other problems": other}, abs(other) <= NOTHING or low <= 0 <= high),
        "e": ({"read off": carried, "oracle": oracle}, carried <= CARRIED * oracle),
    }
    return {name: {"asks": ASKS[name], "found": found, "open": passed} for name, (found, passed) in judged.items()}


def choice_gate(evaluator: Evaluator) -> dict[str, Any]:
    """The base of a domain that `OffersTopics` on the evaluator's problems; see `mass_jax.results.Choice`."""
    verdicts = {name: evaluator.correct(evaluator.run("base", recipe)) for name, recipe in ROWS.items()}
    base, families = verdicts["base"], evaluator.families
    rows: dict[str, Any] = {name: stats.accuracy(verdict, families) for name, verdict in verdicts.items()}
    rows |= {
        f"{name}-base": stats.paired_difference(verdict, base, families)
        for name, verdict in verdicts.items()
        if name != "base"
    }
    practice = synthesis_quality(evaluator, "base")
    return {"gates": gates(rows, practice), "rows": rows, "practice": practice}
