"""A study: one config, its data, its pretrained base, and the arms that are trained from it."""

import dataclasses
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from mass_jax.adapt.learner import Learner
from mass_jax.adapt.neighbours import Pool
from mass_jax.adapt.run import Recipe
from mass_jax.adapt.sources import Request
from mass_jax.adapt.trial import of_plugins, try_recipe
from mass_jax.errors import InputError, blamed, outside, said
from mass_jax.mass import scorer
from mass_jax.mass.actor import Actor
from mass_jax.mass.method import Method
from mass_jax.mass.rewards import REWARDS
from mass_jax.mass.scorers.registry import SCORERS
from mass_jax.mass.state import Trained, for_answers
from mass_jax.models import decoder, sharding
from mass_jax.models.config import ModelConfig
from mass_jax.models.pretrained import folder, source
from mass_jax.parallel import hosts
from mass_jax.parallel import mesh as meshes
from mass_jax.runtime.checkpoint import Checkpointer
from mass_jax.runtime.configs import fingerprint, flatten
from mass_jax.runtime.workdir import check_workdir, open_workdir
from mass_jax.study import arms, data, setup
from mass_jax.study.arms import Arm
from mass_jax.study.config import arm_config
from mass_jax.study.lengths import check_lengths
from mass_jax.study.meta import load_trained, meta_train
from mass_jax.study.pretrain import identity, pretrain
from mass_jax.study.schema import Config, Own, Pretrained
from mass_jax.study.scorer import try_scorer
from mass_jax.tasks.base import Domain, KnowsFamily, Task
from mass_jax.tasks.domain import Splits
from mass_jax.types import Array, Params

TRIED = 2
"""Problems that plugins are tried on."""


class Study(NamedTuple):
    """What all arms share.

    Attributes:
      config: the run's config.
      workdir: where everything is written.
      domain: task and tokenizer.
      method: as it is used at test time.
      splits: the problems.
      base: pretrained parameters.
    """

    config: Config
    workdir: Path
    domain: Domain
    method: Method
    splits: Splits
    base: Params

    @property
    def actor(self) -> Actor:
        """The pretrained model at work."""
        return Actor(self.base, self.method, self.domain)


@contextmanager
def open_study(config: Config, workdir: Path) -> Iterator[Study]:
    """Make the data, and load or pretrain the base; within it, the mesh of ``config.mesh`` is set.

    A base that is pretrained here lies beside the workdir, under a name made of all settings that decide it, so that
    every run with the same settings shares it.

    Raises:
      InputError: the workdir belongs to another config, or the config asks for what cannot be had.
    """
    check_workdir(workdir, config.given)
    with _sentences():
        domain = setup.make_domain(config)
        method = setup.make_method(config, domain)
        for name in config.arms:
            _check_arm(arm_config(config, name), name, domain)
        mesh = make_mesh(config, method.model)
    with meshes.entered(mesh):
        yield _opened(config, workdir, domain, method, mesh)


def _check_arm(config: Config, name: str, domain: Domain) -> None:
    """Looks at what an arm is trained with, where its domain is at hand.

    Raises:
      InputError: it cannot be.
    """
    method, kind = setup.make_method(config, domain), SCORERS[config.scorer.kind]
    if outside(kind.features.__module__):
        with blamed(f"scorer.kind = {kind.name!r}", kind.features.__module__):
            try_scorer(method, len(domain.task.check_names))
    reward = config.train.reward
    if REWARDS[reward].privileged and not isinstance(domain.task, KnowsFamily):
        raise InputError(
            f"in config.arms.{name}: train.reward = {reward!r} needs a domain that knows which practice is right, and "
            f"task.name = {config.task.name!r} does not: choose another reward, or another domain."
        )
    reads = scorer.feature_count(method, len(domain.task.check_names))
    if REWARDS[reward].scored and config.train.practice and not reads:
        raise InputError(
            f"in config.arms.{name}: train.reward = {reward!r} is what the scorer has learned, and scorer.kind = "
            f"{kind.name!r} learns nothing: choose another reward, or another scorer."
        )
    if config.train.siblings and not isinstance(domain.task, KnowsFamily):
        raise InputError(
            f"in config.arms.{name}: train.siblings = {config.train.siblings} needs a domain that knows the family of "
            f"a problem, and task.name = {config.task.name!r} does not: give 0, or choose another domain."
        )


