"""The command line of a main, run as a program."""

import json

import pytest
from ml_collections import ConfigDict

from mass_jax.runtime import command_line
from tests import programs

CONFIG = """
from ml_collections import ConfigDict
def get_config(size="small"):
    return ConfigDict({"seed": 0, "flag": True, "shape": (1, 2), "outer": {"learning_rate": 1e-3, "steps": 3},
                       "size": size})
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    directory = tmp_path_factory.mktemp("main")
    (directory / "x.py").write_text(CONFIG)
    (directory / "plain.py").write_text(CONFIG.replace('size="small"', "").replace("size}", "1}"))
    (directory / "arms.py").write_text(
        CONFIG.replace('"steps": 3}', '"steps": 3, "minutes": 20}, "name": None, "arms": {"a": {}}')
    )
    (directory / "silent.py").write_text("def get_config():\n    assert False\n")
    (directory / "notes.md").write_text("# Notes\n\nNo program.\n")

    forks = programs.Forks(tmp_path_factory.mktemp("printed"), "mass_jax.runtime.command_line")

    def run(*arguments):
        return forks.run("tests.runtime.program_main", *arguments, cwd=directory)

    run.directory, run.forks = directory, forks
    yield run
    forks.close()


def test_overrides_reach_main_and_the_whole_config_is_printed(program):
    arguments = ("--config.outer.learning_rate=0.5", "--noconfig.flag", "--config.shape=3,4", "--config.outer.chunk=2")
    done = program("--config=x.py:large", *arguments, "--workdir=a")
    assert (done.returncode, done.stdout) == (0, "ran 0.5 False (3, 4) large\n"), done.stderr
    assert done.stderr.splitlines() == [
        "config x.py:large outer.learning_rate=0.5 flag=False shape=(3, 4) outer.chunk=2",
        "  flag=False seed=0 shape=[3, 4] size='large' tags=[]",
        "  outer: chunk=2 decay=0.5 learning_rate=0.5 steps=3",
    ]


def test_what_a_config_does_not_name_is_stored_where_it_is_set(program):
    """A run of before a field was there goes on, and one that gives the default is the same run."""
    workdir = program.directory / "before"
    workdir.mkdir()
    outer = {"learning_rate": 1e-3, "steps": 3}
    before = {"seed": 0, "flag": True, "shape": [1, 2], "outer": outer, "size": "small"}
    (workdir / "config.json").write_text(json.dumps(before))
    done = program("--config=x.py", "--config.outer.decay=0.5", "--workdir=before")
    assert done.returncode == 0 and json.loads((workdir / "config.json").read_text()) == before, done.stderr
    done = program(
        "--config=x.py", "--config.outer.decay=0.25", "--config.outer.chunk=2", "--config.tags=new", "--workdir=before"
    )
    assert done.returncode == 2
    assert "outer.chunk: '<absent>' (there), 2 (now)\n  outer.decay: '<absent>' (there), 0.25 (now)" in done.stderr
    assert "tags: '<absent>' (there), ['new'] (now)" in done.stderr


def test_a_field_takes_its_kind_whatever_the_file_gives(program):
    """A whole number for a float, None for a text, nothing at all for a field of an arm; what is stored is as given."""
    given = {"learning_rate": 1e-3, "steps": 3, "minutes": 20}
    for words, minutes, name, arm in (
        ([], 20, None, None),
        (["--config.outer.minutes=20"], 20, None, None),
        (["--config.outer.minutes=0.5", "--config.name=mine"], 0.5, "mine", None),
        (["--config.outer.minutes=30", "--config.arms.a.outer.steps=5"], 30, None, 5),
    ):
        done = program("--config=arms.py", *words, f"--workdir=kinds/{minutes}{name}{arm}")
        assert done.returncode == 0, done.stderr
        text = (program.directory / f"kinds/{minutes}{name}{arm}/config.json").read_text()
        stored = json.loads(text)
        assert stored["outer"] == given | {"minutes": minutes} and stored["name"] == name
        assert f'"minutes": {minutes},' in text, "a whole number is kept as one"
        assert stored["arms"]["a"].get("outer", {}) == ({"steps": arm} if arm else {})


def test_help_has_the_fields_that_a_config_does_not_name(program):
    done = program("--config=x.py", "--help")
    assert done.returncode == 0 and "--config.outer.chunk=None " in done.stdout
    assert "how much at once" in done.stdout and "named" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--config=x.py", "--config.learning_rat=1", "--workdir=b"], ["'learning_rat'", "outer.learning_rate?"]),
        (["--config", "x.py", "--config.outer.stepz=1", "--workdir=b"], ["'outer.stepz'", "outer.steps"]),
        (["--config=x.py", "--config.seed.x=1", "--workdir=b"], ["'seed.x'", "seed"]),
        (
            ["--config=x.py", "--config.qqqqqq=1", "--workdir=b"],
            ["'qqqqqq'", "flag, outer.chunk, outer.decay"],
        ),
        (["--config=x.py", "--config.outer.steps=-1", "--workdir=b"], ["outer.steps is negative."]),
        (["--config=x.py", "--config.seed=abc", "--workdir=b"], ["flag --config.seed=abc: give a whole number."]),
        (["--config=x.py", "--config.outer.learning_rate=a", "--workdir=b"], ["learning_rate=a: give a number."]),
        (["--config=x.py", "--config.flag=maybe", "--workdir=b"], ["--config.flag=maybe: give true or false."]),
        (["--config=x.py", "--config.outer=3", "--workdir=b"], ["--config.outer=3: set a field of this group, as in"]),
        (["--config=x.py", "--nope=1", "--workdir=b"], ["'nope'", "--help shows the flags."]),
        (
            ["--config=x.py", "--flagfile=/nowhere", "--workdir=b"],
            ["--flagfile=/nowhere cannot be read (No such file or directory): give a file with a flag on each line."],
        ),
        (["--config=none.py", "--config.seed=1", "--workdir=b"], ["'none.py'", "cannot be read"]),
        (["--config=notes.md", "--workdir=b"], ["'notes.md'", "SyntaxError", "Give --config a Python file"]),
        (["--config=plain.py:large", "--workdir=b"], ["(TypeError: get_config() takes 0 positional arguments but 1"]),
        (["--config=silent.py", "--workdir=b"], ["The config 'silent.py' cannot be read (AssertionError). Give"]),
        (["--config=x.py", "x.py", "--workdir=b"], ["'x.py' is not a flag: write --name=value"]),
        (["--config=x.py"], ["--workdir is missing"]),
        (["--workdir=b"], ["--config is missing"]),
        (["--config=x.py", "--workdir=gs://b/x"], ["gs://b/x", "mount"]),
        (["--config=x.py", "--workdir=b", "--process=1"], ["--process is for several", "--distributed"]),
        (["--config=x.py", "--workdir=x.py/b"], ["x.py/b", "cannot be written"]),
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


def test_a_full_disk_is_a_sentence(program):
    done = program("--config=x.py", "--config.seed=2", "--workdir=e")
    assert done.returncode == 2 and done.stderr.splitlines()[3:] == [
        "A file cannot be written (No space left on device): make room, and start the same again."
    ]


def test_what_libraries_say_is_shown_where_it_is_asked_for(program):
    assert program.forks.run("tests.runtime.program_plain").stderr == ""
    assert "of a library" in program.forks.run("tests.runtime.program_plain", "--verbosity=0").stderr


def test_a_notice_to_a_program_that_ends_anyway_is_not_seen(program):
    done = program("--config=x.py", "--config.seed=3", "--workdir=f")
    assert (done.returncode, done.stderr.splitlines()[3:]) == (0, [])


def test_an_arms_own_value_is_not_given_up_in_silence(caplog: pytest.LogCaptureFixture):
    own = {"a": {"train": {"steps": 3}, "inner": {"steps": 2}}, "b": {"train": {"steps": 4, "rate": 0.1}}}
    config = ConfigDict({"train": {"steps": 1, "rate": 0.5}, "inner": {"steps": 1}, "arms": own})
    check = command_line._check_arms
    check(config, {"train.steps": 4, "inner.steps": 5}, "b")
    check(config, {"train.steps": 3, "train.rate": 0.2}, "a")
    check(ConfigDict({"train": {"steps": 1}}), {"train.steps": 3}, None)
    assert not caplog.messages
    with pytest.raises(command_line.ConfigError, match=r"b has 4 in .* Give --config.arms.b.train.steps=3\."):
        check(config, {"train.steps": 3}, "b")
    with pytest.raises(command_line.ConfigError, match=r"a has 2 in config.arms"):
        check(config, {"inner.steps": 3}, "a")
    with pytest.raises(command_line.ConfigError, match=r"a has 3, b has 4 in config.arms"):
        check(config, {"train.steps": 9}, None)
    check(config, {"train.rate": 0.2}, None)  # for some of the arms; and a harness names rows that are none
    check(config, {"inner.steps": 9}, "base")
    assert caplog.messages == [
        "b: --config.train.rate is not for them, config.arms has its own.",
        "a: --config.inner.steps is not for them, config.arms has its own.",
    ]
