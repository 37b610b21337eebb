"""Every config loads, is locked, and describes arms that can be built; a wrong one is refused in a sentence."""

import ast
import importlib
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import ablations
from mass_jax.errors import InputError
from mass_jax.models.pretrained import folder, known
from mass_jax.planning import lower
from mass_jax.runtime.workdir import WorkdirError, open_workdir
from mass_jax.study import data, setup
from mass_jax.study.arms import ARMS
from mass_jax.study.config import arm_config, read
from mass_jax.study.schema import Config, validate
from mass_jax.study.study import open_study
from mass_jax.tasks.base import Domain
from mass_jax.tasks.domain import Splits
from mass_jax.tasks.mathematics import prompts
from mass_jax.tasks.mathematics.grading import Grader
from mass_jax.tasks.mathematics.task import MathematicsTask
from tests.models.pretrained import byte_model
from tests.models.pretrained.test_bpe import installed
from tests.studies import NAMES
from tests.tasks.mathematics import miniature

ROOT = Path(__file__).resolve().parents[1]
STUDIES = [*NAMES, *(f"ablations:{group}" for group in ablations.ARMS)]


def get_config(name: str) -> ConfigDict:
    module, colon, argument = name.partition(":")
    return importlib.import_module(f"configs.{module}").get_config(*[argument] * bool(colon)).lock()


def make_domain(config: Config) -> Domain:
    """The config's domain; with single bytes as tokens where its model is on a hub."""
    source = getattr(config.model, "source", "")
    if source.startswith("package:"):
        installed(source.removeprefix("package:"))
    if source in known.ARCHITECTURES:
        return Domain(MathematicsTask(prompts.load(config.task.dataset), Grader()), byte_model.make_tokenizer())
    return setup.make_domain(config)


@pytest.mark.parametrize("name", STUDIES)
def test_every_arm_of_every_config_can_be_built(name: str):
    config = read(get_config(name))
    domain = make_domain(config)
    methods = {"": setup.make_method(config, domain)}
    for arm in config.arms:
        merged = arm_config(config, arm)
        outer = setup.make_outer(merged.train)
        methods[arm] = setup.make_method(merged, domain)
        for group, overrides in config.arms[arm].items():
            for field, value in overrides.items():
                assert getattr(getattr(merged, group), field) == value, f"{arm} does not get its {group}.{field}"
        assert hash((methods[arm], outer)), "both are static arguments"
    # What the table compares is what the config trains.
    used = {arm.model for arm in ARMS.values()} - {"base"}
    assert used >= set(config.arms) or name.startswith("ablations"), "whose arms have rows of their own"
    assert "self_consistency" not in config.evaluate.skip, "the baseline at as many tokens as practice takes"
    longest = max(config.lengths.short_document, config.lengths.long_document)
    assert longest - 1 <= config.model.context


@pytest.mark.parametrize("name", ["qwen25_1p5b", "llama31_8b"])
@pytest.mark.parametrize("arm", ["mass_gold", "mass", "solver_grpo"])
def test_the_large_models_lower_without_weights(name: str, arm: str):
    merged = arm_config(read(get_config(name)), arm)
    domain = make_domain(merged)
    method = setup.make_method(merged, domain)
    outer = setup.make_outer(merged.train)
    base = folder.shapes_of(method.model)
    size = sum(leaf.size for leaf in jax.tree.leaves(base))
    assert size == {"qwen25_1p5b": 1_543_714_304, "llama31_8b": 8_030_261_248}[name]
    documents = lower.sequences(merged.train.replay_batch, merged.lengths.long_document)
    checks = len(domain.task.check_names)
    programs = lower.lower(method, outer, base, checks, merged.train.problems, documents)
    assert {program.name.partition("/")[0] for program in programs} >= {"generator"}
    for program in programs:
        lowered = program.lower()
        assert all(np.isfinite(leaf.size) for leaf in jax.tree.leaves(lowered.out_info))


def test_a_config_is_written_out_or_changes_one_that_is():
    taken: dict[str, list[str]] = {}
    for name in NAMES:
        tree = ast.walk(ast.parse((ROOT / f"configs/{name}.py").read_text(encoding="utf-8")))
        imports = [node for node in tree if isinstance(node, ast.ImportFrom | ast.Import)]
        named = {f"{getattr(node, 'module', '')}.{alias.name}" for node in imports for alias in node.names}
        taken[name] = sorted(other for other in NAMES if any(other in each.split(".") for each in named))
    deep = {name: others for name, others in taken.items() if len(others) > 1 or any(taken[o] for o in others)}
    assert not deep, "what a run does is read in one file, or in a file and the one that it changes"
    assert taken["smollm2_135m_gpu"] == ["smollm2_135m"]


@pytest.mark.parametrize("name", NAMES)
def test_configs_are_locked_and_fresh(name: str):
    config = get_config(name)
    with pytest.raises(AttributeError):
        config.train.nonsense = 1
    config.seed = 5
    assert get_config(name).seed != 5


