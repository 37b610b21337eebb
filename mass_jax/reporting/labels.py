"""What the methods, controls, phases and checks are called, and what each of them is."""

import re
from collections.abc import Mapping
from typing import Any

METHODS: dict[str, tuple[str, str]] = {
    "base": ("Base", "no update"),
    "base_ttt": ("Base TTT", "test-time update on random training problems"),
    "ttt_nn": ("TTT-NN", "test-time update on the nearest training problems"),
    "tt_ss": ("TT-SS", "test-time update on the base's own practice problems, nothing meta-learned"),
    "tt_ss_majority": ("TT-SS, majority", "the same, with practice answers by majority vote"),
    "solver_grpo": (
        "Solver GRPO",
        "reinforcement learning on solving, no update: same problems, as many tokens sampled",
    ),
    "mass_gold": ("MASS-gold", "meta-trained with the reference solution's loss"),
    "mass": ("MASS", "meta-trained with the verifier's verdicts"),
}

CONTROLS: dict[str, tuple[str, str]] = {
    "mass_no_update": ("MASS without update", "the meta-trained weights answer directly"),
    "mass_uniform_weights": ("MASS, uniform weights", "every practice example counts the same"),
    "mass_shuffled_weights": ("MASS, shuffled weights", "each problem's weights permuted among its practice examples"),
    "mass_other_problem": ("MASS, other problem", "practice written for another test problem"),
    "mass_strict": ("MASS, strict", "no practice example contains the tested fact"),
    "ttt_shown": (
        "TTT, shown examples",
        "update on the problem's own examples, each asked after the others",
    ),
    "oracle_gold_family": ("Oracle", "base updated on gold problems of the same family"),
    "oracle_strict": ("Oracle, strict", "the same, without the tested fact"),
    "oracle_filter": ("Oracle filter", "only those practice pairs that are right"),
    "mass_in_prompt": ("MASS, in the prompt", "the same practice set is read before the problem, and no update"),
    "first_order": ("First-order", "first-order attributions in place of the exact ones"),
}


CHECKS: dict[str, str] = {
    "attribution_fd_correlation": "Attribution against finite differences: correlation",
    "scorer_auc_within_task": "Scorer finds right practice pairs: area within the task",
    "oracle_gain_recovered": "Share of the oracle's gain recovered",
}


def label(name: str, results: Mapping[str, Any] | None = None) -> str:
    """The name a reader sees: as the results call it, else as here; an unknown name stands for itself.

    Args:
      name: of a method, a control or a trained arm.
      results: the content of ``results.json``, whose ``labels`` name the arms of one's own too.
    """
    given, known = (results or {}).get("labels") or {}, METHODS | CONTROLS
    return str(given.get(name) or (known[name][0] if name in known else name.replace("_", " ")))


def meaning(name: str, results: Mapping[str, Any] | None = None) -> str:
    """What a method or control is; of an arm of one's own what it overrides; nothing for an unknown name."""
    known = METHODS | CONTROLS
    if name in known:
        return known[name][1]
    arm = ((results or {}).get("arms") or {}).get(name) or {}
    own = ", ".join(f"{field} = {value}" for field, value in (arm.get("overrides") or {}).items())
    return f"trained with {own}" if own else ""


def pair_label(name: str, results: Mapping[str, Any] | None = None) -> str:
    """``"mass-base"`` as ``"MASS − Base"``."""
    return " − ".join(label(side, results) for side in name.split("-"))


def phase_label(name: str, results: Mapping[str, Any] | None = None) -> str:
    """``"train/mass"`` as ``"train MASS"``, and ``"evaluate/base (s)"`` of the costs as ``"answer as Base"``."""
    head, _, arm = re.sub(r" \(s\)$", "", name).partition("/")
    if not arm:
        return head.replace("_", " ")
    return f"{'answer as' if head == 'evaluate' else head} {label(arm, results)}"


def check_label(name: str) -> str:
    """``"attribution_fd_correlation.sgd"`` as a reader wants it."""
    head, _, rest = name.partition(".")
    return CHECKS.get(head, head.replace("_", " ")) + (f", {rest}" if rest else "")
