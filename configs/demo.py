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
    config.task.rules = 200  # families; the base is pretrained on all of them
    config.task.rules_seed = 0  # which rules
    config.task.validation_families = 40  # for the gate and for every choice of hyper-parameters
    config.task.test_families = 40  # for the tables only; the rest is for meta-training
    config.task.pretrain_problems = 20_000
    config.task.train_problems = 6_000
    config.task.validation_problems = 320
    config.task.test_problems = 400
    config.task.data_dir = ""  # where the dataset is kept; empty for ~/.cache/mass_jax

    # The decoder; vocabulary from the task.
    config.model = ConfigDict()
    config.model.width = 128
    config.model.layers = 3
    config.model.heads = 4
    config.model.kv_heads = 2
    config.model.head_dim = 32
    config.model.mlp_width = 384
    config.model.context = 48

    # Pretraining of the base, in two phases with their own mix of documents.
    config.pretrain = ConfigDict()
    config.pretrain.batch_size = 64
    config.pretrain.learning_rate = 3e-3  # peak, AdamW
    config.pretrain.warmup_steps = 100
    config.pretrain.weight_decay = 0.05
    config.pretrain.first_steps = 800  # phase one: learn the rules and their names
    config.pretrain.first_mix = (0.35, 0.25, 0.4)  # shares of solve, with-steps and synthesis documents
    config.pretrain.second_steps = 1200  # phase two, with decay to zero: answer without steps
    config.pretrain.second_mix = (0.7, 0.1, 0.2)

    config.lora = ConfigDict()
    config.lora.rank = 8
    config.lora.targets = ".*_proj"  # regular expression on the projections' names

    # Padded lengths in tokens.
    config.lengths = ConfigDict()
    config.lengths.prompt = 11
    config.lengths.solution = 3
    config.lengths.synthesis = 14
    config.lengths.practice = 13
    config.lengths.check = 13

    config.generator = ConfigDict()
    config.generator.examples = 12  # M in training; the paper has 12
    config.generator.temperature = 1.0

    config.scorer = ConfigDict()
    config.scorer.kind = "verification"  # uniform, linear, verification
    config.scorer.normalization = "softmax"  # softmax, sigmoid, relu
    config.scorer.gate = True  # may decline an update
    config.scorer.hidden = 16

    # The inner update in training and at test time.
    config.inner = ConfigDict()
    config.inner.steps = 2  # K in training; the paper has 2
    config.inner.schedule = "fresh"  # fresh: M / K examples a step; same: all at every step
    config.inner.optimizer = "adam"  # sgd, normalized_sgd, adam
    config.inner.learning_rate = 0.02

    config.metagrad = ConfigDict()
    config.metagrad.name = "adjoint"  # adjoint, unroll, first_order

    # Meta-training; each arm may override fields, see `arms`.
    config.train = ConfigDict()
    config.train.steps = 100
    config.train.problems = 32  # P, problems a step
    config.train.mode = "gold"
    config.train.practice = True
    config.train.sets = 1  # practice sets a problem
    config.train.solutions = 8  # S, sampled solutions a problem in verifier mode
    config.train.generator_rate = 1e-4
    config.train.scorer_rate = 1e-2
    config.train.attribution_weight = 1.0
    config.train.set_weight = 0.0
    config.train.malformed_advantage = -1.0
    config.train.solve_weight = 0.1  # gamma
    config.train.replay_weight = 0.0
    config.train.kl_weight = 1.0
    config.train.clip = 0.2
    config.train.epochs = 1
    config.train.max_norm = 1.0
    config.train.replay_batch_size = 32  # documents a step, for replay and KL
    config.train.save_every = 25  # steps between checkpoints

    return config
