"""Faulty modules of others: each is a sentence with its reason, before anything is computed or written."""

import importlib
import itertools
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ml_collections import ConfigDict

from configs import smoke
from mass_jax.adapt.sources import SOURCES
from mass_jax.adapt.weights import WEIGHTS
from mass_jax.errors import InputError
from mass_jax.mass.scorers.registry import SCORERS
from mass_jax.metagrad import ESTIMATORS
from mass_jax.parallel.preemption import STATUSES
from mass_jax.study import plugins
from mass_jax.study import study as study_module
from mass_jax.study.arms import REGISTERED
from mass_jax.study.config import read
from mass_jax.study.entry import known
from mass_jax.study.study import open_study, table
from mass_jax.tasks.registry import DOMAINS

TABLES: tuple[dict, ...] = (DOMAINS, ESTIMATORS, REGISTERED, SCORERS, SOURCES, WEIGHTS)
EXTENDING = Path(__file__).parents[1] / "extending"
DOMAIN, SCORER, ESTIMATOR = ((EXTENDING / f"{name}.py").read_text() for name in ("domain", "variety", "estimator"))
ARM = """
from mass_jax.adapt.run import Recipe
from mass_jax.study import arms
from mass_jax.study.arms import Arm

"""
KNOWS = """
    def is_correct(self, problem, practice): return True

    def is_on_family(self, problem, practice): return True

    def gold_practice(self, problem, count, rng, strict): return (Practice("1 + 1", "2", True),) * count

    def leaks"""
