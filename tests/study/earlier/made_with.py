"""The config of the run beside this file, which version 9476da4 made.

In a checkout of it: ``python -m experiments.demo --config=made_with.py --workdir=run``. Of that run there are here its
config, results, examples, its base and its only arm; the answers are those of its folder ``evaluation``.
"""

from ml_collections import ConfigDict

from configs import smoke


def get_config() -> ConfigDict:
    config = smoke.get_config()
    config.task.rules = 10
    config.task.pretrain_problems = 24
    config.task.train_problems = 16
    config.task.test_problems = 12
    config.model.heads, config.model.kv_heads, config.model.head_dim = 4, 2, 8
    config.model.mlp_width = 48
    config.pretrain.steps = 400
    config.pretrain.short_batch = 8
    config.pretrain.long_batch = 48
    config.train.steps = 2
    config.arms = ConfigDict()
    config.arms.mass = {"train": {"mode": "verifier", "malformed_advantage": -0.5}}
    config.evaluate.batch = 6
    config.evaluate.checked = 2
    config.evaluate.skip = (
        *("base_ttt", "ttt_nn", "tt_ss_majority", "oracle_strict", "oracle_filter"),
        *("mass_uniform_weights", "mass_shuffled_weights", "mass_other_problem", "mass_strict", "mass_in_prompt"),
    )
    return config
