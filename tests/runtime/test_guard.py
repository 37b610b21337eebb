"""The guard names step, phase and leaf."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mass_jax.runtime import array_tree
from mass_jax.runtime.guard import NonFiniteError, check_finite


@pytest.fixture(params=["host", "devices"], autouse=True)
def where(request, monkeypatch):
    """On a CPU the host looks; elsewhere, and here for the test, the devices do."""
    if request.param == "devices":
        monkeypatch.setattr(array_tree, "in_host_memory", lambda leaf: False)
    return request.param


def trees():
    return {"w": jnp.ones((2, 3)), "layers": [{"b": jnp.zeros(4, jnp.bfloat16)}, {"b": np.zeros(2)}]}


def test_finite_trees_pass():
    check_finite(0, "adapt", params=trees(), key=jax.random.key(0), count=jnp.array(3), loss=0.5, nothing=None)
    check_finite(0, "adapt", tokens=jnp.arange(3))


@pytest.mark.parametrize(("value", "words"), [(np.nan, "1 NaN and 0 infinite"), (-np.inf, "0 NaN and 1 infinite")])
def test_the_first_bad_leaf_is_named(value, words):
    bad = trees()
    bad["layers"][0]["b"] = bad["layers"][0]["b"].at[2].set(value)
    bad["w"] = bad["w"].at[0, 0].set(value)
    with pytest.raises(NonFiniteError) as e:
        check_finite(12, "pullback", loss=jnp.zeros(()), gradient=bad)
    message = str(e.value)
    for part in ("Step 12", "'pullback'", "gradient['layers'][0]['b']", "bfloat16[4]", words, "of 4 values", "2 of 4"):
        assert part in message, message
    assert isinstance(e.value, FloatingPointError)


def test_python_and_numpy_leaves_are_seen():
    with pytest.raises(NonFiniteError, match="loss"):
        check_finite(0, "solve", loss=float("nan"))
    with pytest.raises(NonFiniteError, match=r"x\['a'\]"):
        check_finite(0, "solve", x={"a": np.array([1, np.inf])})


def test_one_compilation_for_many_steps(where):
    from mass_jax.runtime import guard

    guard._finite.clear_cache()
    for step in range(5):
        check_finite(step, f"phase {step}", a=jnp.full(3, float(step)), b=jnp.ones(2))
    assert guard._finite._cache_size() == (where == "devices")
