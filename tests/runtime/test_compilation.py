"""The compilation cache is filled by one process and used by the next."""

import logging
import os
import resource
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

from mass_jax.runtime.compilation import enable_compilation_cache, seconds_compiling
from tests import programs


def run(cache: Path) -> subprocess.CompletedProcess:
    env = {"PYTHONPATH": str(programs.ROOT), "JAX_PLATFORMS": "cpu", "XDG_CACHE_HOME": str(cache)}
    command = programs.command("runtime.program_compiles")
    return subprocess.run(command, env=env, capture_output=True, text=True, check=True)


def test_the_second_process_finds_the_programs_of_the_first(tmp_path: Path):
    first, second = run(tmp_path), run(tmp_path)
    on, hits, value, hit = first.stdout.split()
    assert (on, hits, hit) == ("True", "0", "False")
    assert second.stdout.split() == ["True", "0", value, "True"]
    made = tmp_path / "mass_jax" / "compiled"
    assert stat.S_IMODE(made.stat().st_mode) == 0o700, "native code, for nobody else to write"


def test_the_seconds_in_which_programs_are_made_are_known_meanwhile():
    meanwhile = [seconds_compiling()]

    @jax.jit
    def program(x):
        time.sleep(0.05)
        meanwhile.append(seconds_compiling())
        return jax.jit(lambda y: y + 1)(x)

    program(1.0)
    after = seconds_compiling()
    assert meanwhile[0] + 0.05 <= meanwhile[1] < after
    time.sleep(0.01)
    program(2.0)
    assert seconds_compiling() == after


def test_a_cache_that_cannot_grow_is_no_news(tmp_path: Path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))  # of no file, what is printed goes through pipes
    try:
        done = run(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert done.stdout.startswith("True 0 ") and done.stderr == ""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the cache is, in a user's own cache."""
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "mass_jax" / "compiled"


@pytest.fixture(autouse=True)
def settings() -> Iterator[None]:
    names = ("compilation_cache_dir", "persistent_cache_min_compile_time_secs", "persistent_cache_min_entry_size_bytes")
    before = {f"jax_{name}": getattr(jax.config, f"jax_{name}") for name in names}
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def test_an_unwritable_cache_is_only_a_warning(home: Path, caplog: pytest.LogCaptureFixture):
    home.parent.write_text("")
    with caplog.at_level(logging.WARNING, "absl"):
        assert not enable_compilation_cache()
    assert f"'{home}'" in caplog.text and "JAX_COMPILATION_CACHE_DIR" in caplog.text


def test_what_others_could_have_put_there_is_not_run(
    home: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    home.mkdir(parents=True)
    home.chmod(0o777)
    with caplog.at_level(logging.WARNING, "absl"):
        assert not enable_compilation_cache()
        home.chmod(0o700)
        assert enable_compilation_cache()
        monkeypatch.setattr(os, "getuid", lambda: home.stat().st_uid + 1)
        assert not enable_compilation_cache()
    assert caplog.text.count("it is another user's, or others may write there") == 2


def test_who_names_a_directory_gets_it(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "named"))
    assert enable_compilation_cache()
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "named") and not home.exists()
