"""The command line of a main, run as a program."""

import subprocess
import sys
from pathlib import Path

import pytest

CONFIG = """
from ml_collections import ConfigDict
def get_config(size="small"):
    return ConfigDict({"seed": 0, "flag": True, "shape": (1, 2), "outer": {"learning_rate": 1e-3, "steps": 3},
                       "size": size})
"""
MAIN = """
from mass_jax.training import config as c
from mass_jax.training.workdir import open_workdir
def main(config, workdir):
    open_workdir(workdir, config)
    print("ran", config.outer.learning_rate, config.flag, config.shape, config.size)
    if config.seed == 1:
        config.sed = 2
c.run(main)
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    directory = tmp_path_factory.mktemp("main")
    (directory / "main.py").write_text(MAIN)
    (directory / "x.py").write_text(CONFIG)

    def run(*arguments):
        root = Path(__file__).parents[2]
        command = [sys.executable, str(directory / "main.py"), *arguments]
        return subprocess.run(command, cwd=directory, env={"PYTHONPATH": str(root)}, capture_output=True, text=True)

    return run


def test_overrides_reach_main(program):
    arguments = ("--config.outer.learning_rate=0.5", "--noconfig.flag", "--config.shape=3,4")
    done = program("--config=x.py:large", *arguments, "--workdir=a")
    assert (done.returncode, done.stdout) == (0, "ran 0.5 False (3, 4) large\n"), done.stderr


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--config=x.py", "--config.learning_rat=1", "--workdir=b"], ["'learning_rat'", "outer.learning_rate?"]),
        (["--config", "x.py", "--config.outer.stepz=1", "--workdir=b"], ["'outer.stepz'", "outer.steps"]),
        (["--config=x.py", "--config.seed.x=1", "--workdir=b"], ["'seed.x'", "seed"]),
        (["--config=x.py", "--config.qqqqqq=1", "--workdir=b"], ["'qqqqqq'", "flag, outer.learning_rate"]),
        (["--config=x.py", "--config.seed=abc", "--workdir=b"], ["config.seed", "'abc'"]),
        (["--config=none.py", "--config.seed=1", "--workdir=b"], ["'none.py'", "cannot be read"]),
        (["--config=x.py"], ["--workdir is missing"]),
        (["--workdir=b"], ["--config is missing"]),
        (["--config=x.py", "--workdir=gs://b/x"], ["gs://b/x", "mount"]),
        (["--config=x.py", "--workdir=b", "--process=1"], ["--process is for several", "--distributed"]),
        (["--config=x.py", "--workdir=main.py/b"], ["main.py/b", "cannot be written"]),
    ],
)
def test_bad_command_line_is_a_sentence(program, arguments, parts):
    done = program(*arguments)
    assert done.returncode == 2
    assert done.stdout == "" and "Traceback" not in done.stderr
    assert all(part in done.stderr for part in parts), done.stderr


def test_another_config_in_the_workdir_is_a_sentence(program):
    assert program("--config=x.py", "--workdir=c").returncode == 0
    done = program("--config=x.py", "--config.outer.steps=4", "--workdir=c")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "outer.steps: 3 (there), 4 (now)" in done.stderr


def test_the_config_is_locked_and_a_crash_keeps_its_traceback(program):
    done = program("--config=x.py", "--config.seed=1", "--workdir=d")
    assert done.returncode == 1
    assert "Traceback" in done.stderr and "sed" in done.stderr
