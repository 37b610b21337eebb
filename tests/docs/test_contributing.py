"""What CONTRIBUTING.md shows is run: its Python, its table; its commands as far as they write nothing."""

import re
import shlex
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from mass_jax import metagrad
from mass_jax.reporting import pages
from mass_jax.types import InnerProblem

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
COMMANDS = [line.partition(" #")[0].strip() for kind, block in BLOCKS if kind == "bash" for line in block.splitlines()]


@pytest.fixture
def registry() -> Iterator[None]:
    """Leaves it as it was."""
    before = dict(metagrad.ESTIMATORS)
    yield
    metagrad.ESTIMATORS.clear()
    metagrad.ESTIMATORS.update(before)


def test_blocks_are_of_kinds_that_are_tested():
    assert {kind for kind, _ in BLOCKS} == {"bash", "python"}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_has_its_target(command: str):
    program, *words = shlex.split(command)
    assert program == "make", "say here how it is tested"
    done = subprocess.run(["make", "--dry-run", *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_estimator_is_one(registry: None):
    (source,) = [block for kind, block in BLOCKS if kind == "python"]
    exec(compile(source, "CONTRIBUTING.md", "exec"), {"__name__": "contributed"})
    problem = InnerProblem(
        lambda params, meta, batch: jnp.mean(meta["weight"] * (params["w"] - batch) ** 4), metagrad.optimizers.sgd(0.1)
    )
    start, meta, batches = {"w": jnp.array([0.5, -1.0])}, {"weight": jnp.array(0.7)}, jnp.array([[1.0], [0.3], [-0.2]])
    for init_grad in (False, True):
        found, expected = (
            jax.jit(
                metagrad.make(name, init_grad=init_grad).value_and_grad(
                    problem, lambda params: jnp.sum(params["w"] ** 2)
                )
            )(start, meta, batches)
            for name in ("plain", "adjoint")
        )
        assert jax.tree.structure(found) == jax.tree.structure(expected)
        for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            assert jnp.allclose(one, other, rtol=1e-5)
        assert abs(found[1].meta["weight"]) > 0.01
    run = metagrad.make("plain").adapt(problem, start, meta, batches)
    again = metagrad.make("plain").pullback(problem, run.residuals, meta, batches, {"w": 2 * run.params["w"]})
    assert jnp.allclose(again.meta["weight"], found[1].meta["weight"], rtol=1e-5)


def test_the_table_is_rendered():
    (shown,) = re.findall(r"^(?:    <!--.*\n)+", TEXT, re.MULTILINE)
    rendered = pages.rendered(textwrap.dedent(shown), ROOT / pages.DATA)
    assert "| Estimator | Cosine |" in rendered


def test_the_test_of_one_file_is_there():
    (path,) = re.findall(r"-m pytest (\S+)`", TEXT)
    assert (ROOT / path).is_file()
