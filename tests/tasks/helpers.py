"""What the tests of the tasks share: a small configuration, and one rule worked out by hand."""

import functools

from mass_jax.tasks.arithmetic.builder import ArithmeticConfig
from mass_jax.tasks.arithmetic.rules import Rule, make_rules
from mass_jax.tasks.arithmetic.task import ArithmeticTask
from mass_jax.tasks.base import Problem
from mass_jax.tasks.procedural import draw_splits

RULE = Rule(2, 0, 5)  # 0>5 1>7 2>2 3>1 4>4 5>0 6>0 7>4 8>1 9>2 10>7
BY_HAND = (5, 7, 2, 1, 4, 0, 0, 4, 1, 2, 7)
TASK = ArithmeticTask(rules=(RULE, Rule(0, 1, 0), Rule(1, 0, 0)))
PROBLEM = Problem("8>1 1>7 6>0 ? 3 9", "f2,0,5 = 3>1 9>2", ("8>1", "1>7", "6>0"), 2, 0)

SMALL = dict(
    rules=30,
    validation_families=5,
    test_families=6,
    pretrain_problems=2000,
    train_problems=300,
    validation_problems=200,
    test_problems=240,
)


def small_config(**changes) -> ArithmeticConfig:
    return ArithmeticConfig(**SMALL | changes)


@functools.cache
def small_splits() -> dict[str, list[Problem]]:
    return draw_splits(small_config())


@functools.cache
def small_task() -> ArithmeticTask:
    config = small_config()
    return ArithmeticTask(make_rules(config.rules, config.rules_seed))
