"""The entry of every main whose config is a study's: what the command line has to know of such a config."""

import inspect
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, NoReturn, Union, get_args, get_origin

from ml_collections import ConfigDict

from mass_jax.models.config import ModelConfig
from mass_jax.runtime import command_line
from mass_jax.runtime.command_line import Field
from mass_jax.runtime.configs import flatten
from mass_jax.study import plugins, schema
from mass_jax.study.config import read
from mass_jax.tasks.registry import DOMAINS


def run(main: Callable[[schema.Config, Path], None]) -> NoReturn:
    """Parses the flags, reads the config, calls ``main(config, workdir)`` and exits; see `command_line.run`."""
    command_line.run(main, read, partial(known, words=sys.argv[1:]))


def known(config: ConfigDict, words: Sequence[str] = ()) -> dict[str, Field]:
    """The fields that a config can have, by their dotted names; of groups that it lacks, none.

    Of an arm these are its label, what it overrides, and what the command line overrides for it.

    Args:
      config: as its file has it.
      words: of the command line.

    Raises:
      InputError: a plugin that declares the config's domain cannot be imported.
    """
    values, line = config.to_dict(), " ".join(words)
    task, arms = values.get("task"), values.get("arms")
    if isinstance(task, dict) and task.get("name") not in list(DOMAINS):
        given = re.search(r"(?:^|\s)--?config\.plugins[=\s](\S+)", line)
        plugins.load(tuple(re.findall(r"[\w.]+", given[1])) if given else plugins.of(values))
    fields = {}
    for name, (group, own, info) in schema.fields_of(values).items():
        meaning = _meaning(ModelConfig if name.startswith("model.") else group, own)
        fields[name] = Field(None if info.is_required() else info.default, _type(info.annotation), meaning)
    fields.pop("arms")
    free = {name: field for name, field in fields.items() if name.partition(".")[0] not in schema.SHARED}
    named = set(re.findall(r"(?:^|\s)--?(?:no)?config\.([\w.]+)", line))
    for arm, overrides in arms.items() if isinstance(arms, dict) else ():
        if isinstance(overrides, dict):
            fields[f"arms.{arm}.label"] = Field(None, str, "what the tables call it")
            asked = named | {f"arms.{arm}.{name}" for name in flatten(overrides)}
            found = {f"arms.{arm}.{name}": field._replace(default=None) for name, field in free.items()}
            fields |= {name: field for name, field in found.items() if name in asked}
    return fields


def _type(annotation: Any) -> type:
    """What a field takes, beside None."""
    origin = get_origin(annotation)
    return _type(get_args(annotation)[0]) if origin in (Annotated, Union, UnionType) else origin or annotation


def _meaning(kind: Any, name: str) -> str:
    """What the docstring of a class, or of one that it extends, says of a field, up to a full stop or a colon."""
    for each in kind.__mro__:
        if found := re.search(rf"^  {name}: (.+(?:\n    .+)*)", inspect.getdoc(each) or "", re.M):
            return re.split(r"[.:](?:\s|$)", re.sub(r"\s+", " ", found[1]))[0]
    return ""
