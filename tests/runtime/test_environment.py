"""What a run was made with is the truth, also where it is not known."""

import subprocess
from pathlib import Path

import jax
import pytest

from mass_jax.runtime import environment


def test_describe():
    found = environment.describe()
    assert found["packages"]["jax"] == jax.__version__ and found["packages"]["numpy"]
    device = jax.devices()[0]
    assert found["devices"] == {
        "platform": device.platform, "kind": device.device_kind, "count": jax.device_count(), "processes": 1
    }  # fmt: skip
    assert found["date"].endswith("+00:00") and found["cpu"]["cores"] >= 1


def test_the_commit_is_of_the_code_itself(tmp_path: Path):
    def git(*words: str) -> str:
        command = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    version = environment.commit(package)
    assert version[0].startswith("mass_jax ") and version[1] is None, "no repository"
    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "somebody else's")
    assert environment.commit(package) == version, "the package is not of this repository"
    git("add", "package")
    git("commit", "-q", "-m", "the package")
    assert environment.commit(package) == (git("rev-parse", "HEAD"), False)
    (package / "__init__.py").write_text("1")
    assert environment.commit(package) == (git("rev-parse", "HEAD"), True)


@pytest.mark.parametrize(
    ("text", "model"),
    [("processor\t: 0\nmodel name\t: A CPU @ 2 GHz\nmodel name\t: other\n", "A CPU @ 2 GHz"), ("Features: fp\n", None)],
)
def test_cpu_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, model: str | None):
    monkeypatch.setattr(environment, "CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(environment.platform, "processor", str)
    assert environment.cpu_model() is None
    (tmp_path / "cpuinfo").write_text(text)
    assert environment.cpu_model() == model
