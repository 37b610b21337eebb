"""How the model follows its gradient: optimisers by name (``train.optimizer``).

The policy gradient on attributions is small and noisy. Adam divides each parameter's gradient by its own size, and so
lifts the noise of every parameter to the size of the signal; the others keep the gradient's direction. All have a rate
that falls linearly to 0 over the run: steps of constant length do not stop where the gradient does.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import optax

from mass_jax.types import Params, PyTree

MUON_ADAM_RATIO = 0.3
"""Adam's rate on what is no stack of matrices, in units of Muon's: as in pretraining on the hidden rules."""


class Settings(NamedTuple):
    """What an optimiser is made of.

    Attributes:
      rate: by the number of steps taken.
      momentum: the share of the past in a step's direction; Adam's and Muon's first beta.
      epsilon: Adam's.
    """

    rate: optax.Schedule
    momentum: float
    epsilon: float


def normalized(settings: Settings) -> optax.GradientTransformation:
    """Steps of the length ``rate`` along the moving average of the gradients.

    Cutkosky & Mehta 2020, arXiv 2002.03305, alg. 1: x <- x - rate m / |m|, with the norm over all parameters.
    """
    averaged = optax.ema(settings.momentum, debias=False) if settings.momentum else optax.identity()
    return optax.chain(averaged, optax.normalize_by_update_norm(), optax.scale_by_learning_rate(settings.rate))


def muon(settings: Settings) -> optax.GradientTransformation:
    """Muon (Jordan et al. 2024) on the layers' stacked matrices, Adam on the rest."""
    return optax.contrib.muon(
        settings.rate,
        beta=settings.momentum,
        adam_learning_rate=lambda step: MUON_ADAM_RATIO * settings.rate(step),
        muon_weight_dimension_numbers=stacked_matrices,
    )


def adam(settings: Settings) -> optax.GradientTransformation:
    """Adam (Kingma & Ba 2015): with ``epsilon`` far above a parameter's gradient, the gradient's direction."""
    return optax.adam(settings.rate, b1=settings.momentum, eps=settings.epsilon)


OPTIMIZERS: dict[str, Callable[[Settings], optax.GradientTransformation]] = {
    "normalized": normalized,
    "muon": muon,
    "adam": adam,
}


def stacked_matrices(params: Params) -> PyTree:
    """Of every leaf, how Muon is to read it: the layers' matrices are stacked along a leading axis."""
    matrix = optax.contrib.MuonDimensionNumbers(reduction_axis=1, output_axis=2)
    return jax.tree.map(lambda leaf: matrix if leaf.ndim == 3 else None, params)
