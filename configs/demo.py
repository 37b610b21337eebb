"""MASS on candidate rules, end to end: a model learns to write the practice that helps.

    make demo
    python -m experiments.demo --config=configs/demo.py --workdir=runs/demo

Hardware: 2 CPU cores. Time: 13 to 18 minutes on an AMD EPYC, 24 on an Intel Xeon. Expect, on the test
split, right practice 37 -> 59 %, Base 61.7 %, MASS 83.6 % (+21.9 over Base, 95 % interval +18.1 to +26.0), frozen
generator 80.5 %, oracle 91.2 %; on another kind of processor another draw of as much (docs/results.md).
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """The full demonstration."""
    config = ConfigDict()
    config.seed = 0  # of everything but the rules

    # The domain: a problem names three rules mod 11, one of which made the pairs that it shows; a rule is a family.
    config.task = ConfigDict()
    config.task.name = "candidates"  # or arithmetic, operators, mathematics: see the other configs
    config.task.rules = 600  # families; the base is pretrained on all of them
    config.task.rules_seed = 5  # decides which rules, and whose they are; all choices were made on 0 to 4
    config.task.seed = 0  # decides every problem
    config.task.validation_families = 80  # for the gate and for every choice of hyper-parameters
    config.task.test_families = 140  # for the tables only; meta-training has the other families
    config.task.pretrain_problems = 20_000  # about all families; documents are drawn around them
    config.task.train_problems = 4_000  # for meta-training
    config.task.validation_problems = 320  # spread evenly over their families, as are those of the test split
    config.task.test_problems = 420  # for the tables
    config.task.data_dir = ""  # where the dataset is kept; empty for ~/.cache/mass_jax/tfds

    # The decoder; vocabulary from the task.
    config.model = ConfigDict()
    config.model.width = 128  # of the residual stream
    config.model.layers = 2  # blocks
    config.model.heads = 4  # query heads
    config.model.kv_heads = 2  # key-value heads; divides heads
    config.model.head_dim = 32  # channels a head; even
    config.model.mlp_width = 384  # of the SwiGLU
    config.model.context = 32  # longest sequence in tokens

    # Pretraining of the base. Its end decides the headroom: it has to tell rules apart, and not too well
    # (docs/domain.md); other rules take other numbers of steps.
    config.pretrain = ConfigDict()
    config.pretrain.steps = 5_000  # at most
    config.pretrain.until = 0.68  # it ends once the base solves this share of the gate's problems
    config.pretrain.average = 0.02  # of the newest parameters in the running average, which is the base
    config.pretrain.short_batch = 32  # documents a step that solve or recite
    config.pretrain.long_batch = 96  # documents a step that write practice
    config.pretrain.tables = 1  # reciting documents for every solving one
    config.pretrain.learning_rate = 2e-2  # peak, Muon on the layers' matrices
    config.pretrain.adam_ratio = 0.3  # AdamW's rate on all other parameters, in units of Muon's
    config.pretrain.warmup_steps = 50  # linear from zero
    config.pretrain.decay_steps = 0  # linear to zero at the end; the average does it

    # How the devices are laid out, see mass_jax/models/sharding.py; on a single one nothing is split.
    config.mesh = ConfigDict()
    config.mesh.data = -1  # problems; -1 for all devices that the others leave
    config.mesh.fsdp = 1  # problems, and the parameters' matrices
    config.mesh.tensor = 1  # heads, hidden channels and vocabulary

    config.lora = ConfigDict()
    config.lora.rank = 8  # of every adapted projection
    config.lora.targets = ".*_proj"  # regular expression on the projections' names

    # Padded lengths in tokens.
    config.lengths = ConfigDict()
    config.lengths.prompt = 11  # problem and mark, BOS included
    config.lengths.solution = 5  # EOS included
    config.lengths.synthesis = 11  # what the generator writes for one example, EOS included, and one more
    config.lengths.practice = 16  # practice prompt and solution, BOS and EOS included
    config.lengths.check = 16  # question and target of the verification scorer, BOS included
    config.lengths.short_document = 16  # pretraining documents that solve or recite
    config.lengths.long_document = 22  # pretraining documents that write practice

    config.generator = ConfigDict()
    config.generator.examples = 12  # M in training; the paper has 12
    config.generator.temperature = 0.6  # of written practice; at 1 this base copies pairs wrongly

    config.scorer = ConfigDict()
    config.scorer.kind = "verification"  # uniform, linear, verification
    config.scorer.normalization = "softmax"  # softmax, sigmoid, relu
    config.scorer.gate = True  # may decline an update
    config.scorer.hidden = 16  # width of the verification scorer's hidden layer

    # The inner update in training and at test time.
    config.inner = ConfigDict()
    config.inner.steps = 1  # K in training; the paper has 2
    config.inner.schedule = "same"  # fresh: M / K examples a step; same: all at every step
    config.inner.optimizer = "normalized_sgd"  # sgd, normalized_sgd, adam
    config.inner.learning_rate = 0.5  # the length of a step for normalized_sgd

    config.metagrad = ConfigDict()
    config.metagrad.name = "adjoint"  # any estimator of mass_jax.metagrad that pulls a cotangent back
    config.metagrad.options = ""  # its options, as Python keywords: "microbatch=2", or "window=1"

    # Meta-training; each arm may override fields, see `arms`.
    config.train = ConfigDict()
    config.train.steps = 44  # outer steps
    config.train.problems = 96  # P, problems a step
    config.train.mode = "gold"  # outer loss: gold (reference solution) or verifier (GRPO)
    config.train.practice = True  # False leaves only the solving loss: Solver GRPO
    config.train.sets = 1  # practice sets a problem
    config.train.solutions = 8  # S, sampled solutions a problem in verifier mode
    config.train.optimizer = "normalized"  # of the model: normalized, muon, adam; see mass_jax/mass/optimizers.py
    config.train.generator_rate = 1.0  # the most length of the first step; it falls to 0 over the run
    config.train.step_kl = 0.3  # nats a text by which the first step moves what is written; falls with the rate squared
    config.train.momentum = 0.8  # the share of past gradients in the direction of a step
    config.train.epsilon = 1e-8  # Adam's, where the optimiser is Adam
    config.train.scorer_rate = 5e-2  # Adam, on the scorer
    config.train.reward = "scorer"  # of the generator: what the scorer has learned; its controls: mass/rewards.py
    config.train.attribution_at = "uniform"  # the scorer's weights and gate, or uniform ones
    config.train.credit_scale = 0.003  # nats a weight: rewards are tanh(credit / scale); 0 for z-scores within each set
    config.train.adapters = 1  # fresh adapters that a credit is averaged over
    config.train.siblings = 0  # other problems of the same family in the outer loss of credits
    config.train.attribution_weight = 2.0  # of the generator's policy gradient
    config.train.set_weight = 0.0  # of the set's outcome in each example's reward; needs sets > 1
    config.train.malformed_reward = -1.2  # for what cannot be parsed, before centring; 0 leaves it out
    config.train.solve_weight = 0.0  # gamma
    config.train.replay_weight = 0.0  # cross-entropy on documents that solve or recite: it teaches no choice
    config.train.kl_weight = 2.0  # KL(base || model) on the same documents
    config.train.text_kl_weight = 0.05  # KL(model || base) of what it writes, in nats a text, in each text's reward
    config.train.clip = 0.2  # PPO's epsilon
    config.train.epochs = 1  # gradient steps on each batch of generations
    config.train.parts = 1  # in which a step goes over its problems; one lies on the devices at a time
    config.train.microbatches = 1  # parts that the model's gradient is added up from, one alive at a time
    config.train.max_norm = 1.0  # global-norm clip of the model's gradient
    config.train.replay_batch = 64  # documents a step, for replay and KL
    config.train.spike_factor = 20.0  # a gradient's norm above so many medians is not followed, its step skipped
    config.train.spike_window = 20  # steps that the median is of
    config.train.spike_patience = 5  # skipped steps in a row, beyond which the run stops
    config.train.save_every = 20  # steps between checkpoints

    # What is trained: each arm overrides fields of this config.
    config.arms = ConfigDict()
    config.arms.mass = {}
    # The controls of the generator: only the scorer is trained; scorer and generator learn from permuted attributions;
    # the generator learns from the truth.
    config.arms.mass_frozen_generator = {"train": {"generator_rate": 0.0, "attribution_weight": 0.0}}
    config.arms.mass_shuffled_reward = {"train": {"reward": "shuffled_scorer"}}
    config.arms.mass_privileged_reward = {"train": {"reward": "privileged"}}
    # As many sampled tokens a problem as MASS takes: 12 x 11, so 27 x 5.
    config.arms.solver_grpo = {"train": {"mode": "verifier", "practice": False, "solutions": 27, "solve_weight": 1.0}}

    # The headroom gate on validation families: the demo stops where the oracle does not gain this much.
    config.gate = ConfigDict()
    config.gate.problems = 160  # of the validation split
    config.gate.oracle_gain = 0.15  # least gain over the base, as a fraction
    config.gate.strict_gain = 0.05  # the same for practice without any tested fact

    # What the report holds the run to, beside the claims about its numbers.
    config.targets = ConfigDict()
    config.targets.problems = 300  # test problems at least
    config.targets.minutes = 15  # at most

    config.evaluate = ConfigDict()
    config.evaluate.batch = 140  # problems answered at once
    config.evaluate.checked = 8  # problems whose attributions are held against float64 differences
    config.evaluate.skip = ("mass_in_prompt",)  # arms left out: this base has never read solved practice in a prompt

    return config
