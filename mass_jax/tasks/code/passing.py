"""pass@k: the chance that one of k samples passes, estimated from n of them without bias.

Chen et al., 2021 (https://arxiv.org/abs/2107.03374), equation 1: 1 − C(n − c, k) / C(n, k), averaged over problems.
"""

import math
from collections.abc import Sequence


def pass_at_k(samples: int, right: int, k: int) -> float:
    """Of one problem.

    Args:
      samples: n, drawn independently.
      right: c, how many of them pass.
      k: at most n.

    Raises:
      ValueError: it cannot be estimated of so many samples.
    """
    if not (1 <= k <= samples and 0 <= right <= samples):
        raise ValueError(f"pass@{k} of {samples} samples, {right} of them right: take 1 <= k <= n and 0 <= right <= n.")
    return 1 - math.comb(samples - right, k) / math.comb(samples, k)


def mean_pass_at_k(verdicts: Sequence[Sequence[bool]], k: int) -> float:
    """Over problems, each with the verdicts of its samples.

    Raises:
      ValueError: a problem has fewer than ``k`` samples, or there is no problem.
    """
    if not verdicts:
        raise ValueError("there is no problem: pass@k is a mean over problems.")
    return sum(pass_at_k(len(each), sum(each), k) for each in verdicts) / len(verdicts)