def _opened(config: Config, workdir: Path, domain: Domain, method: Method, mesh: Mesh | None) -> Study:
    """The study with its data and base; the mesh is set."""
    with _sentences():
        for name in config.arms:  # their checkpoints say whose they are, should config.json be gone
            Checkpointer(workdir / name / "checkpoints", config=arm_config(config, name).given).check_config()
        with blamed(f"task.name = {config.task.name!r}", type(config.task).__module__):
            splits = _made_once(partial(data.make_splits, config, domain, method))
            check_lengths(config, domain, method.lengths, splits)
        study = Study(config, workdir, domain, method, splits, base={})
        if isinstance(config.model, Own):
            start = partial(decoder.init, method.model, jax.random.key(0))
            _try_rows(study, partial(meshes.placed, start, shardings=sharding.shardings))
        workdir = open_workdir(workdir, config.given)  # the first to be written, after all that can be refused
        if isinstance(config.model, Pretrained):
            places = None if mesh is None else sharding.shardings(mesh, folder.shapes_of(method.model))
            base = source.load_params(config.model.source, method.model, sharding=places)
            study = study._replace(workdir=workdir, base=base)
            _try_rows(study, lambda: base)
            return study
    documents = data.pretraining(config, domain, splits)
    solved = partial(_solved, study)
    base = pretrain(config, method.model, documents, workdir / "pretrain", base_folder(config, workdir), solved)
    return study._replace(workdir=workdir, base=base)


def _try_rows(study: Study, base: Callable[[], Params]) -> None:
    """Tries what plugins obtain and weigh for rows of the table; see `try_recipe`.

    Args:
      study: of which the base is not used.
      base: what makes or gives a model, which need not be trained; called where there is something to try.

    Raises:
      InputError: one of them does not make what it says; names the row and the plugin.
    """
    config, task, key = study.config, study.domain.task, jax.random.key(0)
    for name, arm in table(config).items():
        there = name not in config.evaluate.skip and arm.model in ("base", *config.arms) and arm.possible(task)
        if not there or not any(of_plugins(arm.recipe)):
            continue
        params = base()
        method = method_for(study, arm.model)
        eta = scorer.init(method.scorer, scorer.feature_count(method, len(task.check_names)), key)
        learner = make_learner(study, arm.model, Trained(params, eta), arm.recipe, key)
        problems = learner.batches(study.splits.test[:TRIED])[0]
        try:
            try_recipe(arm.recipe, Request(learner.actor, problems, key, learner.pool), eta)
        except InputError as error:
            raise InputError(f"the arm {name!r}: {error}") from error


def _solved(study: Study, base: Params) -> float:
    """The share of the gate's problems that a base solves."""
    problems = study.splits.validation[: study.config.gate.problems]
    answers = make_learner(study, "base", Trained(base, {}), Recipe(), jax.random.key(0)).answers(problems)
    verdicts = study.domain.task.grade(problems, [answer.text for answer in answers])
    return sum(verdict.correct for verdict in verdicts) / len(problems)


@contextmanager
def _sentences() -> Iterator[None]:
    """What a person can put right is said without a traceback."""
    try:
        yield
    except (ValueError, ConnectionError) as error:
        raise InputError(str(error)) from None


def _made_once(make: Callable[[], Splits]) -> Splits:
    """What ``make`` writes to disk and returns: of several processes the first one writes, the others find it there."""
    if not hosts.first():
        hosts.wait("problems are written")
        return make()
    try:
        return make()
    finally:
        hosts.wait("problems are written")


def make_mesh(config: Config, model: ModelConfig) -> Mesh | None:
    """The mesh of ``config.mesh``, which `mesh.entered` sets; None on a single device.

    Raises:
      InputError: it does not divide the devices, the model, or a batch of any arm.
    """
    found = meshes.make(dict(config.mesh))
    if found is not None:
        batches = {"evaluate.batch": config.evaluate.batch, "evaluate.checked": config.evaluate.checked}
        batches |= {"gate.problems": config.gate.problems}
        if isinstance(config.model, Own):
            batches |= {f"pretrain.{name}": getattr(config.pretrain, name) for name in ("short_batch", "long_batch")}
        for name in config.arms:
            train = arm_config(config, name).train
            batches |= {
                f"train.problems / train.parts of {name}": train.problems // train.parts,
                f"train.replay_batch of {name}": train.replay_batch,
            }
        meshes.check(found.shape, sharding.divided(model) | {name: (n, meshes.SPREAD) for name, n in batches.items()})
    return found


def overrides(config: Config, name: str) -> dict[str, Any]:
    """The fields that ``config.arms.<name>`` names, dotted, each with the value that the arm is trained with."""
    resolved = flatten(arm_config(config, name).given)
    return {field: resolved[field] for field in flatten(config.given["arms"][name]) if field in resolved}


def table(config: Config) -> dict[str, Arm]:
    """Every row that a study can have: what is declared, and the trained arms of ``config.arms``, with their labels."""
    practice = {name: arm_config(config, name).train.practice for name in config.arms}
    rows = arms.table(practice, config.plugins)
    for name in config.arms:
        trained_with = ", ".join(f"{field} = {value}" for field, value in overrides(config, name).items())
        rows[name] = dataclasses.replace(
            rows[name],
            label=str(config.arms[name].get("label") or rows[name].label),
            meaning=rows[name].meaning or (f"trained with {trained_with}" if trained_with else ""),
        )
    return rows


