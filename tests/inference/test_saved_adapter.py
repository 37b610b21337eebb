"""What `--save-adapter` writes, read back by PEFT: the adapted logits, which are not the base's."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mass_jax.inference import command_line
from mass_jax.models.pretrained import folder, peft_format
from mass_jax.tasks.base import Practice
from mass_jax.tasks.mathematics.task import MathematicsTask
from mass_jax.types import PyTree
from tests.models.pretrained import byte_model
from tests.models.pretrained.conftest import our_logits, their_logits, tokens

PROMPTS = Path(__file__).with_name("own_prompts.md")
IDS = tokens(vocabulary=258, length=40)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model and, beside it, the adapter of one problem."""
    path = tmp_path_factory.mktemp("saved")
    byte_model.write(path / "model", context=1024)
    words = ["--model", path / "model", "--prompts", PROMPTS, "--save-adapter", path / "adapter", "--quiet", "1 + 4"]
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        # Of random weights no practice is well formed.
        patch.setattr(MathematicsTask, "parse", lambda *_: Practice("2 + 3", "\\boxed{5}", True))
        patch.setattr(command_line, "enable_compilation_cache", lambda: None)
        command_line.run(list(map(str, words)))
    assert ended.value.code == 0
    return path


def double_logits(path: Path, adapter: PyTree = None) -> np.ndarray:
    config = folder.read_config(path)
    with jax.enable_x64(True):
        params = folder.read(path, config)
        wide = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), (params, adapter))
        return our_logits(config, wide[0], IDS, wide[1])


def test_peft_has_the_adapted_logits(saved: Path):
    peft, transformers = pytest.importorskip("peft"), pytest.importorskip("transformers")
    base: Any = transformers.AutoModelForCausalLM.from_pretrained(saved / "model").eval()
    theirs = peft.PeftModel.from_pretrained(base, saved / "adapter").eval().double()
    adapter = peft_format.load(saved / "adapter", folder.read_config(saved / "model"))
    ours, before = double_logits(saved / "model", adapter), double_logits(saved / "model")
    assert np.abs(ours - before).max() > 1e-3
    assert np.abs(ours - their_logits(theirs, IDS)).max() < 1e-5 * max(1, np.abs(ours).max())


def test_it_says_of_which_model_it_is(saved: Path):
    named = peft_format.read_json(saved / "adapter" / "adapter_config.json")
    assert named["base_model_name_or_path"] == str(saved / "model")
    assert sorted(named["target_modules"]) == ["q_proj", "v_proj"]
