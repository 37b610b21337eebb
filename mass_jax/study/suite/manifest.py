"""What a suite runs: the entries of a manifest, and the jobs that they are."""

import runpy
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ml_collections import ConfigDict
from pydantic import BaseModel, Field, ValidationError

from mass_jax.errors import InputError, not_one_of
from mass_jax.fields import FROZEN, Flag, Names, Positive, Seed, Text
from mass_jax.runtime.configs import fingerprint
from mass_jax.study.sentences import sentences

TAKEN = "base"
"""The folder below a suite's own in which its runs keep the bases that they share."""


class Entry(BaseModel):
    """A program with a config, once or once a seed.

    Attributes:
      program: the module of its main.
      config: what its ``--config`` is.
      flags: its other words.
      minutes: that a job of it takes, about.
      by_seed: whether there is a job for every seed, with ``--config.seed``.
      full: whether it is left out where not all is asked for.
    """

    model_config = FROZEN

    program: Text
    config: Text
    flags: Names = ()
    minutes: Positive
    by_seed: Flag = True
    full: Flag = False


class Manifest(BaseModel):
    """All that a suite runs.

    Attributes:
      seeds: of the entries that have a job for each.
      entries: by name.
    """

    model_config = FROZEN

    seeds: tuple[Seed, ...] = Field(min_length=1)
    entries: dict[str, Entry] = Field(min_length=1)


class Job(NamedTuple):
    """One call of a program.

    Attributes:
      name: of its folder.
      entry: of the manifest.
      words: what Python runs as a module, but for the workdir.
      config: digits of what the config's file holds.
      seconds: that it takes, as the manifest has it.
    """

    name: str
    entry: str
    words: tuple[str, ...]
    config: str
    seconds: float

    @property
    def asked(self) -> dict[str, str]:
        """What its record holds, to tell it from another job of its name."""
        return {"command": " ".join(self.words), "config": self.config}


def read(given: ConfigDict) -> Manifest:
    """A manifest whose fields are sound.

    Raises:
      InputError: with a sentence for every fault.
    """
    try:
        manifest = Manifest.model_validate(given.to_dict())
    except ValidationError as error:
        known = [*Manifest.model_fields, *(f"entries.{name}" for name in Entry.model_fields)]
        raise InputError("\n".join(sentences(error, lambda path: ".".join(map(str, path)), known))) from None
    for name in manifest.entries:
        if not name.isidentifier() or name == TAKEN:
            raise InputError(f"entries.{name}: give a name of letters, digits and underscores, and not {TAKEN!r}.")
    if len(set(manifest.seeds)) < len(manifest.seeds):
        raise InputError(
            f"seeds = {manifest.seeds}: one is there twice, and its numbers would count twice; give each once."
        )
    folders: dict[str, str] = {}
    for name, entry in manifest.entries.items():
        for folder in _folders(name, entry, manifest.seeds).values():
            if (other := folders.setdefault(folder, name)) != name:
                raise InputError(f"entries.{name} and entries.{other} both have a job {folder!r}: rename one of them.")
    return manifest


def jobs(manifest: Manifest, only: Sequence[str] | None = None, full: bool = False) -> list[Job]:
    """The jobs that are asked for: of entries that ``full`` leaves out last, else the shortest first, by their seeds.

    Args:
      manifest: of all.
      only: names of entries and of jobs; None for all that ``full`` does not leave out.
      full: leave out none.

    Raises:
      InputError: there is no such name, or a config cannot be read.
    """
    # A ConfigDict has no order of its own but that of the names.
    entries = sorted(manifest.entries.items(), key=lambda item: (item[1].full, item[1].minutes))
    found = [job for name, entry in entries for job in _jobs(name, entry, manifest.seeds)]
    valid = [*manifest.entries, *(job.name for job in found)]
    if only is not None and not only:
        raise InputError(f"--only= is empty: give some of {', '.join(valid)}, or leave it out.")
    if wrong := [name for name in only or () if name not in valid]:
        raise InputError(f"--only={wrong[0]}: {wrong[0]!r} {not_one_of(valid, wrong[0])}")
    if only is None:
        return [job for job in found if full or not manifest.entries[job.entry].full]
    return [job for job in found if {job.name, job.entry} & set(only)]


def given(config: str) -> ConfigDict:
    """What a ``--config`` holds: a file, and after a colon the argument of its ``get_config``, where it takes one.

    Raises:
      InputError: it cannot be read.
    """
    path, colon, argument = config.partition(":")
    try:
        config_of = runpy.run_path(path)["get_config"]
        found: ConfigDict = config_of(*[argument] * bool(colon))
        if not isinstance(found, Mapping | ConfigDict):
            raise TypeError(f"get_config() returns {found!r:.80}")
    except (Exception, SystemExit) as error:  # whatever the file does
        raise InputError(
            f"The config '{config}' of the manifest cannot be read ({type(error).__name__}: {error}): name a file with "
            "get_config(), from the folder that holds configs/."
        ) from None
    return found


def _jobs(name: str, entry: Entry, seeds: Sequence[int]) -> list[Job]:
    words, config = (entry.program, f"--config={entry.config}", *entry.flags), fingerprint(given(entry.config))
    return [
        Job(folder, name, words if seed is None else (*words, f"--config.seed={seed}"), config, 60 * entry.minutes)
        for seed, folder in _folders(name, entry, seeds).items()
    ]


def _folders(name: str, entry: Entry, seeds: Sequence[int]) -> dict[int | None, str]:
    """The names of an entry's jobs by their seeds; that of one without seeds under None."""
    return {seed: f"{name}_{seed}" for seed in seeds} if entry.by_seed else {None: name}
