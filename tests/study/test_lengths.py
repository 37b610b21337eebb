"""Lengths that a domain's texts do not fit are refused before anything is computed."""

import dataclasses

import pytest

from mass_jax.errors import InputError
from mass_jax.study.lengths import check_lengths
from mass_jax.study.schema import validate
from mass_jax.tasks.domain import Splits
from tests.mass import tiny
from tests.study.test_schema import get_config

PROBLEMS = tiny.make_problems(len(tiny.RULES))
SPLITS = Splits(PROBLEMS * 40, PROBLEMS, PROBLEMS, PROBLEMS)


def check(field: str, value: int) -> None:
    few = dict(task__rules=len(tiny.RULES), task__validation_families=3, task__test_families=3)
    config = validate(get_config("arithmetic", **few, **{f"lengths__{field}": value}).to_dict())
    own = {name: getattr(config.lengths, name) for name in tiny.LENGTHS.__dataclass_fields__}
    check_lengths(config, tiny.DOMAIN, dataclasses.replace(tiny.LENGTHS, **own), SPLITS)


@pytest.mark.parametrize(
    ("field", "least", "words"),
    [
        ("prompt", 10, "but the longest prompt takes 10 tokens: give 10 or more"),
        ("solution", 5, "but the longest solution takes 5 tokens"),
        ("synthesis", 12, "but the shortest practice, as it is written, takes 12 tokens"),
        ("practice", 13, "but the shortest practice with its solution takes 13 tokens"),
        ("check", 12, "but the shortest practice's longest check takes"),
        ("short_document", 15, "a document takes 15 tokens, more than the sequence length of 14"),
        ("long_document", 24, "a document takes 2. tokens, more than the sequence length of 23"),
    ],
)
def test_a_length_that_is_too_short_is_a_sentence(field: str, least: int, words: str):
    check(field, least)
    with pytest.raises(InputError, match=f"lengths.{field} = {least - 1}.* {words}"):
        check(field, least - 1)
