"""The demo with one field changed at a time; each group of arms is a study of its own, so that one stops no other.

    python -m experiments.demo --config=configs/ablations.py:steps --workdir=runs/ablation_steps
    make reproduce-full

Hardware: 2 CPU cores. Time and accuracies are not measured yet. Nothing is tuned for any arm: they show what a field
does at the demo's other settings, not what its value could do at its best.
"""

from ml_collections import ConfigDict

from configs import demo

HALF, QUARTER, DOUBLE = 48, 24, 192
"""Problems a step, of the demo's 96."""
ARMS: dict[str, dict[str, dict[str, dict[str, object]]]] = {
    # By which the scorer learns, at the paper's K: in one step a window of one is exact. Evolution takes no
    # cotangent; experiments.benchmarks.exactness has it.
    "estimator": {
        "first_order": {"metagrad": {"name": "first_order"}},
        "truncated": {"metagrad": {"name": "truncated", "options": "window=1"}},
        "sama": {"metagrad": {"name": "finite_difference", "options": "kind='sama'"}},
        "implicit": {"metagrad": {"name": "implicit", "options": "solver='nystrom', iterations=2, damping=0.01"}},
    },
    # Rates have another meaning for each; these are the ones that experiments.benchmarks.exactness and the check of
    # attributions use.
    "optimizer": {
        "sgd": {"inner": {"optimizer": "sgd", "learning_rate": 0.5}},
        "adam": {"inner": {"optimizer": "adam", "learning_rate": 0.005}},
    },
    "steps": {
        "steps_2": {"inner": {"steps": 2}},
        "steps_4": {"inner": {"steps": 4}},
        "steps_8": {"inner": {"steps": 8}},
    },
    "examples": {
        "examples_3": {"generator": {"examples": 3}},
        "examples_6": {"generator": {"examples": 6}},
        "examples_24": {"generator": {"examples": 24}},
    },
    # Rewarded by attributions, all of them: a uniform scorer is no critic.
    "scorer": {
        "uniform": {"scorer": {"kind": "uniform"}},
        "linear": {"scorer": {"kind": "linear"}},
    },
    "reward": {
        "attribution": {"train": {"reward": "attribution"}},
        "complete": {"train": {"reward": "complete"}},
        "leave_one_out": {"train": {"reward": "leave_one_out"}},
        "normalized": {"train": {"reward": "normalized"}},
        "random": {"train": {"reward": "random"}},
    },
    "theta": {
        "mass_frozen_generator": {"train": {"generator_rate": 0.0, "attribution_weight": 0.0}},
        "lora": {"train": {"lora_rank": 8}},
    },
    # Two steps, on all examples each or on half of them.
    "schedule": {"fresh": {"inner": {"schedule": "fresh"}}},
    # Sets of a problem at as many texts a step, and then other numbers of texts.
    "texts": {
        "sets_2": {"train": {"sets": 2, "problems": HALF}},
        "sets_4": {"train": {"sets": 4, "problems": QUARTER}},
        "half": {"train": {"problems": HALF}},
        "double": {"train": {"problems": DOUBLE}},
    },
}
"""Of every group, beside the demo's own."""


def get_config(group: str = "steps") -> ConfigDict:
    """The arms of a group and the one that they differ from."""
    config = demo.get_config()
    if group in ("estimator", "schedule"):
        config.inner.steps = 2
    if group == "scorer":
        config.train.reward = "attribution"
    config.arms = ConfigDict(ARMS[group])
    config.arms.mass = {}
    # Rows of the base and of MASS that the demo has already.
    config.evaluate.skip = (
        *("base_ttt", "ttt_nn", "tt_ss_majority", "best_of_n", "ttt_shown", "oracle_filter", "mass_in_prompt"),
        *("mass_other_problem", "mass_read_off", "mass_read_off_right", "mass_strict", "mass_shuffled_weights"),
    )
    return config
