"""MASS on a grid: a plan to a goal, by keys whose effects are hidden (docs/domain.md).

python -m experiments.demo --config=configs/grid.py --workdir=runs/grid

Hardware: 2 CPU cores. Time and accuracies of the whole program are not measured yet.
"""

from ml_collections import ConfigDict

from configs import demo


def get_config() -> ConfigDict:
    """The demo's settings, for longer texts and fewer families."""
    config = demo.get_config()
    config.task.name = "grid"
    config.task.rules_seed = 0
    config.task.rules = 300
    config.task.validation_families = 60
    config.task.test_families = 100
    config.task.validation_problems = 240
    config.task.test_problems = 400

    config.model.context = 40

    config.pretrain.steps = 2_000  # at most
    config.pretrain.until = 0.6

    config.lengths.prompt = 20
    config.lengths.solution = 12
    config.lengths.synthesis = 15
    config.lengths.practice = 32
    config.lengths.check = 31
    config.lengths.short_document = 32
    config.lengths.long_document = 34

    # As many sampled tokens a problem as MASS takes: 12 x 15, so 15 x 12.
    config.arms.solver_grpo.train.solutions = 15
    config.evaluate.batch = 100
    return config
