"""A pod of 8 devices on this machine, with the smoke test's study.

    make pod-local

Hardware: 2 CPU cores. Time: not measured since pretraining is five times as long; 5 to 18 minutes before. What counts
is that a run over several processes, killed and resumed, ends with the very numbers of one that was left alone, and
that there was practice to adapt to. With --devices=1 --config.mesh.data=1 the parameters are split over both processes.
"""

from ml_collections import ConfigDict

from configs import smoke


def get_config() -> ConfigDict:
    """The smoke test's study on a mesh, with batches that 8 devices divide."""
    config = smoke.get_config()
    config.mesh.data = 4
    config.mesh.fsdp = 2
    config.train.problems = 8
    config.train.replay_batch = 8
    config.train.save_every = 1
    config.evaluate.batch = 8
    return config
