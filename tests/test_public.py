"""What a user imports from the package, and what importing a part of it does not bring."""

import subprocess
import sys

import pytest

import mass_jax

HEAVY = {"tensorflow_datasets", "sympy", "math_verify", "orbax", "grain", "matplotlib", "pydantic", "ml_collections"}


@pytest.mark.parametrize("name", mass_jax.__all__)
def test_every_public_name_is_there_and_documented(name: str):
    assert getattr(mass_jax, name).__doc__ and f"\n    {name} " in mass_jax.__doc__
    assert name in dir(mass_jax)


def test_an_unknown_name_is_no_attribute():
    with pytest.raises(AttributeError, match="'mass_jax' has no attribute 'lod'"):
        mass_jax.lod  # noqa: B018


def test_the_meta_gradient_alone_is_light():
    program = f"import sys, mass_jax, mass_jax.metagrad\nprint(sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
