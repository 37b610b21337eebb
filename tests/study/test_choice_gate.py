"""The gate of a choice: what is counted, and the vote."""

import numpy as np

from mass_jax.study import choice_gate
from mass_jax.tasks.base import MALFORMED
from tests.tasks.candidates.test_candidates import NAMED, PROBLEM


class Sets:
    def __init__(self, texts):
        self.texts = texts


def test_shares_of_what_is_written():
    written = [
        "f2,0,5 10>7 4>4 ? 2 7 = 2>2 7>4",  # right
        "f2,0,5 10>7 4>4 ? 2 7 = 2>2 7>5",  # on topic
        "f7,1,3 10>7 4>4 ? 2 7 = 2>2 7>4",  # off topic
        "f2,0,5 10>7 3>1 ? 2 7 = 2>2 7>4",  # malformed
    ]
    row = [NAMED.parse(PROBLEM, text) for text in written]
    found = choice_gate.quality(NAMED, [[PROBLEM], [PROBLEM]], [Sets([row]), Sets([[row[0], *[MALFORMED] * 3]])])
    assert found == {
        "well_formed": 0.5,
        "on_topic_of_well_formed": 0.75,
        "right_of_on_topic": 2 / 3,
        "right": 0.25,
    }


def test_the_vote_is_among_those_that_count():
    texts = [["a", "b", "b", "c"], ["a", "b", "b", "c"], ["a", "b", "c", "c"]]
    counts = np.array([[1, 1, 1, 1], [1, 0, 0, 1], [0, 0, 0, 0]], bool)
    assert choice_gate._winner(texts, counts).tolist() == [1, 0, 0]


OPEN = {
    "practice": {"on_topic_of_well_formed": 0.35, "right_of_on_topic": 0.9},
    "gain": {
        name: {"diff": diff, "ci95": [diff - 0.02, diff + 0.02]}
        for name, diff in {
            "oracle": 0.3,
            "oracle_strict": 0.2,
            "other_problems": 0.01,
            "read_off/own/0/best": 0.09,
            "read_off/own/0/vote": -0.1,
            "read_off/gold/0/best": 0.5,
        }.items()
    },
}
SHUT = {
    "a": [("practice", "on_topic_of_well_formed", 0.41), ("practice", "on_topic_of_well_formed", 0.09)]
    + [("practice", "right_of_on_topic", 0.59)],
    "b": [("gain", "oracle_strict", {"diff": 0.07, "ci95": [0, 1]})],
    "c": [("gain", "other_problems", {"diff": diff, "ci95": sorted([diff / 2, 2 * diff])}) for diff in (0.04, -0.04)],
    "e": [("gain", "read_off/own/0/vote", {"diff": 0.11, "ci95": [0, 1]})],
}


def test_a_gate_is_shut_by_what_it_is_about_alone():
    assert choice_gate.is_open(OPEN) == dict.fromkeys("abce", True)
    for gate, faults in SHUT.items():
        for part, name, value in faults:
            found = choice_gate.is_open(OPEN | {part: OPEN[part] | {name: value}})
            assert [each for each, passed in found.items() if not passed] == [gate]
