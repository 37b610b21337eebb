"""A study that trains an outer adapter: what its checkpoints hold, whose they are, and what others read of it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

import mass_jax
from mass_jax.errors import InputError
from mass_jax.mass.state import Trained
from mass_jax.models import lora
from mass_jax.models.pretrained import folder
from mass_jax.runtime.checkpoint import Checkpointer
from mass_jax.study import export
from mass_jax.study.config import read
from mass_jax.study.load import read_config
from mass_jax.study.study import load_arm, open_study, train_arm
from tests.models.pretrained import byte_model
from tests.models.pretrained.conftest import our_logits, their_logits, tokens
from tests.study.test_study import config, data, enter, model  # noqa: F401 (fixtures)

IDS = tokens(vocabulary=258, length=30)
MODULES = ("down_proj", "q_proj")


def double_logits(path: Path, state: Trained) -> np.ndarray:
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), state.params)
        return our_logits(folder.read_config(path), wide, IDS, None)


def test_a_study_of_an_adapter(
    config: ConfigDict,  # noqa: F811
    model: Path,  # noqa: F811
    tmp_path: Path,
    enter: Callable[..., Any],  # noqa: F811
):
    source = Path(shutil.copytree(model, tmp_path / "model"))
    with config.unlocked():
        config.model.source = str(source)
        config.train.steps, config.train.lora_rank, config.train.lora_targets = 1, 3, "|".join(MODULES)
        config.train.generator_rate, config.arms = 2.0, {"mass_gold": {}}
    study = enter(open_study(read(config), tmp_path / "run"))
    state = train_arm(study, "mass_gold")
    base, adapter = lora.detach(state.params)
    assert all(a is b for a, b in zip(*map(jax.tree.leaves, (base, study.base)), strict=True)), "kept once"
    assert adapter is not None and all(leaf["b"].any() for leaf in adapter.values())

    # The checkpoint holds the adapter and its optimiser's average, and nothing of the base.
    places = study.workdir / "mass_gold/checkpoints"
    layout = json.loads((places / "1/manifest/metadata").read_text())["layout"]
    held = {name for name in layout if name.startswith("params/")}
    assert held == {f"params/{module}/{key}" for module in MODULES for key in "ab"}
    sizes = {name: shape for name, (shape, _) in layout.items()}
    assert sizes["params/q_proj/a"] == [2, 16, 3] and not any("embed" in name or "kernel" in name for name in layout)
    with Checkpointer(places) as checkpointer:
        assert checkpointer.read_extra(1)["base"]
    for again in (load_arm(study, "mass_gold"), mass_jax.load(study.workdir, "mass_gold").actor):
        jax.tree.map(np.testing.assert_array_equal, again.params, state.params)

    # What is written is what was trained: by itself on the base, and merged.
    peft, transformers = pytest.importorskip("peft"), pytest.importorskip("transformers")
    ours, before = double_logits(source, state), double_logits(source, state._replace(params=study.base))
    assert np.abs(ours - before).max() > 1e-2
    actor = mass_jax.load(study.workdir, "mass_gold").actor
    export.write_adapter(tmp_path / "adapter", read_config(study.workdir), actor)
    export.write_merged(tmp_path / "merged", read_config(study.workdir), actor)
    opened = transformers.AutoModelForCausalLM.from_pretrained
    on_base = peft.PeftModel.from_pretrained(opened(source).eval(), tmp_path / "adapter").eval()
    for theirs in (on_base, opened(tmp_path / "merged").eval()):
        assert np.abs(ours - their_logits(theirs.double(), IDS)).max() < 1e-5 * max(1, np.abs(ours).max())
    assert (tmp_path / "merged/tokenizer.json").read_bytes() == (source / "tokenizer.json").read_bytes()
    with pytest.raises(InputError, match="this model has no outer adapter, for all of its parameters were trained"):
        export.write_adapter(tmp_path / "none", read_config(study.workdir), actor.replace(params=study.base))

    # On other weights, which their source does not tell, it is none: neither loaded nor trained on.
    byte_model.write(source, seed=1)
    with pytest.raises(InputError, match="hold an adapter of another base: that one's weights have the fingerprint"):
        mass_jax.load(study.workdir, "mass_gold")
    other = study._replace(base=folder.read(source, study.method.model))
    with pytest.raises(InputError, match="or give another --workdir to train anew"):
        train_arm(other, "mass_gold")
