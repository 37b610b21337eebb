"""The study of configs/smollm2_135m.py with an outer adapter trained in place of all parameters.

    python -m experiments.demo --config=configs/smollm2_135m_lora.py --workdir=runs/smollm2_135m_lora

Hardware: 2 CPU cores and 16 GiB. Not measured beyond two steps (docs/models.md): rates are those that were tuned for
all parameters.
"""

from ml_collections import ConfigDict

from configs import smollm2_135m


def get_config() -> ConfigDict:
    """The same but for what is trained."""
    config = smollm2_135m.get_config()
    config.train.lora_rank = 16  # 0 trains all parameters
    config.train.lora_targets = ".*_proj"  # regular expression on the projections' names
    return config
