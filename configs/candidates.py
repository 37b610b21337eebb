"""A domain where a generator can choose: three candidate rules, one of which made the pairs.

python -m experiments.gate --config=configs/candidates.py --workdir=runs/candidates
"""

from ml_collections import ConfigDict

from configs import demo


def get_config() -> ConfigDict:
    """The demo's model and method on candidates."""
    config = demo.get_config()
    config.task.name = "candidates"

    config.pretrain.steps = 1_150  # solves 79 %; at 48 % a generator cannot learn to choose, at 89 little is left
    config.pretrain.tables = 1  # with three, 1,700 steps solve 48 %

    config.lengths.prompt = 11
    config.lengths.solution = 5
    config.lengths.synthesis = 11  # one more than a right text: a text that does not end is malformed
    config.lengths.practice = 16
    config.lengths.check = 16
    config.lengths.short_document = 16
    config.lengths.long_document = 22

    config.scorer.kind = "uniform"
    config.scorer.gate = False
    config.inner.steps = 1
    config.inner.schedule = "same"

    config.train.steps = 35
    config.train.problems = 96
    config.train.optimizer = "normalized"
    config.train.generator_rate = 0.5  # the length of the first step; it falls to 0 over the run
    config.train.momentum = 0.8
    config.train.malformed_reward = -0.6
    config.train.solve_weight = 0.0
    config.train.replay_weight = 0.3
    config.train.kl_weight = 10.0
    config.train.save_every = 10
    config.arms = ConfigDict()
    config.arms.mass_gold = {"train": {"mode": "gold"}}
    config.gate.problems = 320
    config.evaluate.batch = 160
    config.evaluate.skip = ()
    return config
