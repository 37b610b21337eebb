"""The manifest of `make reproduce`: every entry is a program and a config that it takes, and the first night is one."""

import ast
import importlib.util
from pathlib import Path

import pytest

from configs import reproduce
from experiments.benchmarks import generator
from mass_jax.study.config import read as read_study
from mass_jax.study.suite.manifest import given, jobs, read

ROOT = Path(__file__).resolve().parents[3]
MANIFEST = read(reproduce.get_config().lock())
NIGHT = 8 * 3600


@pytest.mark.parametrize("name", MANIFEST.entries)
def test_an_entry_is_a_program_with_a_config_that_it_takes(name: str):
    entry = MANIFEST.entries[name]
    assert importlib.util.find_spec(entry.program) is not None
    config = given(entry.config)
    fields = dict(flag.removeprefix("--config.").split("=") for flag in entry.flags if flag.startswith("--config."))
    config.lock().update_from_flattened_dict({field: ast.literal_eval(value) for field, value in fields.items()})
    config.seed = MANIFEST.seeds[-1]
    study = read_study(config)
    assert study.seed == MANIFEST.seeds[-1] and study.arms


def test_all_but_the_full_entries_fit_into_a_night_and_the_page_says_how_long_they_take():
    hours = [round(sum(job.seconds for job in jobs(MANIFEST, full=full)) / 3600) for full in (False, True)]
    assert sum(job.seconds for job in jobs(MANIFEST)) <= NIGHT
    page = (ROOT / "docs" / "reproduce.md").read_text(encoding="utf-8")
    assert f"{hours[0]} hours for `make reproduce` and {hours[1]} for `make reproduce-full`, " in " ".join(page.split())
    assert [name for name in MANIFEST.entries if f"`{name}`" not in page and not name.startswith("ablation_")] == []


def test_short_jobs_run_first_and_those_of_full_last():
    names = list(dict.fromkeys(job.entry for job in jobs(MANIFEST, full=True)))
    assert names[:4] == ["demo", "arithmetic", "generator", "ablation_schedule"] and names[-1] == "exactness"


def test_rewards_are_rows_of_the_generators_benchmark():
    assert set(reproduce.REWARDS.split(",")) <= set(generator.ROWS)
