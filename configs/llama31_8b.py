"""MASS on Llama-3.1-8B-Instruct and MATH-500: the paper's setting (Kaya & Rui 2026, arXiv 2603.03524).

    HF_TOKEN=... python -m experiments.demo --config=configs/llama31_8b.py --workdir=/shared/runs/llama31_8b

Values marked (paper) are the paper's; all others are ours, because the paper does not tell them. Hardware: the paper's
is unknown; ours was never run. The paper reports Base 43.6 %, Solver GRPO 49.1, MASS-gold 54.1, MASS 59.0.
"""

from ml_collections import ConfigDict

from configs import qwen25_1p5b


def get_config() -> ConfigDict:
    """The paper's table."""
    config = qwen25_1p5b.get_config()
    config.task.dataset = "math"
    config.task.test_ids = "hub"  # (paper) MATH-500
    config.task.train_problems = 1000  # (paper)
    config.task.test_problems = 0  # (paper) all 500
    config.task.shots = 0

    config.model.source = "meta-llama/Llama-3.1-8B-Instruct"  # (paper)
    config.model.context = 2048
    config.model.remat = True  # (paper) block rematerialisation
    config.model.param_dtype = "bfloat16"
    config.model.loss_chunk = 512

    config.mesh.data = -1
    config.mesh.fsdp = 4
    config.mesh.tensor = 4

    config.lengths.prompt = 640
    config.lengths.solution = 768
    config.lengths.synthesis = 768
    config.lengths.practice = 1024
    config.lengths.check = 1024
    config.lengths.long_document = 1024

    config.lora.rank = 16
    config.lora.targets = ".*_proj"
    config.metagrad.name = "adjoint"  # the paper has mixed_mode, which returns the same numbers for more memory
    config.metagrad.options = "microbatch=1"

    # At test time, and in training by the arms below.
    config.generator.examples = 6  # (paper)
    config.inner.steps = 1  # (paper)
    config.inner.schedule = "fresh"
    config.inner.problems_at_once = 1
    config.train.steps = 100  # (paper)
    config.train.problems = 8  # the paper's 1,000 problems in 100 steps would be 10, which no pod divides
    config.train.solutions = 8
    config.train.microbatches = 2

    training = {"generator": {"examples": 12}, "inner": {"steps": 2}}  # (paper)
    config.arms.mass_gold = {"train": {"mode": "gold"}, **training}
    config.arms.mass = {"train": {"mode": "verifier"}, **training}
    return config
