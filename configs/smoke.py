"""The demo's program on hidden rules, at its smallest size: every phase runs, and models adapt to what they write.

    make smoke

Hardware: 2 CPU cores. Time at b23b3a8, with nothing compiled before: 80 s of processor time, 3 min 3 s beside other
programs. Accuracies say nothing: there are 12 test problems.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Hidden rules, shrunk."""
    config = ConfigDict()
    config.seed = 0  # of everything but the rules

    # The domain: families of quadratic and affine rules mod 11.
    config.task = ConfigDict()
    config.task.name = "arithmetic"  # or operators, mathematics
    config.task.rules = 10  # families; the base is pretrained on all of them
    config.task.rules_seed = 0  # decides which rules, and which of them are whose
    config.task.seed = 0  # decides every problem
    config.task.validation_families = 4  # for the gate and for every choice of hyper-parameters
    config.task.test_families = 4  # for the tables only; meta-training has the other families
    config.task.pretrain_problems = 24  # about all families; documents are drawn around them
    config.task.train_problems = 32  # for meta-training
    config.task.validation_problems = 8  # spread evenly over their families, as are those of the test split
    config.task.test_problems = 12  # for the tables
    config.task.data_dir = ""  # where the dataset is kept; empty for ~/.cache/mass_jax/tfds

    # The decoder; vocabulary from the task.
    config.model = ConfigDict()
    config.model.width = 64  # of the residual stream
    config.model.layers = 1  # blocks
    config.model.heads = 4  # query heads; two do not learn in time to repeat what was asked
    config.model.kv_heads = 2  # key-value heads; divides heads
    config.model.head_dim = 16  # channels a head; even
    config.model.mlp_width = 128  # of the SwiGLU
    config.model.context = 32  # longest sequence in tokens

    # Just long enough that most of the written practice is well formed: without any, nothing is adapted.
    config.pretrain = ConfigDict()
    config.pretrain.steps = 200  # of pretraining
    config.pretrain.short_batch = 8  # documents a step that solve or recite
    config.pretrain.long_batch = 48  # documents a step that write practice
    config.pretrain.tables = 3  # reciting documents for every solving one
    config.pretrain.learning_rate = 2e-2  # peak, Muon on the layers' matrices
    config.pretrain.adam_ratio = 0.3  # AdamW's rate on all other parameters, in units of Muon's
    config.pretrain.warmup_steps = 5  # linear from zero
    config.pretrain.decay_steps = 10  # linear to zero at the end

    # How the devices are laid out, see mass_jax/models/sharding.py; on a single one nothing is split.
    config.mesh = ConfigDict()
    config.mesh.data = -1  # problems; -1 for all devices that the others leave
    config.mesh.fsdp = 1  # problems, and the parameters' matrices
    config.mesh.tensor = 1  # heads, hidden channels and vocabulary

    config.lora = ConfigDict()
    config.lora.rank = 2  # of every adapted projection
    config.lora.targets = ".*_proj"  # regular expression on the projections' names

    # Padded lengths in tokens.
    config.lengths = ConfigDict()
    config.lengths.prompt = 10  # problem and mark, BOS included
    config.lengths.solution = 5  # EOS included
    config.lengths.synthesis = 14  # what the generator writes for one example, EOS included
    config.lengths.practice = 15  # practice prompt and solution, BOS and EOS included
    config.lengths.check = 14  # question and target of the verification scorer, BOS included
    config.lengths.short_document = 15  # pretraining documents that solve or recite
    config.lengths.long_document = 24  # pretraining documents that write practice

    config.generator = ConfigDict()
    config.generator.examples = 4  # M in training
    config.generator.temperature = 0.6  # of written practice

    config.scorer = ConfigDict()
    config.scorer.kind = "verification"  # uniform, linear, verification
    config.scorer.normalization = "softmax"  # softmax, sigmoid, relu
    config.scorer.gate = True  # may decline an update
    config.scorer.hidden = 16  # width of the verification scorer's hidden layer

    # The inner update in training and at test time.
    config.inner = ConfigDict()
    config.inner.steps = 2  # K in training
    config.inner.schedule = "fresh"  # fresh: M / K examples a step; same: all at every step
    config.inner.optimizer = "normalized_sgd"  # sgd, normalized_sgd, adam
    config.inner.learning_rate = 0.5  # the length of a step for normalized_sgd

    config.metagrad = ConfigDict()
    config.metagrad.name = "adjoint"  # any estimator of mass_jax.metagrad that pulls a cotangent back
    config.metagrad.options = ""  # its options, as Python keywords: "microbatch=2", or "window=1"

    # Meta-training; each arm may override fields, see `arms`.
    config.train = ConfigDict()
    config.train.steps = 3  # outer steps
    config.train.problems = 4  # P, problems a step
    config.train.mode = "gold"  # outer loss: gold (reference solution) or verifier (GRPO)
    config.train.practice = True  # False leaves only the solving loss: Solver GRPO
    config.train.sets = 1  # practice sets a problem
    config.train.solutions = 4  # S, sampled solutions a problem in verifier mode
    config.train.optimizer = "adam"  # of the model: normalized, muon, adam; see mass_jax/mass/optimizers.py
    config.train.generator_rate = 3e-4  # at the start; small, for here no reward teaches a generator: docs/domain.md
    config.train.momentum = 0.9  # the share of past gradients in the direction of a step
    config.train.epsilon = 1e-8  # Adam's, where the optimiser is Adam
    config.train.scorer_rate = 5e-2  # Adam, on the scorer
    config.train.reward = "attribution"  # of the generator; its controls: see mass_jax/mass/rewards.py
    config.train.attribution_at = "scorer"  # the scorer's weights and gate, or uniform ones
    config.train.attribution_weight = 1.0  # of the generator's policy gradient
    config.train.set_weight = 0.0  # of the set's outcome in each example's reward; needs sets > 1
    config.train.malformed_reward = -0.6  # for what cannot be parsed, before centring; 0 leaves it out
    config.train.solve_weight = 0.1  # gamma
    config.train.replay_weight = 1.0  # cross-entropy on pretraining documents that solve or recite
    config.train.kl_weight = 0.1  # KL(base || model) on the same documents
    config.train.clip = 0.2  # PPO's epsilon
    config.train.epochs = 1  # gradient steps on each batch of generations
    config.train.parts = 1  # in which a step goes over its problems; one lies on the devices at a time
    config.train.microbatches = 1  # parts that the model's gradient is added up from, one alive at a time
    config.train.max_norm = 1.0  # global-norm clip of the model's gradient
    config.train.replay_batch = 4  # documents a step, for replay and KL
    config.train.spike_factor = 20.0  # a gradient's norm above so many medians is not followed, its step skipped
    config.train.spike_window = 20  # steps that the median is of
    config.train.spike_patience = 5  # skipped steps in a row, beyond which the run stops
    config.train.save_every = 2  # steps between checkpoints

    # What is trained: each arm overrides fields of this config.
    config.arms = ConfigDict()
    config.arms.solver_grpo = {"train": {"mode": "verifier", "practice": False, "solutions": 8, "solve_weight": 1.0}}
    config.arms.mass_gold = {"train": {"mode": "gold"}}
    config.arms.mass = {"train": {"mode": "verifier"}}
    config.arms.first_order = {"metagrad": {"name": "first_order"}, "train": {"mode": "verifier"}}

    # So small a base has no headroom to speak of: the gate is measured, and open.
    config.gate = ConfigDict()
    config.gate.problems = 8  # of the validation split
    config.gate.oracle_gain = -1.0  # least gain over the base, as a fraction
    config.gate.strict_gain = -1.0  # the same for practice without any tested fact

    # What the report holds the run to, beside the claims about its numbers.
    config.targets = ConfigDict()
    config.targets.problems = 300  # test problems at least
    config.targets.minutes = 20  # at most

    config.evaluate = ConfigDict()
    config.evaluate.batch = 6  # problems answered at once
    config.evaluate.checked = 8  # problems whose attributions are held against float64 differences
    config.evaluate.skip = ("mass_in_prompt",)  # arms left out: this base has never read solved practice in a prompt

    return config