def test_an_unknown_arm_or_override_is_a_sentence():
    config = get_config("smoke")
    with pytest.raises(InputError, match=r"no arm 'mas' in config.arms: choose from first_order, mass, mass_gold, sol"):
        arm_config(read(config), "mas")
    with config.unlocked():
        config.arms.mass = {"train": {"nonsense": 1}}
    with pytest.raises(InputError, match="config.arms.mass overrides a field that does not exist: .*nonsense"):
        read(config)


@pytest.mark.parametrize(
    ("group", "field", "value", "words"),
    [
        ("inner", "steps", 3, "cannot be split evenly over inner.steps = 3"),
        ("inner", "optimizer", "lion", "inner.optimizer = 'lion' is not one of sgd"),
        ("scorer", "kind", "x", "scorer.kind = 'x' is not one of uniform"),
        ("model", "context", 20, "the longest sequence of 24 tokens exceeds model.context = 20"),
        ("metagrad", "name", "x", "metagrad.name = 'x' is not one of adjoint"),
        ("metagrad", "name", "evolution", "'evolution' only compares outer losses.*choose one that takes .*adjoint"),
        ("metagrad", "options", "windw=1", "estimator 'adjoint' has no option windw; its options are init_grad"),
        ("metagrad", "options", "window", "metagrad.options = 'window' cannot be read: write Python keywords"),
        ("metagrad", "options", "window=f(1)", "cannot be read"),
        ("metagrad", "options", "trajectory='disk'", "trajectory = 'disk' is unknown; use one of gradients, states"),
        ("train", "parts", 3, "train.problems = 4 is not a multiple of train.parts = 3"),
        ("train", "microbatches", 3, r"train.problems / train.parts = 4 is not a multiple of train.micro"),
        ("train", "replay_batch", 3, "train.replay_batch = 3 is not a multiple of train.microbatches = 2"),
        ("task", "test_families", 0, "task.test_families = 0: give 2 or more"),
    ],
)
def test_a_contradictory_config_is_a_sentence(tmp_path: Path, group: str, field: str, value: object, words: str):
    config = get_config("smoke")
    config.train.microbatches = 2
    config[group][field] = value
    with pytest.raises(InputError, match=words), open_study(read(config), tmp_path / "run"):
        pass
    assert not (tmp_path / "run").exists(), "nothing is written before all is checked"


def test_texts_that_do_not_fit_their_lengths_are_a_sentence(tmp_path: Path):
    config = get_config("smoke")
    config.task.data_dir, config.lengths.prompt = str(tmp_path / "tfds"), 4
    with (
        pytest.raises(InputError, match=r"lengths.prompt = 4, but the longest prompt takes 10 tokens: give 10 or more"),
        open_study(read(config), tmp_path / "run"),
    ):
        pass


def test_problems_that_do_not_fit_are_left_out_and_none_is_a_sentence(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    config = get_config("gsm8k_smollm2")
    for split, first, count in (("train", 3, 8), ("test", 0, 3)):  # the larger a number, the longer its solution
        records = miniature.gsm8k_records(first, count)
        miniature.write(tmp_path / f"data/{split}.jsonl", miniature.lines(records))
    config.task.source = str(tmp_path / "data")
    config.task.data_dir = str(tmp_path / "tfds")
    config.task.validation_problems = 2
    config.task.train_problems = 3
    domain = Domain(MathematicsTask(prompts.load("gsm8k"), Grader()), byte_model.make_tokenizer())

    def splits(solution: int) -> Splits:
        config.lengths.solution = solution
        lengths = SimpleNamespace(lengths=config.lengths)
        return data.make_splits(validate(config.to_dict()), domain, lengths)  # type: ignore[arg-type]

    config.lengths.prompt = config.lengths.long_document = 4096
    every = splits(4096)
    assert [len(split) for split in every] == [0, 3, 2, 3] and not caplog.messages
    config.task.train_problems = 0
    every = splits(4096)
    longest = max(len(problem.solution) for problem in every.train)
    assert min(len(problem.solution) for problem in every.train) < longest
    fewer = splits(longest)  # one byte less than the longest and its end need
    assert all(problem in every.train and len(problem.solution) < longest for problem in fewer.train)
    assert 0 < len(fewer.train) < len(every.train)
    assert f"train: {len(every.train) - len(fewer.train)} of {len(every.train)} problems exceed" in caplog.text
    config.lengths.long_document = 20
    with pytest.raises(ValueError, match=r"none of the 6 .* training problems, lengths.long_document = 20"):
        splits(4096)
    with pytest.raises(ValueError, match="none of the 6 problems of gsm8k's train split fits .* lengths.solution = 3"):
        splits(3)


def test_the_workdir_of_another_config_is_refused(tmp_path: Path):
    config = get_config("smoke")
    open_workdir(tmp_path / "run", config)
    config.train.steps += 1
    with (
        pytest.raises(WorkdirError, match=r"train.steps: 3 \(there\), 4 \(now\)"),
        open_study(read(config), tmp_path / "run"),
    ):
        pass
