"""The rows of the table: each is declared once, with all that is known of it.

A trained arm is an entry of ``config.arms`` and needs no declaration. A module of your own that is named by
``config.plugins`` adds a row by ``register(Arm(...), __name__)``; a study has the rows of its own plugins only.
"""

import dataclasses
from collections.abc import Collection, Mapping, Sequence

from mass_jax.adapt.run import Recipe
from mass_jax.errors import InputError, not_one_of, within
from mass_jax.fields import check
from mass_jax.tasks.base import Task

TAKEN = ("pretrain", "evaluation", "harness")
"""Folders of a run that are no arm's."""
BASELINES = ("base", "base_ttt", "ttt_nn", "tt_ss", "self_consistency", "best_of_n", "solver_grpo")
"""Rows that a meta-trained one is compared with."""
EVERY_OTHER = ("*",)
WRITES, DIRECT = Recipe("own", "scorer"), Recipe()
"""What a trained arm does that writes practice, and one that does not."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arm:
    """One row of the table.

    Attributes:
      name: letters, digits and underscores.
      model: whose model and scorer it uses: ``base``, or the name of a trained arm.
      recipe: what the model does before it answers.
      label: what a reader sees as its name; made of ``name`` where not given.
      meaning: what it is, in a few words.
      control: whether it differs from a method in one thing, to show that this thing matters.
      against: rows that its answers are compared with, problem by problem.

    Raises:
      InputError: the name cannot be one, or the base is to weigh by a scorer, which it has not.
    """

    name: str
    model: str
    recipe: Recipe = DIRECT
    label: str = ""
    meaning: str = ""
    control: bool = False
    against: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise InputError(f"an arm has the name {self.name!r}: give one of letters, digits and underscores.")
        if self.model == "base" and "scorer" in self.recipe.needs:
            raise InputError(
                f"the arm {self.name!r} is to weigh by {self.recipe.weights!r}, but the base has no scorer: give it "
                "other weights, such as 'uniform', or a model that is trained with a scorer."
            )
        if not self.label:
            object.__setattr__(self, "label", self.name.replace("_", " "))

    def possible(self, task: Task) -> bool:
        """Whether the domain has what the arm needs."""
        return self.recipe.possible(task)

    @property
    def needs_prompt_only(self) -> bool:
        """Whether it can answer a problem of which only the prompt is known."""
        return not self.recipe.needs & {"family", "others"}


_METHODS = (
    Arm(name="base", model="base", label="Base", meaning="no update"),
    Arm(
        name="base_ttt",
        model="base",
        recipe=Recipe("random"),
        label="Base TTT",
        meaning="test-time update on random training problems",
        against=("base",),
    ),
    Arm(
        name="ttt_nn",
        model="base",
        recipe=Recipe("nearest"),
        label="TTT-NN",
        meaning="test-time update on the nearest training problems",
        against=("base",),
    ),
    Arm(
        name="tt_ss",
        model="base",
        recipe=Recipe("own"),
        label="TT-SS",
        meaning="test-time update on the base's own practice problems, nothing meta-learned",
        against=("base",),
    ),
    Arm(
        name="tt_ss_majority",
        model="base",
        recipe=Recipe("own_majority"),
        label="TT-SS, majority",
        meaning="the same, with practice answers by majority vote",
    ),
    Arm(
        name="self_consistency",
        model="base",
        recipe=Recipe(votes="majority"),
        label="Self-consistency",
        meaning="the most frequent of sampled answers, as many tokens as practice takes",
        against=("base",),
    ),
    Arm(
        name="best_of_n",
        model="base",
        recipe=Recipe(votes="check"),
        label="Best of N",
        meaning="of as many samples the one that the model's own check likes best",
        against=("base",),
    ),
    Arm(
        name="solver_grpo",
        model="solver_grpo",
        label="Solver GRPO",
        meaning="reinforcement learning on solving, no update: same problems, as many tokens sampled",
    ),
    Arm(
        name="mass_gold",
        model="mass_gold",
        recipe=WRITES,
        label="MASS-gold",
        meaning="meta-trained with the reference solution's loss",
        against=BASELINES,
    ),
    Arm(
        name="mass",
        model="mass",
        recipe=WRITES,
        label="MASS",
        meaning="the whole method: practice of its own, weighed by its scorer, both meta-trained",
        against=EVERY_OTHER,
    ),
)
_CONTROLS = (
    Arm(
        name="mass_no_update",
        model="mass",
        label="MASS without update",
        meaning="the meta-trained weights answer directly",
        against=("base",),
    ),
    Arm(
        name="mass_uniform_weights",
        model="mass",
        recipe=Recipe("own", "uniform"),
        label="MASS, uniform weights",
        meaning="every practice example counts the same",
    ),
    Arm(
        name="mass_shuffled_weights",
        model="mass",
        recipe=Recipe("own", "shuffled"),
        label="MASS, shuffled weights",
        meaning="each problem's weights permuted among its practice examples",
    ),
    Arm(
        name="mass_other_problem",
        model="mass",
        recipe=Recipe("other_problem", "scorer"),
        label="MASS, other problem",
        meaning="practice written for another test problem",
    ),
    Arm(
        name="mass_read_off",
        model="mass",
        recipe=Recipe("own", "scorer", use="read_off"),
        label="MASS, read off",
        meaning="the answer that the heaviest practice example says, and no update",
    ),
    Arm(
        name="mass_read_off_right",
        model="mass",
        recipe=Recipe("own", "correct", use="read_off"),
        label="MASS, read off by a perfect scorer",
        meaning="the answer that a right practice example says, and no update",
    ),
    Arm(
        name="mass_strict",
        model="mass",
        recipe=Recipe("own", "scorer", strict=True),
        label="MASS, strict",
        meaning="no practice example contains the tested fact",
    ),
    Arm(
        name="ttt_shown",
        model="base",
        recipe=Recipe("shown"),
        label="TTT, shown examples",
        meaning="update on the problem's own examples, each asked after the others",
        against=("base",),
    ),
    Arm(
        name="oracle_gold_family",
        model="base",
        recipe=Recipe("gold"),
        label="Oracle",
        meaning="base updated on gold problems of the same family",
        against=("base",),
    ),
    Arm(
        name="oracle_strict",
        model="base",
        recipe=Recipe("gold_strict"),
        label="Oracle, strict",
        meaning="the same, without the tested fact",
        against=("base",),
    ),
    Arm(
        name="oracle_filter",
        model="base",
        recipe=Recipe("own", "correct"),
        label="Oracle filter",
        meaning="only those practice pairs that are right",
        against=("base",),
    ),
    Arm(
        name="mass_frozen_generator",
        model="mass_frozen_generator",
        recipe=WRITES,
        label="MASS, frozen generator",
        meaning="only the scorer is meta-trained",
    ),
    Arm(
        name="mass_shuffled_reward",
        model="mass_shuffled_reward",
        recipe=WRITES,
        label="MASS, shuffled reward",
        meaning="trained on attributions that are permuted within each set",
    ),
    Arm(
        name="mass_privileged_reward",
        model="mass_privileged_reward",
        recipe=WRITES,
        label="MASS, privileged reward",
        meaning="the generator is rewarded for practice that is right and on the topic",
    ),
    Arm(
        name="first_order",
        model="first_order",
        recipe=WRITES,
        label="First-order",
        meaning="first-order attributions in place of the exact ones",
    ),
    Arm(
        name="mass_in_prompt",
        model="mass",
        recipe=Recipe("own", use="prompt"),
        label="MASS, in the prompt",
        meaning="the same practice set is read before the problem, and no update",
    ),
)
ARMS: dict[str, Arm] = {arm.name: arm for arm in _METHODS} | {
    arm.name: dataclasses.replace(arm, control=True) for arm in _CONTROLS
}
"""The rows of every study, the methods first."""
REGISTERED: dict[tuple[str, str], Arm] = {}
"""The rows of others' modules, by module and name."""


