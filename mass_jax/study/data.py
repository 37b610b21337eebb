"""The problems of a config, and the documents that are made of them."""

from collections.abc import Sequence

import grain
from absl import logging

from mass_jax.errors import InputError, said
from mass_jax.fields import check
from mass_jax.mass.method import LengthConfig, Method
from mass_jax.mass.packing import fits, solution
from mass_jax.study.schema import Config
from mass_jax.tasks import pipeline
from mass_jax.tasks.base import Domain, KnowsFamily, Problem
from mass_jax.tasks.domain import Documents, DomainConfig, OwnWords, Splits


def make_splits(config: Config, domain: Domain, method: Method) -> Splits:
    """The problems of ``config.task``, written to disk first if they are not there yet.

    Of those that were collected, the ones longer than ``config.lengths`` allow are left out, and how many is said.

    Raises:
      InputError: a split has fewer problems than a study needs.
      ValueError: a domain gives something else than problems.
    """
    declared = config.task
    splits = Splits(*(problems(config, domain, method.lengths, split) for split in Splits._fields))
    asked = isinstance(domain.task, KnowsFamily) or config.pretrain.until
    gated = config.gate.problems if asked else 0
    for split, least in {"train": 1, "validation": gated, "test": 1}.items():
        if (count := len(getattr(splits, split))) < least:
            fewer = f", or lower gate.problems = {gated}" if split == "validation" else ""
            raise InputError(
                f"the {split} split of {declared.title} has {count} problems, fewer than {least}: give it more{fewer}."
            )
    return splits


def problems(config: Config, domain: Domain, lengths: LengthConfig, split: str) -> Sequence[Problem]:
    """Those of one split, as `make_splits` has them; none where it has none."""
    declared = config.task
    found, most = declared.load(split), declared.most(split)
    if not isinstance(found, Sequence):
        raise ValueError(f"load({split!r}) gives {found!r}, no sequence of problems")
    for problem in found:
        for fault in said(check, Problem, problem):
            raise ValueError(f"load({split!r}): {fault}")
    if not declared.collected:
        return found
    document = config.lengths.long_document if split == "train" else None
    fitting: list[Problem] = []
    read = 0
    for problem in found:  # no further than needed: encoding thousands of prompts takes minutes
        read += 1
        if _fits(domain, lengths, document, problem):
            fitting.append(problem)
        if fitting and len(fitting) == most:  # 0 is for all
            break
    if len(fitting) < read:
        logging.warning("%s: %d of %d problems exceed config.lengths", split, read - len(fitting), read)
    if read and not fitting:
        raise ValueError(
            f"none of the {read} problems of {declared.title}'s {split} split fits config.lengths: raise "
            f"lengths.prompt = {config.lengths.prompt}, lengths.solution = {config.lengths.solution} or, for "
            f"training problems, lengths.long_document = {config.lengths.long_document}."
        )
    return tuple(fitting)


def _fits(domain: Domain, lengths: LengthConfig, document: int | None, problem: Problem) -> bool:
    """Whether it can be posed and solved, and where documents are to be made of it, be one."""
    solve = domain.task.solve_prompt(problem.prompt)
    prompts = [solve, domain.task.synthesis_prompt(problem)]
    return (
        all(fits(domain.tokenizer, prompt, "", lengths.prompt, end=False) for prompt in prompts)
        and fits(domain.tokenizer, "", solution(domain.task, problem.solution), lengths.solution)
        and (document is None or fits(domain.tokenizer, "", solve + problem.solution, document))
    )


def pretraining(config: Config, domain: Domain, splits: Splits) -> dict[str, grain.DatasetIterator]:
    """The streams that a base is pretrained on, ``short`` and ``long``: sequences [batch, length] without end."""
    declared, settings, lengths = config.task, config.pretrain, config.lengths
    first, *others = declared.kinds.short
    streams = {
        "short": ([first, *others * settings.tables], lengths.short_document, settings.short_batch),
        "long": (declared.kinds.long, lengths.long_document, settings.long_batch),
    }
    return {
        name: _stream(declared.documents(domain, splits, kinds), domain, length, batch, config.seed)
        for name, (kinds, length, batch) in streams.items()
    }


def replay(config: Config, domain: Domain, splits: Splits) -> grain.DatasetIterator:
    """The documents of meta-training: sequences [train.replay_batch, length] without end."""
    declared = config.task
    written = declared.documents(domain, splits, declared.kinds.replay)
    length = getattr(config.lengths, replayed(declared))
    return _stream(written, domain, length, config.train.replay_batch, config.seed + 1)


def replayed(declared: DomainConfig) -> str:
    """The field of ``config.lengths`` that the documents of meta-training have."""
    return "short_document" if isinstance(declared, OwnWords) else "long_document"


def _stream(written: Documents, domain: Domain, length: int, batch_size: int, seed: int) -> grain.DatasetIterator:
    return pipeline.document_batches(*written, domain.tokenizer, length=length, batch_size=batch_size, seed=seed)
