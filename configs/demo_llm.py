"""A short MASS training of SmolLM2-135M-Instruct, and 32 test problems: configs/smollm2_135m.py in little.

    make demo-llm

Hardware: 2 CPU cores and 16 GiB. Not measured since the policy gradient is another (537a189) and the table has the rows
self_consistency and best_of_n. At f60c866, in 16 minutes: Base 9.4 %, MASS-gold 12.5 % (+3.1, 95 % interval -7.4 to
+14.7), log-likelihood -1.346 to -1.238.
"""

from ml_collections import ConfigDict

from configs import smollm2_135m


def get_config() -> ConfigDict:
    """One arm, few problems, an open gate."""
    config = smollm2_135m.get_config()
    config.task.test_problems = 32
    config.train.steps = 8
    config.train.save_every = 2
    config.arms = ConfigDict({"mass_gold": {"train": {"mode": "gold"}}})
    config.gate.problems = 16
    config.gate.oracle_gain = -1.0
    config.gate.strict_gain = -1.0
    config.evaluate.batch = 16
    config.evaluate.checked = 2
    config.targets.problems = 32
    config.targets.minutes = 30
    return config