def register(arm: Arm, module: str) -> Arm:
    """Adds a row to the table of every study whose ``config.plugins`` name the module; returns it.

    Args:
      arm: the row.
      module: ``__name__`` of the module that registers it.

    Raises:
      InputError: the name is taken, or a field has another type than it says.
    """
    check(Arm, arm)
    check(Recipe, arm.recipe)
    if arm.name in ARMS or arm.name in TAKEN or REGISTERED.setdefault((module, arm.name), arm) != arm:
        raise InputError(f"there is an arm {arm.name!r} already: give yours another name.")
    return arm


def declared(plugins: Sequence[str] = ()) -> dict[str, Arm]:
    """`ARMS`, and what the plugins have registered.

    Raises:
      InputError: two of them have registered a row of the same name.
    """
    own: dict[str, Arm] = {}
    for (module, name), arm in REGISTERED.items():
        if any(within(module, plugin) for plugin in plugins) and own.setdefault(name, arm) is not arm:
            raise InputError(f"plugins: {', '.join(plugins)} register two arms {name!r}: give one another name.")
    return ARMS | own


def table(trained: Mapping[str, bool], plugins: Sequence[str] = ()) -> dict[str, Arm]:
    """Every row: methods, a row for each trained arm that is not declared, and controls.

    Args:
      trained: the trained arms by name, and whether each writes practice: one that does is adapted on its own practice
        by its own scorer's weights, one that does not answers directly.
      plugins: modules whose rows are in the table too.

    Raises:
      InputError: a name of a trained arm is taken, or none; or a row of a plugin is of a model or compared with a row
        that is none.
    """
    known = declared(plugins)
    own = {}
    for name, writes in trained.items():
        if not name.isidentifier():
            raise InputError(f"config.arms has the name {name!r}: give one of letters, digits and underscores.")
        if name in ("base", *TAKEN) or (name in known and known[name].model != name):
            raise InputError(f"config.arms.{name}: the name is taken by something that is not trained; give another.")
        if name not in known:
            own[name] = Arm(name=name, model=name, recipe=WRITES if writes else DIRECT, against=BASELINES)
    methods = {name: arm for name, arm in known.items() if not arm.control}
    rows = methods | own | {name: arm for name, arm in known.items() if arm.control}
    models = [name for name, arm in rows.items() if arm.model == name]
    for arm in known.values():
        for field, names, valid in (("model", (arm.model,), models), ("against", arm.against, [*rows, *EVERY_OTHER])):
            if wrong := [name for name in names if name not in valid]:
                raise InputError(f"the arm {arm.name!r}: {field} = {wrong[0]!r} {not_one_of(valid, wrong[0])}")
    return rows


def pairs(rows: Mapping[str, Arm], measured: Collection[str]) -> list[tuple[str, str]]:
    """The pairs of measured rows that are compared; first those of the rows that are compared with most."""
    others = {name: tuple(measured) if arm.against == EVERY_OTHER else arm.against for name, arm in rows.items()}
    first = sorted(rows, key=lambda name: -len(others[name]))
    found = [(name, other) for name in first for other in others[name] if other != name]
    return [(a, b) for a, b in found if a in measured and b in measured]
