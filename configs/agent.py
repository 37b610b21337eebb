"""MASS on episodes with tools: an agent that practises before its task, what it is to do being hidden (docs/domain.md).

python -m experiments.demo --config=configs/agent.py --workdir=runs/agent

Hardware: 2 CPU cores. Time and accuracies of the whole program are not measured. On validation families: Base 60.0 %,
MASS with a frozen generator 71.9 %, and 58.1 % with one that is trained (docs/domain.md).
"""

from ml_collections import ConfigDict

from configs import demo


def get_config() -> ConfigDict:
    """The demo's settings, for longer texts and fewer families."""
    config = demo.get_config()
    config.task.name = "agent"
    config.task.rules_seed = 0
    config.task.rules = 144
    config.task.validation_families = 24
    config.task.test_families = 40
    config.task.validation_problems = 240
    config.task.test_problems = 400

    config.model.context = 64

    config.pretrain.steps = 3_000  # at most
    config.pretrain.until = 0.6

    config.lengths.prompt = 23
    config.lengths.solution = 24  # of an episode, with what tools write
    config.lengths.synthesis = 25
    config.lengths.practice = 47
    config.lengths.check = 43
    config.lengths.short_document = 47
    config.lengths.long_document = 47

    # As many sampled tokens a problem as MASS takes: 12 x 25, so 13 x 24, of which some are the tools'.
    config.arms.solver_grpo.train.solutions = 13
    config.evaluate.batch = 100
    return config
