"""The compilation cache is filled by one process and used by the next."""

import logging
import subprocess
import sys
from pathlib import Path

from mass_jax.training.compilation import enable_compilation_cache

PROGRAM = """
import sys, jax, jax.numpy as jnp
from mass_jax.training.compilation import enable_compilation_cache
hits = []
jax.monitoring.register_event_listener(lambda name, **_: hits.append(name) if name.endswith("cache_hits") else None)
jax.block_until_ready(jnp.ones(2) + 1)  # a compilation before the cache is on must not turn it off for good
on = enable_compilation_cache(sys.argv[1])

@jax.jit
def slow(x):
    for _ in range(400):  # enough to compile for longer than what is not worth keeping, on any machine
        x = jnp.sin(x @ x) + jnp.linalg.norm(x)
    return x

print(on, len(hits), float(slow(jnp.ones((8, 8))).sum()), len(hits) > 0)
"""


def run(directory):
    env = {"PYTHONPATH": str(Path(__file__).parents[2]), "JAX_PLATFORMS": "cpu"}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(directory)], env=env, capture_output=True, text=True, check=True
    )


def test_the_second_process_finds_the_programs_of_the_first(tmp_path):
    first, second = run(tmp_path / "cache"), run(tmp_path / "cache")
    on, hits, value, hit = first.stdout.split()
    assert (on, hits, hit) == ("True", "0", "False")
    assert second.stdout.split() == ["True", "0", value, "True"]


def test_an_unwritable_cache_is_only_a_warning(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING, "absl"):
        assert not enable_compilation_cache(tmp_path / "file" / "cache")
    assert "file/cache' cannot be written" in caplog.text
