"""MASS on a grid: a plan to a goal, by keys whose effects are hidden (docs/domain.md).

python -m experiments.demo --config=configs/grid.py --workdir=runs/grid

Hardware: 2 CPU cores. Time and accuracies of the whole program are not measured. After 2,000 steps its base solves
17.5 %, with the oracle 18.8 %: the gate is shut (docs/domain.md).
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

    config.pretrain.steps = 2_000  # at most
    config.pretrain.until = 0.6

    config.lengths.prompt = 11
    config.lengths.solution = 11
    config.lengths.synthesis = 14
    config.lengths.practice = 22
    config.lengths.check = 21
    config.lengths.short_document = 22
    config.lengths.long_document = 24

    # As many sampled tokens a problem as MASS takes: 12 x 14, so 15 x 11.
    config.arms.solver_grpo.train.solutions = 15
    config.evaluate.batch = 100
    return config
