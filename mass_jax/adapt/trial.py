"""Whether what plugins add to test time makes what it says: tried on a few problems, before anything is trained."""

import jax
import numpy as np

from mass_jax.adapt.run import Recipe
from mass_jax.adapt.sources import SOURCES, Request, from_pool, obtained
from mass_jax.adapt.weights import WEIGHTS, Unweighed, weighed
from mass_jax.errors import outside
from mass_jax.types import Params


def of_plugins(recipe: Recipe) -> tuple[bool, bool]:
    """Whether a plugin obtains the practice of a recipe, and whether one weighs it."""
    if recipe.practice is None:
        return False, False
    weighs = recipe.use != "prompt" and outside(WEIGHTS[recipe.weights].weigh.__module__)
    return outside(SOURCES[recipe.practice].obtain.__module__), weighs


def try_recipe(recipe: Recipe, request: Request, eta: Params) -> None:
    """Obtains and weighs practice as plugins do; what the package does itself takes no time.

    Args:
      recipe: of which plugins have a part.
      request: a few problems, and a model that need not be trained.
      eta: its scorer.

    Raises:
      InputError: a plugin fails, or does not make what is asked of it; names it.
    """
    obtains, weighs = of_plugins(recipe)
    if obtains:
        sets = obtained(recipe.practice or "", request)
    else:  # any practice does
        sets = from_pool(request, [np.arange(len(request.pool.problems))] * len(request.problems))
    if weighs:
        counts_PxM = np.asarray(sets.arrays.valid_PxM)
        weighed(recipe.weights, Unweighed(request.actor, eta, request.problems, sets, counts_PxM, jax.random.key(0)))