def named_arm(config: Config, workdir: Path, task: Task, name: str, pool: bool = True) -> Arm:
    """The row of the config's table, if it can answer a problem of which only the prompt is known.

    Args:
      config: the study's.
      workdir: where its arms are trained.
      task: its domain's.
      name: of the row.
      pool: whether there are training problems to practise on.

    Raises:
      InputError: if it cannot, or there is none; it offers those that can.
    """
    rows = table(config)

    def why_not(arm: Arm | None) -> str | None:
        if arm is None:
            return f"there is no arm {name!r}:"
        if not arm.needs_prompt_only:
            return f"the arm {name!r} needs more of a problem than its prompt:"
        if lack := arm.recipe.lack(task):
            return f"the arm {name!r} cannot answer here: problems of {config.task.name} {lack};"
        if "pool" in arm.recipe.needs and not pool:
            return f"the arm {name!r} practises on training problems: give them as pool, or"
        if arm.model not in ("base", *config.arms):
            return f"the arm {name!r} uses the model {arm.model!r}, which is not in config.arms:"
        return None

    if (fault := why_not(rows.get(name) if isinstance(name, str) else None)) is None:
        return rows[name]
    trained = ["base", *(each for each in config.arms if not list(said(check_trained, config, workdir, each)))]
    able = [each for each, arm in rows.items() if arm.model in trained and why_not(arm) is None]
    raise InputError(f"{fault} choose from {', '.join(able)}.")


def method_for(study: Study, model: str) -> Method:
    """What a model is tested with: the study's method, and the scorer that the model was trained with."""
    if model not in study.config.arms:
        return study.method
    own = setup.make_method(arm_config(study.config, model), study.domain)
    return dataclasses.replace(study.method, scorer=own.scorer)


def make_learner(study: Study, model: str, state: Trained, recipe: Recipe, key: Array) -> Learner:
    """A model of the study as it is tested.

    Args:
      study: to which the model belongs.
      model: its name.
      state: the model and its scorer.
      recipe: what it does before it answers.
      key: PRNG key of practice, fresh adapters and shuffles.
    """
    actor = Actor(state.params, method_for(study, model), study.domain)
    pool = Pool(actor, study.splits.train)
    return Learner(actor, state.eta, recipe, pool, key, study.config.evaluate.batch)


def base_folder(config: Config, workdir: Path) -> Path:
    """Where the base that is pretrained here lies: beside the workdir, one for all runs with its settings."""
    return workdir.parent / "base" / fingerprint(identity(config))


def check_base(config: Config, workdir: Path) -> None:
    """Looks whether there is a base.

    Raises:
      InputError: it would have to be pretrained.
    """
    folder = base_folder(config, workdir)
    if isinstance(config.model, Own) and not (folder / "0").exists():
        raise InputError(
            f"There is no base in '{folder}', where that of '{workdir}' belongs: put it back, or pretrain it by "
            "python -m experiments.train with the same --config and --workdir."
        )


def check_trained(config: Config, workdir: Path, name: str) -> None:
    """Looks whether the training of an arm is finished.

    Raises:
      InputError: it is not, or there is no such arm.
    """
    steps = arm_config(config, name).train.steps
    with Checkpointer(workdir / name / "checkpoints") as checkpointer:
        done = checkpointer.latest_step() or 0
    if done < steps:
        raise InputError(
            f"The arm {name!r} of '{workdir}' is not trained: {done} of {steps} steps are done. Train it first, by "
            f"python -m experiments.train --arm={name} with the same --config and --workdir."
        )


def load_arm(study: Study, name: str) -> Trained:
    """A trained arm, only read: nothing is trained, and nothing written.

    Raises:
      InputError: its training is not finished, there is no such arm, or what lies in its place is another's.
    """
    check_trained(study.config, study.workdir, name)
    config = arm_config(study.config, name)
    base = study.actor.replace(method=setup.make_method(config, study.domain))
    return load_trained(config.train, config.seed, base, study.workdir / name, owner=config.given)


def train_arm(study: Study, name: str) -> Trained:
    """Meta-train one arm, or finish its training, as it answers; its files are in ``<workdir>/<name>``."""
    config = arm_config(study.config, name)
    if hosts.first() and (own := overrides(study.config, name)):
        print(f"{name}: {', '.join(f'{field} = {value!r}' for field, value in own.items())}", file=sys.stderr)
    state = meta_train(
        config.train,
        config.seed,
        study.actor.replace(method=setup.make_method(config, study.domain)),
        study.splits.train,
        data.replay(config, study.domain, study.splits),
        study.workdir / name,
        owner=config.given,
    )
    return for_answers(config.train, study.base, state)
