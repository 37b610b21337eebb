"""From the fields that a user gives to a typed config: the run's own, and that of every arm."""

from collections.abc import Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict
from pydantic import ValidationError

from mass_jax.errors import InputError, nearest, not_one_of, said
from mass_jax.study import arms, contradictions, earlier, plugins
from mass_jax.study.schema import RUNTIME, SHARED, Config, fields_of, validate
from mass_jax.study.sentences import sentences


def read(given: ConfigDict | Mapping[str, Any]) -> Config:
    """A config of which all fields are sound, by themselves and with each other, as they are and as every arm has them.

    It is read at the door of every program, before anything is loaded, computed or written. Its plugins are imported
    first.

    Raises:
      InputError: with a sentence for every fault.
    """
    values = given.to_dict() if isinstance(given, ConfigDict) else dict(given)
    if isinstance(values.get("arms"), Mapping):
        values["arms"] = dict(sorted(values["arms"].items()))
    plugins.load(plugins.of(values))
    found: dict[str, list[str]] = dict.fromkeys(faults(values), [])
    if not found:
        config = validate(values)
        found = dict.fromkeys(_of_the_arms(config), [])
        if not found:
            for name in config.arms:
                for fault in faults(_merged(config, name)):
                    found.setdefault(fault, []).append(name)
    if found:
        said = (f"in config.arms.{', '.join(arms)}: {fault}" if arms else fault for fault, arms in found.items())
        raise InputError("\n".join(said))
    return config


def from_json(found: Mapping[str, Any]) -> Config:
    """The config of a run's ``config.json``, as JSON decodes it, also of an earlier version. Errors as `read`."""

    def with_tuples(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: with_tuples(each) for name, each in value.items()}
        return tuple(map(with_tuples, value)) if isinstance(value, list) else value

    written = with_tuples(found)
    return validate(read(earlier.brought(written)).given, written)


def arm_config(config: Config, name: str) -> Config:
    """The config with the overrides of ``config.arms.<name>``, whose ``label`` is what the tables call it.

    Raises:
      InputError: there is no such arm.
    """
    if name not in config.arms:
        raise InputError(f"there is no arm {name!r} in config.arms: choose from {', '.join(sorted(config.arms))}.")
    merged = _merged(config, name)
    return validate(earlier.brought(merged), merged)


def faults(values: Mapping[str, Any]) -> Iterator[str]:
    """A sentence for every fault of a config, but its arms'. Contradictions are sought between sound fields only."""
    try:
        config = validate(values)
    except ValidationError as error:
        yield from sentences(error, _name, list(fields_of(values)))
    else:
        yield from contradictions.of_fields(config)


def _name(path: tuple[Any, ...]) -> str:
    """The dotted name of a field; the kind of a task or model is no part of it."""
    return ".".join(str(part) for i, part in enumerate(path) if not (i == 1 and path[0] in ("task", "model")))


def _merged(config: Config, name: str) -> dict[str, Any]:
    """All fields as an arm has them, as they were given.

    Raises:
      InputError: it overrides a field that does not exist.
    """
    values = config.given
    own = values["arms"][name]
    for group, fields in config.arms[name].items():
        if group == "label":
            continue
        known = _fields(getattr(config, group, None))
        unknown = sorted(set(fields) - set(known)) if isinstance(fields, Mapping) and group in values else []
        if group not in values or unknown:
            field = f"{group}.{unknown[0]}" if unknown else group
            near = nearest(field, [f"{group}.{each}" for each in known] or sorted({*values, "label"} - set(SHARED)))
            raise InputError(
                f"config.arms.{name} overrides a field that does not exist: {field}."
                f"{f' Did you mean {near[0]}?' if near else ''}"
            )
        values[group] = values[group] | own[group] if isinstance(fields, Mapping) else fields
    return values


def _fields(group: Any) -> list[str]:
    return list(getattr(type(group), "__pydantic_fields__", ()))


def _of_the_arms(config: Config) -> Iterator[str]:
    """What is wrong with arms and rows of the table, and with their names."""
    found = [fault for name in config.arms for fault in _of_the_overrides(config, name)]
    yield from found
    if not found:
        practice = {name: _merged(config, name)["train"]["practice"] for name in config.arms}
        yield from said(arms.table, practice, config.plugins)
    known = [name for name in dict.fromkeys((*arms.declared(config.plugins), *config.arms)) if name != "base"]
    for row in config.evaluate.skip:
        if row not in (*known, "base"):
            yield f"evaluate.skip: {row!r} {not_one_of(known, row)}"
    if "base" in config.evaluate.skip:
        yield "evaluate.skip: 'base' is what all others are compared with; leave it in."


def _of_the_overrides(config: Config, name: str) -> Iterator[str]:
    """What is wrong with the groups that an arm overrides."""
    for group, fields in config.arms[name].items():
        if group == "label":
            if not isinstance(fields, str):
                yield f"config.arms.{name}.label = {fields!r}: give a text."
        elif group in Config.model_fields and bool(_fields(getattr(config, group))) != isinstance(fields, Mapping):
            yield f"config.arms.{name}.{group} = {fields!r}: give a value of the kind that config.{group} is."
        elif group in SHARED:
            yield (
                f"config.arms.{name}.{group}: all arms share {group}; set config.{group}, or make a study of its own "
                "for the arm."
            )
        elif group == "model" and isinstance(fields, Mapping) and (fixed := sorted(set(fields) - set(RUNTIME))):
            yield (
                f"config.arms.{name}.model.{fixed[0]}: all arms train one base; only {', '.join(RUNTIME)} may differ."
            )
