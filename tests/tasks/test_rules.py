"""Rules: their values, their number, and their drawing."""

import pytest

from mass_jax.tasks.arithmetic.rules import PAIRS, make_rules, named, vocabulary
from tests.tasks.helpers import BY_HAND, RULE


def test_a_rule_by_hand():
    assert tuple(RULE(x) for x in range(11)) == BY_HAND
    assert RULE.name == "f2,0,5" and named(RULE.name) == RULE
    assert RULE.pairs[8] == "8>1"
    assert [PAIRS[pair] for pair in RULE.pairs] == list(enumerate(BY_HAND))


def test_rules_are_different_functions_none_constant():
    rules = make_rules(1320, 0)
    assert len({rule.name for rule in rules}) == 1320
    assert len({rule.pairs for rule in rules}) == 1320 and all(named(rule.name) == rule for rule in rules)
    assert all(len({rule(x) for x in range(11)}) > 1 for rule in rules)


def test_rules_are_decided_by_the_seed():
    assert make_rules(50, 3) == make_rules(50, 3)
    assert make_rules(50, 3) != make_rules(50, 4)
    assert make_rules(80, 3)[:50] == make_rules(50, 3)


@pytest.mark.parametrize("count", [-1, 0, 1321])
def test_an_impossible_number_of_rules_is_refused(count):
    with pytest.raises(ValueError, match=rf"task\.rules = {count}: there are 1 to 1320"):
        make_rules(count, 0)


def test_vocabulary_has_every_word_once():
    words = vocabulary(make_rules(20, 0))
    assert len(words) == len(set(words)) == 4 + 11 + 121 + 20
    assert not any(" " in word for word in words)
