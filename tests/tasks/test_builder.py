"""The data on disk: disjoint families, no leak, one content for one configuration, nothing half-written."""

import pytest

from mass_jax.tasks import procedural
from mass_jax.tasks.arithmetic import documents, rules
from mass_jax.tasks.arithmetic.builder import ArithmeticConfig, MassArithmetic
from mass_jax.tasks.arithmetic.rules import make_rules
from mass_jax.tasks.procedural import HELD_OUT, draw_splits, load
from tests.tasks.helpers import SMALL, small_config, small_splits

SPLITS = ArithmeticConfig.splits
TINY = dict(pretrain_problems=60, train_problems=15, validation_problems=5, test_problems=12)


def tiny_config(**changes):
    return small_config(**TINY | changes)


def test_families_are_disjoint_and_pretraining_has_them_all():
    families = {split: {problem.family for problem in small_splits()[split]} for split in SPLITS}
    assert [len(families[split]) for split in SPLITS] == [30, 19, 5, 6]
    assert len(families["train"] | families["validation"] | families["test"]) == 30
    for split in SPLITS:
        assert families[split] == set(small_config().families(split))


def test_no_prompt_of_a_held_out_split_occurs_elsewhere():
    prompts = {split: [documents.canonical(p.prompt) for p in small_splits()[split]] for split in SPLITS}
    assert {split: len(prompts[split]) for split in SPLITS} == {split: SMALL[f"{split}_problems"] for split in SPLITS}
    for split in HELD_OUT:
        assert len(set(prompts[split])) == len(prompts[split])
        for other in SPLITS:
            assert other == split or not set(prompts[split]) & set(prompts[other])


def test_without_giving_way_some_prompts_would_leak(monkeypatch):
    monkeypatch.setattr(procedural, "HELD_OUT", ())
    prompts = {
        s: {documents.canonical(p.prompt) for p in problems} for s, problems in draw_splits(small_config()).items()
    }
    assert prompts["test"] & prompts["pretrain"]


def test_problems_belong_to_their_families():
    rules = make_rules(30, 0)
    for problems in small_splits().values():
        for problem in problems:
            rule = rules[problem.family]
            assert all(pair in rule.pairs for pair in problem.facts)
            assert problem.solution.startswith(rule.name)


def test_the_first_problems_of_a_split_are_spread_over_its_families():
    assert len({problem.family for problem in small_splits()["test"][:6]}) == 6


def test_the_seed_decides_everything():
    assert draw_splits(tiny_config()) == draw_splits(tiny_config())
    first, *others = (draw_splits(tiny_config(**change))["test"] for change in ({}, {"seed": 1}, {"rules_seed": 1}))
    assert first not in others
    assert [p.family for p in first] == [p.family for p in others[0]]


def test_a_round_trip_through_the_files(tmp_path, capfd):
    config, drawn = tiny_config(), draw_splits(tiny_config())
    for split in SPLITS:
        assert load(config, split, tmp_path) == tuple(drawn[split])
    files = sorted(path.name for path in (tmp_path / "mass_arithmetic" / config.name / "1.0.0").iterdir())
    assert [name.partition(".")[2][:12] for name in files if name.startswith("mass_")] == ["array_record"] * 4
    assert "Using custom data configuration" not in capfd.readouterr().err


def test_files_are_written_once(tmp_path, monkeypatch):
    expected = load(tiny_config(), "test", tmp_path)
    monkeypatch.setattr(procedural, "draw_splits", None)  # calling it would raise
    assert load(tiny_config(), "test", tmp_path) == expected


def test_the_stored_rule_is_the_familys(tmp_path):
    load(tiny_config(), "test", tmp_path)
    source = MassArithmetic(config=tiny_config(), data_dir=tmp_path).as_data_source(split="test")
    rules = make_rules(30, 0)
    assert [row["rule"].decode() for row in source] == [rules[int(row["family"])].name for row in source]


def test_two_configurations_never_share_a_name():
    changes = [{name: value + 1} for name, value in SMALL.items()] + [{"seed": 1}, {"rules_seed": 1}, {}]
    assert len({small_config(**change).name for change in changes}) == len(changes)
    assert tiny_config().name == tiny_config().name


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [(documents, "GIVEN", (3, 4)), (rules, "ANSWER", " equals"), (documents, "MODULUS", 10)],
)
def test_other_texts_have_another_name(module, name, value, monkeypatch):
    before = small_config().name
    monkeypatch.setattr(module, name, value)
    assert small_config().name != before


def test_a_faster_process_wins_and_nothing_is_lost(tmp_path, monkeypatch):
    real = draw_splits

    def while_another_process_finishes(config):
        monkeypatch.setattr(procedural, "draw_splits", real)
        load(config, "test", tmp_path)
        return real(config)

    monkeypatch.setattr(procedural, "draw_splits", while_another_process_finishes)
    assert load(tiny_config(), "train", tmp_path) == tuple(real(tiny_config())["train"])
    folder = tmp_path / "mass_arithmetic" / tiny_config().name
    assert [path.name for path in folder.iterdir()] == ["1.0.0"]


def test_a_killed_writer_leaves_nothing_that_is_read(tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    def broken(self, problems, rules):
        yield from list(real(self, problems, rules))[:3]
        raise Killed

    real = MassArithmetic._generate_examples
    monkeypatch.setattr(MassArithmetic, "_generate_examples", broken)
    with pytest.raises(Killed):
        load(tiny_config(), "test", tmp_path)
    monkeypatch.undo()
    # What a process leaves behind that had no time to clean up.
    leftover = tmp_path / "mass_arithmetic" / tiny_config().name / "incomplete.ABCDEF_1.0.0"
    leftover.mkdir(parents=True)
    (leftover / "mass_arithmetic-test.array_record-00000-of-00001").write_bytes(b"half")
    assert load(tiny_config(), "test", tmp_path) == tuple(draw_splits(tiny_config())["test"])


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ValueError, match=r"cannot be written to '.*file/.*' \(.*\): set task.data_dir to a folder"):
        load(tiny_config(), "test", tmp_path / "file")


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("value", [0, -3])
def test_an_empty_split_is_refused(name, value):
    with pytest.raises(ValueError, match=rf"task\.{name} = {value}: .*give a positive number"):
        small_config(**{name: value})


@pytest.mark.parametrize("rules", [11, 5])
def test_no_family_for_training_is_refused(rules):
    with pytest.raises(ValueError, match=rf"task\.rules = {rules}: validation \(5\) and test \(6\) leave no family"):
        small_config(rules=rules)


def test_more_rules_than_there_are_are_refused():
    with pytest.raises(ValueError, match=r"task\.rules = 2000: there are 1 to 1320"):
        small_config(rules=2000)


def test_more_held_out_problems_than_the_families_have_are_refused():
    with pytest.raises(ValueError, match=r"task\.test_problems = 1201: task\.test_families = 6 give at most 1200"):
        small_config(test_problems=1201)


def test_the_most_held_out_problems_can_be_drawn():
    config = small_config(rules=3, validation_families=1, test_families=1, test_problems=200)
    assert len({documents.canonical(problem.prompt) for problem in draw_splits(config)["test"]}) == 200


def test_an_unknown_split_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no split 'dev': choose one of pretrain, train, validation, test"):
        load(tiny_config(), "dev", tmp_path)
