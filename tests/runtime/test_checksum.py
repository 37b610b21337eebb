"""The checksum of an array is the same wherever it lies, and another for any other array."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mass_jax.runtime import array_tree
from mass_jax.runtime import checksum as module
from mass_jax.runtime.checksum import checksums


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8", "bool", "uint32", "float64"])
def test_host_and_device_agree_and_every_bit_counts(dtype, monkeypatch):
    rng = np.random.default_rng(0)
    host = np.round(rng.normal(size=(3, 5)) * 2).astype(jnp.dtype(dtype))
    with jax.enable_x64(dtype == "float64"):
        on_device = jnp.asarray(host)
        (value,) = {*checksums({"host": host, "device": on_device}).values()}
        with monkeypatch.context() as patch:
            patch.setattr(array_tree, "in_host_memory", lambda leaf: not isinstance(leaf, jax.Array))
            assert checksums({"x": on_device}) == {"x": value}
            patch.setattr(module, "_BLOCK", 4)
            assert checksums({"x": host}) == {"x": value}
    assert 0 < value < 2**32
    for place in range(host.nbytes):
        bits = bytearray(host.tobytes())
        bits[place] ^= 1
        assert checksums({"x": np.frombuffer(bits, host.dtype).reshape(host.shape)})["x"] != value
    assert checksums({"x": host[::-1].copy()})["x"] != value


def test_shapes_without_axes_or_elements(monkeypatch):
    monkeypatch.setattr(array_tree, "in_host_memory", lambda leaf: not isinstance(leaf, jax.Array))
    found = checksums({"host": np.float32(3), "device": jnp.float32(3), "none": np.zeros((0, 2)), "zero": np.zeros(2)})
    assert found["host"] == found["device"] > 0 and found["none"] == found["zero"] == 0
