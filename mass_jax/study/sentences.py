"""What pydantic finds wrong in a config, as sentences that name the field, the value and the way out."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from mass_jax.errors import nearest, not_one_of

WAYS_OUT: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "greater_than": lambda limits: f"give more than {limits['gt']:g}",
    "greater_than_equal": lambda limits: f"give {limits['ge']:g} or more",
    "less_than": lambda limits: f"give less than {limits['lt']:g}",
    "less_than_equal": lambda limits: f"give {limits['le']:.10g} or less",
    "finite_number": lambda limits: "give a finite number",
    "int_type": lambda limits: "give a whole number",
    "int_parsing_size": lambda limits: "give a smaller number",
    "float_type": lambda limits: "give a number",
    "bool_type": lambda limits: "give True or False",
    "string_type": lambda limits: "give a text",
    "string_too_short": lambda limits: "give a text that is not empty",
    "tuple_type": lambda limits: "give a tuple of texts, such as ('a', 'b')",
    **dict.fromkeys(
        ("dict_type", "dataclass_type", "model_type", "model_attributes_type"), lambda limits: "give a group of fields"
    ),
    "missing": lambda limits: "the field is missing: set it",
    "union_tag_not_found": lambda limits: f"set its field {limits['discriminator']}",
}
"""By pydantic's types of errors."""


def sentences(error: ValidationError, name_of: Callable[[tuple[Any, ...]], str], valid: Sequence[str]) -> list[str]:
    """What pydantic found, one sentence a field.

    Args:
      error: as it was raised.
      name_of: makes a field's name from the path to it.
      valid: names of fields, the nearest of which is shown where there is none of a name.
    """
    found = []
    for each in error.errors(include_url=False):
        kind, limits, name = each["type"], each.get("ctx", {}), name_of(each["loc"])
        if kind in WAYS_OUT:
            value = "" if kind == "missing" else f" = {shown(each['input'])}"
            found.append(f"{name}{value}: {WAYS_OUT[kind](limits)}.")
        elif kind in ("extra_forbidden", "unexpected_keyword_argument"):
            near = nearest(name, [other for other in valid if other != name])
            found.append(f"there is no field {name}.{f' Did you mean {near[0]}?' if near else ''}")
        elif kind == "union_tag_invalid":
            field, tags = limits["discriminator"].strip("'"), limits["expected_tags"].replace("'", "").split(", ")
            found.append(f"{name}.{field} = {limits['tag']!r} {not_one_of(tags, limits['tag'])}")
        elif kind != "value_error":
            found.append(f"{name} = {shown(each['input'])}: {each['msg']}.")
        elif isinstance(each["input"], Mapping):  # a group's own sentence
            found.append(str(limits["error"]))
        else:
            found.append(f"{name} = {shown(each['input'])} {limits['error']}")
    return found


def shown(value: Any) -> str:
    """A value in a sentence, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."
