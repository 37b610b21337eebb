"""MASS on hidden arithmetic rules, end to end.

    make demo
    python -m experiments.demo --config=configs/demo.py --workdir=runs/demo

Hardware: 2 CPU cores, 2 GiB. Time and metrics to expect: docs/results.md.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """The full demonstration."""
    config = ConfigDict()
    config.seed = 0  # of everything but the rules

    # The domain: families of quadratic and affine rules mod 11.
    config.task = ConfigDict()
    config.task.rules = 600  # families; the base is pretrained on all of them
    config.task.rules_seed = 0  # decides which rules, and which of them are whose
    config.task.seed = 0  # decides every problem
    config.task.validation_families = 80  # for the gate and for every choice of hyper-parameters
    config.task.test_families = 140  # for the tables only; meta-training has the other families
    config.task.pretrain_problems = 20_000
    config.task.train_problems = 4_000
    config.task.validation_problems = 320
    config.task.test_problems = 420
    config.task.data_dir = ""  # where the dataset is kept; empty for ~/.cache/mass_jax/tfds

    # The decoder; vocabulary from the task.
    config.model = ConfigDict()
    config.model.width = 128
    config.model.layers = 2
    config.model.heads = 4
    config.model.kv_heads = 2
    config.model.head_dim = 32
    config.model.mlp_width = 384
    config.model.context = 32

    # Pretraining of the base. Where it stops decides the headroom: see docs/domain.md.
    config.pretrain = ConfigDict()
    config.pretrain.steps = 620
    config.pretrain.short_batch = 48  # documents a step that solve or recite
    config.pretrain.long_batch = 24  # documents a step that write practice
    config.pretrain.tables = 3  # reciting documents for every solving one
    config.pretrain.learning_rate = 2e-2  # peak, Muon on the layers' matrices
    config.pretrain.adam_ratio = 0.3  # AdamW's rate on all other parameters, in units of Muon's
    config.pretrain.warmup_steps = 50
    config.pretrain.decay_steps = 200  # linear to zero at the end

    config.lora = ConfigDict()
    config.lora.rank = 8
    config.lora.targets = ".*_proj"  # regular expression on the projections' names

    # Padded lengths in tokens.
    config.lengths = ConfigDict()
    config.lengths.prompt = 10
    config.lengths.solution = 5
    config.lengths.synthesis = 14
    config.lengths.practice = 15
    config.lengths.check = 14
    config.lengths.short_document = 15
    config.lengths.long_document = 24

    config.generator = ConfigDict()
    config.generator.examples = 12  # M in training; the paper has 12
    config.generator.temperature = 0.6

    config.scorer = ConfigDict()
    config.scorer.kind = "verification"  # uniform, linear, verification
    config.scorer.normalization = "softmax"  # softmax, sigmoid, relu
    config.scorer.gate = True  # may decline an update
    config.scorer.hidden = 16

    # The inner update in training and at test time.
    config.inner = ConfigDict()
    config.inner.steps = 2  # K in training; the paper has 2
    config.inner.schedule = "fresh"  # fresh: M / K examples a step; same: all at every step
    config.inner.optimizer = "normalized_sgd"  # sgd, normalized_sgd, adam
    config.inner.learning_rate = 0.5

    config.metagrad = ConfigDict()
    config.metagrad.name = "adjoint"  # adjoint, unroll, first_order

    # Meta-training; each arm may override fields, see `arms`.
    config.train = ConfigDict()
    config.train.steps = 50
    config.train.problems = 24  # P, problems a step
    config.train.mode = "gold"
    config.train.practice = True
    config.train.sets = 1  # practice sets a problem
    config.train.solutions = 8  # S, sampled solutions a problem in verifier mode
    config.train.generator_rate = 3e-4
    config.train.scorer_rate = 5e-2
    config.train.attribution_weight = 1.0
    config.train.set_weight = 0.0
    config.train.malformed_advantage = -1.0
    config.train.solve_weight = 0.1  # gamma
    config.train.replay_weight = 0.0
    config.train.kl_weight = 1.0
    config.train.clip = 0.2
    config.train.epochs = 1
    config.train.max_norm = 1.0
    config.train.replay_batch = 32  # documents a step, for replay and KL
    config.train.save_every = 25  # steps between checkpoints

    # What is trained: each arm overrides fields of this config.
    config.arms = ConfigDict()
    config.arms.solver_grpo = {"train": {"mode": "verifier", "practice": False, "solutions": 50, "solve_weight": 1.0}}
    config.arms.mass_gold = {"train": {"mode": "gold"}}
    config.arms.mass = {"train": {"mode": "verifier"}}
    config.arms.first_order = {"train": {"mode": "verifier"}, "metagrad": {"name": "first_order"}}

    # The headroom gate on validation families: the demo stops where the oracle does not gain this much.
    config.gate = ConfigDict()
    config.gate.problems = 160
    config.gate.oracle_gain = 0.15
    config.gate.strict_gain = 0.05

    config.evaluate = ConfigDict()
    config.evaluate.batch = 105  # problems answered at once

    return config