NUMBERS = itertools.count()
Write = Callable[..., str]


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes a module, and returns its name; what modules register is forgotten at the end."""
    folder = tmp_path / "modules"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    before, modules = [dict(table) for table in TABLES], set(sys.modules)

    def write(text: str, name: str = "") -> str:
        name = name or f"plugin_{next(NUMBERS)}"
        path = folder / f"{name.replace('.', '/')}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        importlib.invalidate_caches()
        return name

    yield write
    for names, entries in zip(TABLES, before, strict=True):
        names.clear()
        names.update(entries)
    for name in set(sys.modules) - modules:
        if name.startswith("plugin_"):
            del sys.modules[name]


def changed(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1
    return text.replace(old, new)


def make_config(*names: str, task: str = "", **changes: Any) -> ConfigDict:
    config = smoke.get_config()
    config.plugins = names
    if task:
        config.task = ConfigDict({"name": task, "count": 8})
    for field, value in changes.items():
        group, _, last = field.rpartition("__")
        config[group][last] = value
    return config


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero (FILE, line 1)."),
        ("import sys\nsys.exit(3)", "SystemExit: 3 (FILE, line 2)."),
        ("def", "SyntaxError: invalid syntax (NAME.py, line 1)."),
        ("import nowhere_at_all", "ModuleNotFoundError: No module named 'nowhere_at_all' (FILE, line 1)."),
        (
            f'{ARM}arms.register(Arm(name="own", model="base", recipe=Recipe("own", "scorer")), __name__)',
            "the arm 'own' is to weigh by 'scorer', but the base has no scorer: give it other weights, such as "
            "'uniform', or a model that is trained with a scorer (FILE, line 6).",
        ),
        (
            f'{ARM}arms.register(Arm(name="base", model="mass"), __name__)',
            "there is an arm 'base' already: give yours another name (FILE, line 6).",
        ),
        (
            "from mass_jax.adapt.sources import Source, register\nregister(Source('x', print, frozenset({'famly'})))",
            "Source.needs = frozenset({'famly'}) is not of the type",
        ),
        (
            "from mass_jax.adapt.weights import Weights, register\nregister(Weights('x', None))",
            "Weights.weigh = None is not of the type",
        ),
        (changed(SCORER, "features=_features", "features=3"), "Scorer.features = 3 is not of the type"),
        (changed(SCORER, "    Scorer(", "    dict("), "is not of the type Scorer: give one (FILE, line "),
        (
            changed(DOMAIN, "def load", "def lod"),
            "the domain 'sums' lacks load: see mass_jax.tasks.domain (",
        ),
        (
            changed(DOMAIN, "def vocabulary", "def words"),
            "the domain 'sums' lacks vocabulary: see mass_jax.tasks.d",
        ),
        (changed(DOMAIN, "(OwnWords)", ""), "is no domain: give a class that inherits from DomainConfig"),
        (changed(DOMAIN, '    name: Literal["sums"]\n', ""), "Sums does not say its name: give it a field such as"),
        (changed(DOMAIN, "count: Count", 'count: "Cont"'), "name 'Cont' is not defined (FILE, line "),
        (
            changed(ESTIMATOR, "@dataclasses.dataclass(frozen=True)\n", ""),
            "the estimator 'clipped' is no frozen dataclass",
        ),
        (
            changed(ESTIMATOR, '"clipped", Clipped', '"clipped", Clipped()'),
            "the estimator 'clipped' is no frozen dataclass",
        ),
        (
            "import dataclasses\nfrom mass_jax.metagrad import register\n"
            "@dataclasses.dataclass(frozen=True)\nclass Mine: exact = True\nregister('mine', Mine)",
            "the estimator 'mine' lacks assumption, needs_cotangent, value_and_grad: see mass_jax.metagrad.base (",
        ),
        (
            "import dataclasses\nfrom mass_jax.metagrad import CotangentEstimator, register\n"
            "@dataclasses.dataclass(frozen=True)\nclass Mine(CotangentEstimator): exact = True\nregister('mine', Mine)",
            "the estimator 'mine' lacks adapt, pullback: see mass_jax.metagrad.base (FILE, line 5).",
        ),
        (
            changed(ESTIMATOR, "    limit: float", "    needs_cotangent = False\n    limit: float"),
            "the estimator 'clipped' has needs_cotangent = False: it is True of those that inherit",
        ),
        (changed(ESTIMATOR, "limit: float", 'limit: "flot"'), "NameError: name 'flot' is not defined (FILE, line "),
    ],
)
def test_a_module_that_fails_says_why_and_where(plugin: Write, tmp_path: Path, text: str, words: str):
    name = plugin(text)
    words = words.replace("FILE", str(tmp_path / "modules" / "NAME.py")).replace("NAME", name)
    said = f"plugins: the module '{name}' cannot be imported: .*{re.escape(words)}"
    for _ in range(2):  # it says the same when it is read again
        with pytest.raises(InputError, match=said):
            read(make_config(name))
    read(make_config())


@pytest.mark.parametrize(
    ("text", "changes", "words"),
    [
        (
            f'{ARM}arms.register(Arm(name="own", model="mas"), __name__)',
            {},
            "the arm 'own': model = 'mas' is not one of base, .* Did you mean 'mass'?",
        ),
        (
            changed(DOMAIN, "    def make", "    def contradictions(self): raise KeyError('why')\n\n    def make"),
            {"task": "sums"},
            "task.name = 'sums' of the plugin PLUGIN: KeyError: 'why' .*, line ",
        ),
        (
            changed(ESTIMATOR, "limit: float = 1.0", "limit: float = dataclasses.field(kw_only=True)"),
            {"metagrad__name": "clipped"},
            "metagrad.name = 'clipped' of the plugin PLUGIN: estimator 'clipped' needs the option limit: give it.",
        ),
        (
            changed(ESTIMATOR, "found = super", "found = self.nothing; super"),
            {"metagrad__name": "clipped"},
            "metagrad.name = 'clipped' of the plugin PLUGIN: AttributeError: 'Clipped' object has no attribute 'nothi",
        ),
    ],
)
def test_what_a_module_registers_is_tried_when_a_config_names_it(plugin: Write, text: str, changes: dict, words: str):
    name = plugin(text)
    with pytest.raises(InputError, match=words.replace("PLUGIN", name)):
        read(make_config(name, **changes))


SUMS = {"task": "sums"}
LOAD = "        digit = "
VARIETY = {"scorer__kind": "variety"}


@pytest.mark.parametrize(
    ("text", "changes", "words"),
    [
        (changed(DOMAIN, '*"+=;"', '*"++="'), SUMS, "the vocabulary has repeated words"),
        (
            changed(DOMAIN, "*map(str, range(10))", "*range(10)"),
            SUMS,
            "the vocabulary has 0: give texts without spa",
        ),
        (changed(DOMAIN, "return [*map", "return None and [*map"), SUMS, "TypeError: .*NoneType.*tokenizer.py, line"),
        (changed(DOMAIN, "Domain(SumsTask(), tokenizer)", "SumsTask()"), SUMS, r"make gives SumsTask\(\), no Domain"),
        (changed(DOMAIN, "def leaks", "def leak"), SUMS, "SumsTask lacks leaks, see mass_jax.tasks.base"),
        (
            changed(DOMAIN, LOAD, f"        return None\n{LOAD}"),
            SUMS,
            r"load\('pretrain'\) gives None, no sequence of",
        ),
        (
            changed(DOMAIN, LOAD, f"        return ['1 + 1']\n{LOAD}"),
            SUMS,
            "'1 . 1' is not of the type Problem: give",
        ),
        (changed(DOMAIN, LOAD, f"        1 / 0\n{LOAD}"), SUMS, r"ZeroDivisionError: division by zero \(.*, line 56\)"),
        (
            changed(DOMAIN, "str((digit + i) % 10)", "(digit + i) % 10"),
            SUMS,
            "Problem.solution = 8 is not of the type",
        ),
        (
            changed(DOMAIN, 'return " ".join', 'return None and " ".join'),
            SUMS,
            "AttributeError: 'NoneType' object ha",
        ),
        (changed(DOMAIN, 'prompt, "="', 'prompt, "=="'), SUMS, "the word '==' is not in the vocabulary of 13 words"),
        (
            changed(SCORER, "model, checks: 2", "model, checks: 3"),
            VARIETY,
            r"features gives .*\(3, 4, 2\).* feature_c",
        ),
        (
            changed(SCORER, '{"out": jnp', '{"gate": jnp'),
            VARIETY,
            "init gives .*: give a dictionary, in which the na",
        ),
        (changed(SCORER, '@ eta["out"]', '@ eta["in"]'), VARIETY, "KeyError: 'in' .*, line "),
        (
            changed(SCORER, '@ eta["out"]', '* eta["out"]'),
            VARIETY,
            r"logits gives .*: give an array of the shape",
        ),
    ],
)
def test_what_a_study_is_to_work_with_is_tried_before_anything_is_written(
    plugin: Write, tmp_path: Path, text: str, changes: dict, words: str
):
    name = plugin(text)
    config = read(make_config(name, **changes))
    field = "task.name = 'sums'" if changes is SUMS else "scorer.kind = 'variety'"
    with (
        pytest.raises(InputError, match=f"^{field} of the plugin {name}: .*{words}"),
        open_study(config, tmp_path / "run"),
    ):
        pass
    assert not (tmp_path / "run").exists()


ROW = """
import jax.numpy as jnp
import numpy as np
from mass_jax.adapt import sources, weights
from mass_jax.adapt.run import Recipe
from mass_jax.study import arms
from mass_jax.study.arms import Arm

