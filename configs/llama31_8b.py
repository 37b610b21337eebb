"""MASS on Llama-3.1-8B-Instruct and MATH-500: the paper's setting (Kaya & Rui 2026, arXiv 2603.03524).

    HF_TOKEN=... python -m experiments.demo --config=configs/llama31_8b.py --workdir=/shared/runs/llama31_8b

Values marked (paper) are the paper's; all others are ours, because the paper does not tell them. Hardware: the paper's
is unknown; ours was never run. The paper reports Base 43.6 %, Solver GRPO 49.1, MASS-gold 54.1, MASS 59.0.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """The paper's table."""
    config = ConfigDict()
    config.seed = 0  # of everything but the order of the problems

    # The domain: word problems whose answers are graded by math-verify.
    config.task = ConfigDict()
    config.task.name = "mathematics"  # or arithmetic, operators
    config.task.dataset = "math"  # gsm8k, math, svamp, jsonl
    config.task.source = "public"  # public, hub, or a folder; of jsonl also one file
    config.task.held_out = 0  # where the source is one file: how many of its problems are the test split
    config.task.test_ids = "hub"  # (paper) hub for MATH-500, or a file of ids
    config.task.validation_problems = 200  # taken from the training problems
    config.task.train_problems = 1000  # (paper) of those that fit, the first; 0 for all
    config.task.test_problems = 0  # (paper) 0 for all, which are 500
    config.task.seed = 0  # order of the problems
    config.task.prompts = ""  # a file of prompts; empty for the data set's own
    config.task.shots = 0  # worked examples of practice that a chat model reads
    config.task.data_dir = ""  # where the dataset is kept; empty for ~/.cache/mass_jax/tfds

    config.model = ConfigDict()
    config.model.source = "meta-llama/Llama-3.1-8B-Instruct"  # (paper) see mass_jax/models/pretrained/source.py
    config.model.context = 2048  # longest sequence in tokens
    config.model.scan_layers = True  # one compilation for all layers
    config.model.scan_decode = True  # likewise while tokens are written; a loop is faster on a CPU only
    config.model.loss_chunk = 512  # positions whose logits are alive at once
    config.model.remat = True  # (paper) recompute activations, block by block
    config.model.dtype = "bfloat16"  # of activations; norms, softmax and losses are wider
    config.model.param_dtype = "bfloat16"  # of the parameters

    # Others have pretrained the model: these fields are not used.
    config.pretrain = ConfigDict()
    config.pretrain.steps = 620  # of pretraining
    config.pretrain.short_batch = 48  # documents a step that solve or recite
    config.pretrain.long_batch = 24  # documents a step that write practice
    config.pretrain.tables = 3  # reciting documents for every solving one
    config.pretrain.learning_rate = 2e-2  # peak, Muon on the layers' matrices
    config.pretrain.adam_ratio = 0.3  # AdamW's rate on all other parameters, in units of Muon's
    config.pretrain.warmup_steps = 50  # linear from zero
    config.pretrain.decay_steps = 200  # linear to zero at the end

    # How the devices are laid out, see mass_jax/models/sharding.py; on a single one nothing is split.
    config.mesh = ConfigDict()
    config.mesh.data = -1  # problems; -1 for all devices that the others leave
    config.mesh.fsdp = 4  # problems, and the parameters' matrices
    config.mesh.tensor = 4  # heads, hidden channels and vocabulary

    config.lora = ConfigDict()
    config.lora.rank = 16  # of every adapted projection
    config.lora.targets = ".*_proj"  # regular expression on the projections' names

    # Padded lengths in tokens.
    config.lengths = ConfigDict()
    config.lengths.prompt = 640  # problem and mark, BOS included
    config.lengths.solution = 768  # EOS included
    config.lengths.synthesis = 768  # what the generator writes for one example, EOS included
    config.lengths.practice = 1024  # practice prompt and solution, BOS and EOS included
    config.lengths.check = 1024  # question and target of the verification scorer, BOS included
    config.lengths.short_document = 15  # not used either
    config.lengths.long_document = 1024  # documents for replay and KL

    # At test time, and in training by the arms below.
    config.generator = ConfigDict()
    config.generator.examples = 6  # (paper) M
    config.generator.temperature = 1.0  # of written practice

    config.scorer = ConfigDict()
    config.scorer.kind = "linear"  # uniform, linear, verification
    config.scorer.normalization = "softmax"  # softmax, sigmoid, relu
    config.scorer.gate = True  # may decline an update
    config.scorer.hidden = 16  # width of the verification scorer's hidden layer

    # The inner update in training and at test time.
    config.inner = ConfigDict()
    config.inner.steps = 1  # (paper) K
    config.inner.schedule = "fresh"  # fresh: M / K examples a step; same: all at every step
    config.inner.optimizer = "adam"  # sgd, normalized_sgd, adam
    config.inner.learning_rate = 1e-3  # of a step
    config.inner.problems_at_once = 1  # problems whose activations are alive at once; 0 for all

    config.metagrad = ConfigDict()
    config.metagrad.name = "adjoint"  # the paper has mixed_mode, which returns the same numbers for more memory
    config.metagrad.options = "microbatch=1"  # its options, as Python keywords: "microbatch=2", or "window=1"

    # Meta-training; each arm may override fields, see `arms`.
    config.train = ConfigDict()
    config.train.steps = 100  # (paper) outer steps
    config.train.problems = 8  # P; the paper's 1,000 problems in 100 steps would be 10, which no pod divides
    config.train.mode = "gold"  # outer loss: gold (reference solution) or verifier (GRPO)
    config.train.practice = True  # False leaves only the solving loss: Solver GRPO
    config.train.sets = 1  # practice sets a problem
    config.train.solutions = 8  # S, sampled solutions a problem in verifier mode
    config.train.optimizer = "normalized"  # of the model: normalized, muon, adam; see mass_jax/mass/optimizers.py
    config.train.generator_rate = 0.1  # the length of the model's first step; it falls to 0 over the run
    config.train.momentum = 0.8  # the share of past gradients in the direction of a step
    config.train.epsilon = 1e-8  # Adam's, where the optimiser is Adam
    config.train.scorer_rate = 5e-2  # Adam, on the scorer
    config.train.reward = "attribution"  # of the generator; its controls: see mass_jax/mass/rewards.py
    config.train.attribution_at = "scorer"  # the scorer's weights and gate, or uniform ones
    config.train.attribution_weight = 1.0  # of the generator's policy gradient
    config.train.set_weight = 0.0  # of the set's outcome in each example's reward; needs sets > 1
    config.train.malformed_reward = -0.6  # for what cannot be parsed, before centring; 0 leaves it out
    config.train.solve_weight = 0.1  # gamma
    config.train.replay_weight = 0.0  # cross-entropy on documents: training problems with their references
    config.train.kl_weight = 0.05  # KL(base || model) on documents
    config.train.clip = 0.2  # PPO's epsilon
    config.train.epochs = 1  # gradient steps on each batch of generations
    config.train.parts = 1  # in which a step goes over its problems; one lies on the devices at a time
    config.train.microbatches = 2  # parts that the model's gradient is added up from, one alive at a time
    config.train.max_norm = 1.0  # global-norm clip of the model's gradient
    config.train.replay_batch = 8  # documents a step, for replay and KL
    config.train.spike_factor = 20.0  # a gradient's norm above so many medians is not followed, its step skipped
    config.train.spike_window = 20  # steps that the median is of
    config.train.spike_patience = 5  # skipped steps in a row, beyond which the run stops
    config.train.save_every = 2  # steps between checkpoints

    # What is trained: each arm overrides fields of this config.
    config.arms = ConfigDict()
    config.arms.solver_grpo = {"train": {"mode": "verifier", "practice": False, "solutions": 16, "solve_weight": 1.0}}
    config.arms.mass_gold = {"generator": {"examples": 12}, "inner": {"steps": 2}, "train": {"mode": "gold"}}
    config.arms.mass = {"generator": {"examples": 12}, "inner": {"steps": 2}, "train": {"mode": "verifier"}}

    config.gate = ConfigDict()
    config.gate.problems = 160  # not used: without a hidden family there is no oracle, and no gate
    config.gate.oracle_gain = 0.15  # likewise
    config.gate.strict_gain = 0.05  # likewise

    # What the report holds the run to, beside the claims about its numbers.
    config.targets = ConfigDict()
    config.targets.problems = 300  # test problems at least
    config.targets.minutes = 20  # at most

    config.evaluate = ConfigDict()
    config.evaluate.batch = 20  # problems answered at once
    config.evaluate.checked = 8  # problems whose attributions are held against float64 differences
    # Arms left out. self_consistency samples 5,376 tokens a problem, a quarter of what the other rows do, and is kept:
    # it is the baseline at as many tokens as practice takes. best_of_n would sample as many again.
    config.evaluate.skip = ("tt_ss_majority", "best_of_n", "mass_other_problem")

    return config
