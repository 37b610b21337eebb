"""MASS: Meta-Adaptation with Self-Synthesis, in JAX.

Adapt a trained model to a problem and have it answered:

    import mass_jax

    learner = mass_jax.load("runs/demo", arm="mass")
    learner.answer(text)                    # one answer
    learner.answers([text, another])        # with the practice of each, and how it was weighed

What you import from here:

    MassAdapter answers a problem after an update on practice of its own, within a budget, and tells all of it
    Options     of one answer: seed, votes, practice, budget
    Adapted     what came of it
    Session     problems in a row, each of which may leave something to the next
    Policy      what it leaves: nothing, the adapter with a decay, and practice to be repeated
    load        a trained arm of a run, read and nothing else
    Learner     what it returns: a model, its scorer, and what it does before it answers
    Answer      of one problem: text, practice, weights
    Recipe      where practice comes from, how it is weighed and used
    Problem     a problem with its reference; where you have only its text, give that
    open_study  a config with its data and base: train its arms, evaluate them
    InputError  of everything that a person can put right, in a sentence

Below it, `mass_jax.metagrad` has the meta-gradient by itself and needs the core only. Names are imported when they are
first used, so that it stays light.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mass_jax.adapt.learner import Answer, Learner
    from mass_jax.adapt.run import Recipe
    from mass_jax.errors import InputError
    from mass_jax.inference.adapted import Adapted
    from mass_jax.inference.adapter import MassAdapter
    from mass_jax.inference.options import Options
    from mass_jax.inference.sessions.policy import Policy
    from mass_jax.inference.sessions.session import Session
    from mass_jax.study.load import load
    from mass_jax.study.study import open_study
    from mass_jax.tasks.base import Problem

__version__ = "0.1.0"
__all__ = [
    "Adapted",
    "Answer",
    "InputError",
    "Learner",
    "MassAdapter",
    "Options",
    "Policy",
    "Problem",
    "Recipe",
    "Session",
    "load",
    "open_study",
]

_HOMES = {
    "Adapted": "inference.adapted",
    "Answer": "adapt.learner",
    "InputError": "errors",
    "Learner": "adapt.learner",
    "MassAdapter": "inference.adapter",
    "Options": "inference.options",
    "Policy": "inference.sessions.policy",
    "Problem": "tasks.base",
    "Recipe": "adapt.run",
    "Session": "inference.sessions.session",
    "load": "study.load",
    "open_study": "study.study",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
