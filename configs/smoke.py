"""The demo's program at its smallest size: every phase and every arm runs, and models are adapted to what they write.

    make smoke

Hardware: 2 CPU cores. Time: 2 min 22 s to 2 min 53 s, on shared cores. Accuracies say nothing: there are 12 test
problems.
"""

from ml_collections import ConfigDict

from configs import demo


def get_config() -> ConfigDict:
    """The demo, shrunk."""
    config = demo.get_config()
    config.task.rules = 10
    config.task.validation_families = 4
    config.task.test_families = 4
    config.task.pretrain_problems = 24
    config.task.train_problems = 32
    config.task.validation_problems = 8
    config.task.test_problems = 12

    config.model.width = 64
    config.model.layers = 1
    config.model.heads = 4  # two heads do not learn in time to repeat what was asked
    config.model.kv_heads = 2
    config.model.head_dim = 16
    config.model.mlp_width = 128

    # Just long enough that most of the written practice is well formed: without any, nothing is adapted.
    config.pretrain.steps = 200
    config.pretrain.warmup_steps = 5
    config.pretrain.decay_steps = 10
    config.pretrain.short_batch = 8
    config.pretrain.long_batch = 48

    config.lora.rank = 2
    config.generator.examples = 4
    config.train.steps = 3
    config.train.problems = 4
    config.train.solutions = 4
    config.train.replay_batch = 4
    config.train.save_every = 2
    config.arms.solver_grpo = {"train": {"mode": "verifier", "practice": False, "solutions": 8, "solve_weight": 1.0}}

    # So small a base has no headroom to speak of; the gate is measured, and open.
    config.gate.problems = 8
    config.gate.oracle_gain = -1.0
    config.gate.strict_gain = -1.0
    config.evaluate.batch = 6
    return config
