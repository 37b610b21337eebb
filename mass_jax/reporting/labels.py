"""What the methods and controls are called, and what each of them is."""

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


def label(name: str) -> str:
    """The name a reader sees; an unknown name stands for itself."""
    known = METHODS | CONTROLS
    return known[name][0] if name in known else name.replace("_", " ")


def meaning(name: str) -> str:
    """What a method or control is, or nothing for an unknown name."""
    return (METHODS | CONTROLS).get(name, ("", ""))[1]


def pair_label(name: str) -> str:
    """``"mass-base"`` as ``"MASS − Base"``."""
    return " − ".join(label(side) for side in name.split("-"))
