"""MASS on Countdown: which shape of a solution makes the target of three numbers (docs/domain.md).

python -m experiments.demo --config=configs/countdown.py --workdir=runs/countdown

Hardware: 2 CPU cores. With these settings the program stops at its gate: Base 38.8 %, oracle +2.5 points
(docs/domain.md). Time and accuracies of the whole program are not measured.
"""

from ml_collections import ConfigDict

from configs import demo


def get_config() -> ConfigDict:
    """The demo's settings, for other texts and fewer families."""
    config = demo.get_config()
    config.task.name = "countdown"
    config.task.numbers = 3  # of a hand, 3 to 8; the lengths go with it
    config.task.rules_seed = 0
    config.task.rules = 48
    config.task.validation_families = 8
    config.task.test_families = 14
    config.task.validation_problems = 80
    config.task.test_problems = 140

    config.model.context = 25

    config.pretrain.steps = 1_200  # at most
    config.pretrain.until = 0.6

    config.lengths.prompt = 7
    config.lengths.solution = 14
    config.lengths.synthesis = 18
    config.lengths.practice = 21
    config.lengths.check = 20
    config.lengths.short_document = 21
    config.lengths.long_document = 24

    # As many sampled tokens a problem as MASS takes: 12 x 18, so 15 x 14.
    config.arms.solver_grpo.train.solutions = 15
    config.gate.problems = 80
    config.evaluate.batch = 70
    return config
