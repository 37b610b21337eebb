"""MASS on Countdown: which shape of a solution makes the target of four numbers (docs/domain.md).

python -m experiments.demo --config=configs/countdown.py --workdir=runs/countdown

Hardware: 2 CPU cores. Time and accuracies of the whole program are not measured yet.
"""

from ml_collections import ConfigDict

from configs import demo


def get_config() -> ConfigDict:
    """The demo's settings, for longer texts and fewer families."""
    config = demo.get_config()
    config.task.name = "countdown"
    config.task.numbers = 4  # of a hand, 3 to 8; lengths and the model's context go with it
    config.task.rules_seed = 0
    config.task.rules = 300
    config.task.validation_families = 60
    config.task.test_families = 100
    config.task.validation_problems = 240
    config.task.test_problems = 400

    config.model.context = 34

    config.pretrain.steps = 2_000  # at most
    config.pretrain.until = 0.6

    config.lengths.prompt = 8
    config.lengths.solution = 20
    config.lengths.synthesis = 25
    config.lengths.practice = 28
    config.lengths.check = 27
    config.lengths.short_document = 28
    config.lengths.long_document = 32

    # As many sampled tokens a problem as MASS takes: 12 x 25, so 15 x 20.
    config.arms.solver_grpo.train.solutions = 15
    config.evaluate.batch = 100
    return config