def obtain(request):
    return sources.from_pool(request, [np.arange(len(request.pool.problems))] * len(request.problems))

def weigh(given):
    return weights.uniform(given)

sources.register(sources.Source("mine", obtain))
weights.register(weights.Weights("ours", weigh))
arms.register(Arm(name="own", model="base", recipe=Recipe("mine", "ours")), __name__)
"""
OBTAIN, WEIGH = "return sources.from_pool(", "return weights.uniform(given)"
SCORES = f"{WEIGH}._replace(weights_PxM="


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            OBTAIN,
            "return None and (",
            "practice = 'mine' .*: it gives None, no PracticeSets: return what .*pack_practice",
        ),
        (OBTAIN, "return [1] or (", r"practice = 'mine' .*: it gives \[1\], no PracticeSets"),
        (OBTAIN, "1 / 0; (", "practice = 'mine' .*: ZeroDivisionError: division by zero .*, line"),
        (
            OBTAIN,
            "request = request._replace(problems=request.problems[:1]); " + OBTAIN,
            "it gives arrays of the shapes .*, .* for 2 problems of 4 examples: return what",
        ),
        (WEIGH, "return None", "weights = 'ours' .*: it gives None, no Scores: return what weights.uniform does"),
        (WEIGH, "raise KeyError('why')", "weights = 'ours' .*: KeyError: 'why' .*, line"),
        (
            WEIGH,
            SCORES + "np.full((2, 4), np.nan))",
            "weights = 'ours' .*: its weights_PxM has nan to nan: give finite",
        ),
        (
            WEIGH,
            SCORES + "-given.counts_PxM.astype(float))",
            "its weights_PxM has -1.0 to .*: give .* numbers from 0 on",
        ),
        (WEIGH, SCORES + "jnp.ones(2))", r"its weights_PxM has the shape \(2,\): give \(2, 4\), a number for each"),
    ],
    ids=range(9),
)
def test_what_a_row_practises_on_is_tried_before_anything_is_trained(
    plugin: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, words: str
):
    monkeypatch.setattr(study_module.decoder, "init", lambda *_: {})  # none of these asks the model
    name = plugin(DOMAIN + changed(ROW, old, new))
    with (
        pytest.raises(InputError, match=rf"^the arm 'own': \w+ = '\w+' of the plugin {name}: ") as said,
        open_study(read(make_config(name, **SUMS)), tmp_path / "run"),
    ):
        pass
    assert re.search(words, str(said.value)) and not (tmp_path / "run").exists()


def test_a_row_that_practises_as_it_should_is_let_in(plugin: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(study_module.decoder, "init", lambda *_: {})
    monkeypatch.setattr(study_module, "pretrain", lambda *_: {"w": 1})
    with open_study(read(make_config(plugin(DOMAIN + ROW), **SUMS)), tmp_path / "run") as study:
        assert study.base == {"w": 1}


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_split_without_problems_is_a_sentence(plugin: Write, tmp_path: Path, split: str):
    text = changed(DOMAIN, LOAD, f"        if split == {split!r}:\n            return ()\n{LOAD}")
    with (
        pytest.raises(InputError, match=f"the {split} split of sums has 0 problems, fewer than 1: give it more."),
        open_study(read(make_config(plugin(text), **SUMS)), tmp_path / "run"),
    ):
        pass


@pytest.mark.parametrize("until", [False, True])
def test_a_gate_needs_its_validation_problems_and_so_does_a_base_that_ends_by_them(
    plugin: Write, tmp_path: Path, until: bool
):
    text = changed(DOMAIN, "range(self.count)", 'range(3 if split == "validation" else 9)')
    changes = SUMS | {"pretrain__until": 0.5, "pretrain__decay_steps": 0} if until else SUMS
    text = text if until else changed(text, "\n    def leaks", KNOWS)
    with (
        pytest.raises(InputError, match="the validation split of sums has 3 .* fewer than 8: .* lower gate.problems"),
        open_study(read(make_config(plugin(text), **changes)), tmp_path / "run"),
    ):
        pass


@pytest.mark.parametrize("knows", [True, False])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"train__reward": "privileged"}, "train.reward = 'privileged' needs a domain that knows .* 'sums' does not"),
        (
            {"arms__mass_gold": {"train": {"mode": "gold", "siblings": 2}}},
            "train.siblings = 2 needs a domain that knows the family .* 'sums' does not",
        ),
    ],
)
def test_what_is_hidden_is_asked_of_domains_that_know(
    plugin: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, knows: bool, change: dict, said: str
):
    text = changed(DOMAIN, "\n    def leaks", KNOWS) if knows else DOMAIN
    config = read(make_config(plugin(text), **SUMS, **change))
    monkeypatch.setattr(study_module, "_opened", lambda *_: "opened")
    if knows:
        with open_study(config, tmp_path) as study:
            assert study == "opened"
    else:
        with (
            pytest.raises(InputError, match=said),
            open_study(config, tmp_path),
        ):
            pass


def test_a_module_without_a_file_is_a_sentence(tmp_path: Path, plugin: Write):
    plugin("", "plugin_folder.module")
    for name in ("sys", "plugin_folder"):
        for look in (lambda: read(make_config(name)), lambda: plugins.version([name])):  # noqa: B023
            with pytest.raises(InputError, match=f"plugins: the module '{name}' has no source file"):
                look()
    assert plugins.version(("plugin_folder.module",)) != plugins.version((plugin("a = 1"),))


@pytest.mark.parametrize("name", ["", "../evil", ".evil", "my module", "folder/module", "a..b"])
def test_what_is_no_name_of_a_module_is_a_sentence(name: str):
    with pytest.raises(
        InputError, match=f"plugins: {name!r} is no name of a module: give names as Python imports them"
    ):
        read(make_config(name))


def test_a_module_that_fails_can_be_mended(plugin: Write):
    name = plugin(f"{DOMAIN}\nraise RuntimeError('why')\n")
    for _ in range(2):
        with pytest.raises(InputError, match="cannot be imported: RuntimeError: why"):
            read(make_config(name, task="sums"))
    assert "sums" not in DOMAINS
    plugin(DOMAIN, name)
    read(make_config(name, task="sums"))


def test_what_a_package_has_imported_before_it_fails_is_kept(plugin: Write):
    package = plugin("", f"plugin_{next(NUMBERS)}.__init__").partition(".")[0]
    plugin(f'{ARM}arms.register(Arm(name="own", model="mass"), __name__)', f"{package}.row")
    plugin(DOMAIN, f"{package}.words")
    plugin(f"from {package} import row, words\nraise RuntimeError('why')", f"{package}.__init__")
    for _ in range(2):
        with pytest.raises(InputError, match="cannot be imported: RuntimeError: why"):
            read(make_config(package))
    plugin(f"from {package} import row, words", f"{package}.__init__")
    assert "own" in table(read(make_config(package, task="sums")))


def test_a_notice_is_no_fault_of_the_module_that_it_meets(plugin: Write):
    status = next(iter(STATUSES.values()))
    with pytest.raises(SystemExit, match=str(status)):
        read(make_config(plugin(f"import sys\nsys.exit({status})")))


def test_the_command_line_sets_what_a_domain_of_a_plugin_has(plugin: Write):
    name = plugin(changed(DOMAIN, "count: Count\n", "count: Count\n    carry: Count = 3\n"))
    config = make_config(task="sums")
    assert "task.carry" not in known(config)
    for words in ([f"--config.plugins={name}"], [f"--config.plugins='{name}'"]):
        assert known(config, words)["task.carry"][:2] == (3, int)
    config.plugins = ("plugin_that_is_not_there",)
    config.task.name = "another"
    with pytest.raises(InputError, match="No module named 'plugin_that_is_not_there'. Name modules that Python finds"):
        known(config)
