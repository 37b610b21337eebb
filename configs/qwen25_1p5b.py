"""MASS on Qwen2.5-1.5B-Instruct: GSM8K, both outer losses, accuracy by math-verify.

    HF_HOME=... python -m experiments.demo --config=configs/qwen25_1p5b.py --workdir=runs/qwen25_1p5b

Hardware: one GPU of 80 GiB. Not measured; the lengths hold all but the longest problems, and every rate is a guess to
be tuned on validation problems.
"""

from ml_collections import ConfigDict

from configs import gsm8k_smollm2


def get_config() -> ConfigDict:
    """GSM8K at a size where a verifier's reward is not flat."""
    config = gsm8k_smollm2.get_config()
    config.task.train_problems = 1000
    config.task.validation_problems = 200
    config.task.test_problems = 500

    config.model.source = "Qwen/Qwen2.5-1.5B-Instruct"
    config.model.scan_decode = True  # a loop is faster on a CPU only
    config.model.remat = True  # recompute activations: less memory, a third more time
    config.model.dtype = "bfloat16"  # of activations; norms, softmax and losses are wider

    config.lora.rank = 16
    config.lora.targets = ".*_proj"

    config.generator.examples = 6
    config.generator.temperature = 1.0

    config.inner.steps = 2
    config.inner.optimizer = "adam"
    config.inner.learning_rate = 1e-3
    config.inner.problems_at_once = 2

    config.train.steps = 100
    config.train.problems = 16
    config.train.generator_rate = 0.04
    config.train.kl_weight = 0.05
    config.train.replay_batch = 8

    config.arms = ConfigDict()
    config.arms.solver_grpo = {"train": {"mode": "verifier", "practice": False, "solutions": 16, "solve_weight": 1.0}}
    config.arms.mass_gold = {"train": {"mode": "gold"}}
    config.arms.mass = {"train": {"mode": "verifier"}}

    # self_consistency samples 1,536 tokens a problem, a quarter of what the other rows do, and is kept here too.
    config.evaluate.batch = 20
    return config
