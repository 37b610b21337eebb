"""The rows of the table."""

import dataclasses
from pathlib import Path

import pytest

from mass_jax.adapt.run import Recipe
from mass_jax.errors import InputError
from mass_jax.study import arms
from mass_jax.study.arms import ARMS, BASELINES, Arm, declared, pairs, register, table

METHODS = [name for name, arm in ARMS.items() if not arm.control]
CONTROLS = [name for name, arm in ARMS.items() if arm.control]


def test_an_arm_of_ones_own_has_a_row():
    known = {"mass": True, "solver_grpo": False, "first_order": True}
    assert list(table(known)) == [*METHODS, *CONTROLS]
    own = table(known | {"mine": True, "no_practice": False})
    assert list(own) == [*METHODS, "mine", "no_practice", *CONTROLS]
    assert own["mine"].recipe == Recipe("own", "scorer") and own["no_practice"].recipe == Recipe()
    assert own["no_practice"].label == "no practice" and own["mine"].against == BASELINES


def test_the_page_of_results_names_the_baselines():
    page = (Path(__file__).parents[2] / "docs/results.md").read_text(encoding="utf-8")
    *most, last = [ARMS[name].label for name in BASELINES]
    assert f"compare each arm with {', '.join(most)} and {last} (" in " ".join(page.split())


@pytest.mark.parametrize("name", ["base", "tt_ss", "oracle_strict", "mass_no_update", "pretrain", "evaluation"])
def test_the_name_of_something_untrained_is_taken(name: str):
    with pytest.raises(InputError, match=f"config.arms.{name}: the name is taken by something that is not trained"):
        table({name: True})


@pytest.mark.parametrize("name", ["a-b", "a/b", "", "1"])
def test_a_name_that_no_pair_or_folder_can_have_is_refused(name: str):
    with pytest.raises(InputError, match="give one of letters, digits and underscores"):
        table({name: True})
    with pytest.raises(InputError, match="give one of letters, digits and underscores"):
        Arm(name=name, model="base")


def test_every_arm_is_declared_whole():
    for name, arm in ARMS.items():
        assert arm.name == name and arm.meaning and arm.label != name
        assert set(arm.against) <= {*ARMS, "*"}
    assert len({arm.label for arm in ARMS.values()}) == len(ARMS)


def test_what_is_compared_with_what():
    rows = table({"mass": True, "mine": True})
    measured = ["base", "ttt_nn", "tt_ss", "mass", "mine", "mass_strict", "oracle_strict"]
    assert pairs(rows, measured) == [
        *(("mass", other) for other in measured if other != "mass"),
        *(("mine", other) for other in ("base", "ttt_nn", "tt_ss")),
        *((other, "base") for other in ("ttt_nn", "tt_ss", "oracle_strict")),
    ]


def test_a_registered_arm_is_of_the_studies_that_name_its_module(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(arms, "REGISTERED", {})
    mine = register(Arm(name="mine", model="mass", against=("mass",)), "my_package.my_module")
    assert declared() == ARMS and "mine" not in table({"mass": True}, ["my", "another"])
    for plugin in ("my_package", "my_package.my_module"):
        assert table({"mass": True}, [plugin])["mine"] is mine
    assert register(dataclasses.replace(mine), "my_package.my_module") == mine, "a second time is the same"
    for name, module in (("mine", "my_package.my_module"), ("base", "another"), ("pretrain", "another")):
        with pytest.raises(InputError, match=f"there is an arm '{name}' already"):
            register(Arm(name=name, model="base"), module)


def test_rows_of_the_same_name_are_each_of_their_own_modules_studies(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(arms, "REGISTERED", {})
    one, other = (register(Arm(name="mine", model=model), module) for model, module in (("base", "a"), ("mass", "b")))
    assert table({"mass": True}, ["a"])["mine"] is one and table({"mass": True}, ["b"])["mine"] is other
    with pytest.raises(InputError, match="plugins: a, b register two arms 'mine': give one another name"):
        table({"mass": True}, ["a", "b"])


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"model": "mas"}, r"the arm 'mine': model = 'mas' is not one of base, .*other.* Did you mean 'mass'\?"),
        ({"model": "tt_ss"}, "the arm 'mine': model = 'tt_ss' is not one of"),
        ({"model": "mass", "against": ("base", "othr")}, r"against = 'othr' is not one of .* Did you mean 'other'\?"),
    ],
)
def test_a_row_names_models_and_rows_that_there_are(row: dict, words: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(arms, "REGISTERED", {})
    register(Arm(name="mine", **row), "a")
    with pytest.raises(InputError, match=words):
        table({"other": True}, ["a"])


def test_a_row_may_name_every_model_and_row_that_there_is(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(arms, "REGISTERED", {})
    for name, model in (("one", "other"), ("two", "mass"), ("three", "three")):
        register(Arm(name=name, model=model, against=("one", "other", "*")), "a")
    assert {"one", "two", "three"} <= set(table({"other": True}, ["a"]))


@pytest.mark.parametrize("weights", ["scorer", "shuffled"])
def test_the_base_has_no_scorer_to_weigh_by(weights: str):
    with pytest.raises(InputError, match=f"'mine' is to weigh by '{weights}', but the base has no scorer: give it oth"):
        Arm(name="mine", model="base", recipe=Recipe("own", weights))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"against": "base"}, "Arm.against = 'base' is not of the type tuple"),
        ({"recipe": "own"}, "Arm.recipe = 'own' is not of the type"),
        ({"label": 5}, "Arm.label = 5 is not of the type str"),
        ({"recipe": Recipe("own", strict="no")}, "Recipe.strict = 'no' is not of the type bool"),  # type: ignore[arg-type]
    ],
)
def test_a_field_of_another_type_is_refused(row: dict, words: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(arms, "REGISTERED", {})
    with pytest.raises(InputError, match=words):
        register(Arm(**{"name": "mine", "model": "mass", **row}), "a")
