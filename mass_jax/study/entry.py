"""The entry of every main whose config is a study's: what the command line has to know of such a config."""

import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, NoReturn, Union, get_args, get_origin

from ml_collections import ConfigDict

from mass_jax.models.config import ModelConfig
from mass_jax.runtime import command_line
from mass_jax.runtime.command_line import Default
from mass_jax.study import schema
from mass_jax.study.config import read
from mass_jax.tasks.registry import DOMAINS


def run(main: Callable[[schema.Config, Path], None]) -> NoReturn:
    """Parses the flags, reads the config, calls ``main(config, workdir)`` and exits; see `command_line.run`."""
    command_line.run(main, read, optional)


def optional(config: ConfigDict) -> dict[str, Default]:
    """The fields that a config need not name, by their dotted names; of groups that it lacks, none."""
    found = {}
    for group, whole in schema.Config.model_fields.items():
        if not whole.is_required():
            found[group] = Default(whole.default, _type(whole.annotation), _meaning(schema.Config, group))
        kind = _kind(group, config[group]) if isinstance(config.get(group), ConfigDict) else None
        for name, field in getattr(kind, "__pydantic_fields__", {}).items():
            if not field.is_required():
                meaning = _meaning(ModelConfig if group == "model" else kind, name)
                found[f"{group}.{name}"] = Default(field.default, _type(field.annotation), meaning)
    return found


def _kind(group: str, fields: ConfigDict) -> type | None:
    """The class of a group, among several the one that its fields choose; None where they choose none."""
    if group == "task":
        return DOMAINS.get(fields.get("name"))
    if group == "model":
        return schema.Pretrained if "source" in fields else schema.Own
    return next(_classes(schema.Config.model_fields[group].annotation), None)


def _classes(annotation: Any) -> Iterator[type]:
    if hasattr(annotation, "__pydantic_fields__"):
        yield annotation
    else:
        for argument in get_args(annotation):
            yield from _classes(argument)


def _type(annotation: Any) -> type:
    """What a field takes, beside None."""
    origin = get_origin(annotation)
    return _type(get_args(annotation)[0]) if origin in (Annotated, Union, UnionType) else origin or annotation


def _meaning(kind: Any, name: str) -> str:
    """What the docstring of a group's class says of a field, up to the end of a sentence or a colon."""
    found = re.search(rf"^  {name}: (.+(?:\n    .+)*)", inspect.getdoc(kind) or "", re.M)
    return "" if found is None else re.split(r"[.:](?:\s|$)", re.sub(r"\s+", " ", found[1]))[0]
