"""MASS on hidden programs: which two operations made the runs that a problem shows (docs/code.md).

python -m experiments.demo --config=configs/programs.py --workdir=runs/programs

Hardware: 2 CPU cores. Time and accuracies of the whole program are not measured. On validation families: Base 65.6 %,
MASS with a frozen generator 93.1 %, and 85.6 % with one that is trained (docs/code.md).
"""

from ml_collections import ConfigDict

from configs import demo


def get_config() -> ConfigDict:
    """The demo's settings, for longer texts and fewer families."""
    config = demo.get_config()
    config.task.name = "programs"
    config.task.rules_seed = 0
    config.task.rules = 160
    config.task.validation_families = 24
    config.task.test_families = 40
    config.task.validation_problems = 240
    config.task.test_problems = 400

    config.model.context = 40

    config.pretrain.steps = 3_000  # at most
    config.pretrain.until = 0.6

    config.lengths.prompt = 15
    config.lengths.solution = 8
    config.lengths.synthesis = 23
    config.lengths.practice = 24
    config.lengths.check = 22
    config.lengths.short_document = 23
    config.lengths.long_document = 37

    # As many sampled tokens a problem as MASS takes: 12 x 23, so 34 x 8.
    config.arms.solver_grpo.train.solutions = 34
    config.evaluate.batch = 100
    return config
