"""What rows, phases and checks are called. Rows' names stand in the file of results."""

import re

from mass_jax.results import Results

CHECKS: dict[str, str] = {
    "attribution_fd_correlation": "Attribution against finite differences: correlation",
    "scorer_auc_within_task": "Scorer finds right practice pairs: area within the task",
    "oracle_gain_recovered": "Share of the oracle's gain recovered",
}
PRACTICE: dict[str, str] = {
    "well_formed": "Well formed",
    "leak": "Mention what the problem asks for",
    "on_family": "On topic",
    "correct": "Right",
    "distinct": "Distinct",
    "distinct_2": "Distinct pairs of words",
}
"""Shares of a model's practice."""
GATES: dict[str, str] = {
    "any_topic": "Right practice about any of the topics",
    "read_off_gold": "Right practice, read off",
    "read_off_check": "Own practice, read off by the model's check",
    "read_off_right": "Own practice, read off by a perfect scorer",
}
"""Rows of `experiments.gate` alone, whose names no file has."""


def label(name: str, results: Results) -> str:
    """The name that a reader sees of a row or a trained arm; one without a label stands for itself."""
    return results.labels.get(name) or GATES.get(name) or name.replace("_", " ")


def meaning(name: str, results: Results) -> str:
    """What a row is; of an arm of one's own what it overrides; nothing where the file does not say."""
    arm = results.arms.get(name)
    own = ", ".join(f"{field} = {value}" for field, value in arm.overrides.items()) if arm else ""
    return results.meanings.get(name) or (f"trained with {own}" if own else "")


def pair_label(name: str, results: Results) -> str:
    """``"mass-base"`` as ``"MASS − Base"``."""
    return " − ".join(label(side, results) for side in name.split("-"))


def phase_label(name: str, results: Results) -> str:
    """``"train/mass"`` as ``"train MASS"``, and ``"evaluate/base (s)"`` of the costs as ``"answer as Base"``."""
    head, _, arm = re.sub(r" \(s\)$", "", name).partition("/")
    if not arm:
        return head.replace("_", " ")
    return f"{'answer as' if head == 'evaluate' else head} {label(arm, results)}"


def check_label(name: str) -> str:
    """``"attribution_fd_correlation.sgd"`` as a reader wants it."""
    head, _, rest = name.partition(".")
    return CHECKS.get(head, head.replace("_", " ")) + (f", {rest}" if rest else "")
