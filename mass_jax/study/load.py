"""Load a trained model from a run's directory, in one line; `mass_jax.load` is this.

It lies here and not in `adapt`, for it reads a study's config, and `adapt` knows no studies.
"""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import jax
from jax.sharding import Mesh

from mass_jax import records
from mass_jax.adapt.learner import Learner
from mass_jax.errors import InputError
from mass_jax.models import sharding
from mass_jax.models.pretrained import folder, source
from mass_jax.parallel import mesh as meshes
from mass_jax.runtime.workdir import CONFIG_FILE, check_workdir
from mass_jax.study import data, earlier, plugins, setup
from mass_jax.study.config import arm_config, from_json
from mass_jax.study.evaluate import base_state
from mass_jax.study.pretrain import load_base
from mass_jax.study.schema import Config, Pretrained
from mass_jax.study.study import (
    Study,
    base_folder,
    check_base,
    load_arm,
    make_learner,
    make_mesh,
    named_arm,
)
from mass_jax.tasks.base import Problem
from mass_jax.tasks.domain import Splits
from mass_jax.types import Params


def load(workdir: str | os.PathLike[str], arm: str = "mass", pool: Sequence[Problem] = ()) -> Learner:
    """Load a trained model that adapts to problems before it answers them.

        learner = mass_jax.load("runs/demo")
        text = learner.answer("f7,8,5 f5,10,8 f0,3,10 3>4 4>6 2>5 ? 9 6")

    It answers as the row of the study's table does. The directory is only read, also while a run is at work in it;
    nothing is trained or written, but for what a hub's client keeps of a model that it fetches.

    Args:
      workdir: of a run whose arm is trained, by this version or an earlier one.
      arm: the row of the table.
      pool: training problems, for arms that practise on those.

    Raises:
      InputError: there is no run, or no such arm; its training is not finished; or it needs more than is given.
    """
    if not isinstance(workdir, str | os.PathLike):
        raise InputError(f"workdir = {workdir!r} is no path: give the workdir of a run.")
    wrong = [each for each in pool if not isinstance(each, Problem)] if isinstance(pool, Sequence) else [pool]
    if wrong:
        raise InputError(
            f"pool has {wrong[0]!r:.80}, which is no Problem: give training problems with their solutions."
        )
    workdir = Path(os.path.expanduser(workdir)).absolute()
    config = read_config(workdir)
    domain = setup.make_domain(config)
    row = named_arm(config, workdir, domain.task, arm, bool(pool))
    method = setup.make_method(config, domain)
    mesh = make_mesh(config, method.model)
    with meshes.entered(mesh):
        study = Study(config, workdir, domain, method, Splits((), pool, (), ()), folder.shapes_of(method.model))
        if row.model == "base" or arm_config(config, row.model).train.outer:
            study = study._replace(base=_base(study, mesh))
        state = base_state(study) if row.model == "base" else load_arm(study, row.model)
        learner = make_learner(study, row.model, state, row.recipe, jax.random.key(config.seed + 1))
    return dataclasses.replace(learner, mesh=mesh)


def read_config(workdir: Path) -> Config:
    """The config that a run was made with.

    Raises:
      InputError: there is none, it cannot be read, a plugin is missing, or its fields do not fit, as those of a damaged
        file or of another version of the code.
    """
    try:
        found = records.parsed((workdir / CONFIG_FILE).read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError(f"it holds a {type(found).__name__}")
    except (OSError, ValueError) as error:
        raise InputError(
            f"there is no run in '{workdir}': its {CONFIG_FILE} cannot be read ({error}). Give the workdir of a run."
        ) from None
    named = found.get("plugins", [])
    try:
        plugins.load([name for name in named if isinstance(name, str)] if isinstance(named, list) else [])
    except InputError as error:
        raise InputError(
            f"the run in '{workdir}' has parts of plugins: {error} Install them, or put their folder on PYTHONPATH."
        ) from None
    try:
        return from_json(found)
    except InputError as error:
        raise InputError(
            f"the run in '{workdir}' has a {CONFIG_FILE} that does not fit this version of the code: put it back if it "
            "is damaged; load it by the version that wrote it (the commit in its results.json), or train it anew. What "
            f"does not fit:\n{error}"
        ) from None


def load_problems(workdir: Path, split: str) -> Sequence[Problem]:
    """The problems of a run's split that the run itself poses: no more, and none that is too long for it.

    Raises:
      InputError: as `read_config`; or the problems cannot be had.
    """
    config = read_config(workdir)
    domain = setup.make_domain(config)
    try:
        return data.problems(config, domain, setup.make_method(config, domain).lengths, split)
    except (ValueError, ConnectionError) as error:
        raise InputError(f"the run in '{workdir}': {error}") from None


def run_config(config: Config, workdir: Path) -> Config:
    """The config that a run is read by: where an earlier version wrote it, its own, else the one given.

    Raises:
      WorkdirError: the earlier run was made with another one, in fields that both have.
      InputError: as `read_config`.
    """
    if not (workdir / CONFIG_FILE).exists():
        return config
    own = read_config(workdir)
    if own.given == earlier.brought(own.given):
        return config
    check_workdir(workdir, config.given, may_differ=earlier.NAMES)
    return own


def _base(study: Study, mesh: Mesh | None) -> Params:
    """The pretrained parameters, only read."""
    config, model = study.config, study.method.model
    check_base(config, study.workdir)
    if isinstance(config.model, Pretrained):
        places = None if mesh is None else sharding.shardings(mesh, study.base)
        return source.load_params(config.model.source, model, sharding=places)
    return load_base(config, model, base_folder(config, study.workdir))
