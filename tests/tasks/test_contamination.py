"""Training problems that the test has too are found: whole, or by a run of words."""

from mass_jax.tasks import contamination
from mass_jax.tasks.base import Problem


def row(prompt: str) -> Problem:
    return Problem(prompt, "", (), 0, 0)


LONG = "A ship sails from the old port to the far island with nine crates of tea and four of silk on board."


def test_contamination_is_removed_from_the_training_split_and_counted():
    test = [row("What is 2 + 2?"), row(LONG), row("What is  2 + 2 ?")]
    train = [
        row("What is 5 + 2?"),
        row("what is 2+2"),  # in the test, but for case, spaces and punctuation
        row("What is 5 + 2 ?"),  # repeated
        row(LONG + " How many crates?"),  # begins as a test problem does
        row("What is 2 - 2?"),  # another sign is another problem
        row(" ".join(LONG.split()[:12])),  # 12 common words are too few
        row("what is 2+2"),  # the first reason counts
    ]
    kept, report = contamination.clean(train, test)
    assert kept == [train[0], train[4], train[5]]
    assert report == contamination.Report(train_repeated=2, train_in_test=1, train_overlapping=1, test_repeated=1)
    assert contamination.clean(train[:1], []) == (train[:1], contamination.Report(0, 0, 0, 0))


def test_thirteen_common_words_are_enough():
    words = LONG.split()
    kept, report = contamination.clean([row("Once " + " ".join(words[:13])), row(" ".join(words[:12]))], [row(LONG)])
    assert len(kept) == 1 and report.train_overlapping == 1
