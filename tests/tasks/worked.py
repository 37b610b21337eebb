"""What the tests of domains with worked steps share: a small data set of each, drawn once, and examples on pages."""

import functools
from pathlib import Path

from mass_jax.tasks.agent.builder import AgentConfig
from mass_jax.tasks.agent.task import AgentTask
from mass_jax.tasks.base import Problem
from mass_jax.tasks.countdown.builder import CountdownConfig
from mass_jax.tasks.countdown.task import CountdownTask
from mass_jax.tasks.grid.builder import GridConfig
from mass_jax.tasks.grid.task import GridTask
from mass_jax.tasks.procedural import draw_splits
from mass_jax.tasks.programs.builder import ProgramsConfig
from mass_jax.tasks.programs.task import ProgramsTask
from mass_jax.tasks.worked import WorkedConfig, WorkedTask

SMALL = dict(
    rules=40,
    validation_families=6,
    test_families=8,
    pretrain_problems=200,
    train_problems=100,
    validation_problems=60,
    test_problems=80,
)
CONFIGS: dict[str, WorkedConfig] = {
    "agent": AgentConfig(**SMALL | dict(rules=60, pretrain_problems=100, train_problems=60)),
    "countdown": CountdownConfig(**SMALL, numbers=4),
    "grid": GridConfig(**SMALL),
    "programs": ProgramsConfig(**SMALL),
}
TASKS: dict[str, WorkedTask] = {
    name: kind(CONFIGS[name].make_rules())
    for name, kind in dict(agent=AgentTask, countdown=CountdownTask, grid=GridTask, programs=ProgramsTask).items()
}


@functools.cache
def drawn(name: str) -> dict[str, list[Problem]]:
    """Every problem of every split."""
    return draw_splits(CONFIGS[name])


def section(title: str) -> str:
    """Of the page about domains."""
    page = (Path(__file__).parents[2] / "docs/domain.md").read_text(encoding="utf-8")
    return page.partition(f"## {title}\n")[2].partition("\n## ")[0]
