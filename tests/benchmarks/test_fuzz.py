"""Damaged files end in sentences, and the runner finds and keeps those that do not."""

import contextlib
import importlib
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.benchmarks.fuzz import __main__ as program
from experiments.benchmarks.fuzz import mutations, runner
from mass_jax.errors import InputError
from mass_jax.models.pretrained.errors import PretrainedError
from tests.benchmarks import fuzz_kind

CASES = 40
LIMITS = runner.Limits(2.0, 1 << 25)  # far from what a slow machine takes for what is to stay below them


@pytest.mark.parametrize("kind", program.KINDS)
def test_mutated_files_end_in_a_sentence(kind: str, tmp_path: Path):
    module = importlib.import_module(program.KINDS[kind])
    sources = module.seeds(tmp_path)
    for source in sources:
        module.load(source)
    refused = 0
    for number in range(CASES):
        rng = np.random.default_rng([7, number])
        source = sources[rng.integers(len(sources))]
        target = tmp_path / "cases" / str(number) / source.name
        target.parent.mkdir(parents=True)
        must_fail = module.mutate(source, target, rng)
        with contextlib.suppress(PretrainedError, InputError):
            refused += 1
            module.load(target)
            refused -= 1
            assert not must_fail, f"{target} was accepted"
    assert refused >= CASES / 4


def test_the_runner_finds_every_way_to_fail(tmp_path: Path):
    count = 30
    kinds = {"fake": "tests.benchmarks.fuzz_kind"}
    shown: list[tuple[int, int]] = []
    counts = runner.run(kinds, 3, count, tmp_path, 2, lambda done, failed: shown.append((done, failed)), LIMITS)
    # The file of a case depends on the seed and its number alone.
    drawn = [np.random.default_rng([3, number]).choice(np.array(fuzz_kind.BEHAVIOURS)) for number in range(count)]
    assert set(drawn) == set(fuzz_kind.BEHAVIOURS)
    good = [drawn.count("accepted"), drawn.count("refused")]
    assert counts == {"accepted": good[0], "refused": good[1], "failed": count - sum(good)}
    assert [done for done, _ in shown] == list(range(1, count + 1)) and shown[-1][1] == counts["failed"]
    expected = {
        "accepted wrongly": "accepted, but has to be refused",
        "raises": "KeyError: 'raw'",
        "panics": "Panic: in Rust",
        "loops": "more than 2 s of CPU time",
        "aborts": "exit code -6",
        "swallows memory": "MiB, more than 32",
    }
    kept = sorted((tmp_path / "failures").iterdir())
    assert [folder.name for folder in kept] == [
        f"{number:06}-fake" for number, name in enumerate(drawn) if name in expected
    ]
    for folder in kept:
        name = drawn[int(folder.name[:6])]
        assert expected[name] in (folder / "traceback.txt").read_text()
        assert (folder / name).read_text().startswith("ill"), "the file is kept, to be read again"


def test_seeds_that_cannot_be_read_stop_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(RuntimeError, match="the unchanged files cannot be read:(.|\n)*No module named"):
        monkeypatch.setattr(runner, "_module", lambda kinds, kind: fuzz_kind)
        runner.run({"fake": "no.such_module"}, 0, 3, tmp_path, 1)


def run_main(monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
    given = {"workdir": "x", "seed": 0, "count": 5, "workers": 1, "kind": list(program.KINDS), "replay": None} | options
    monkeypatch.setattr(program.flags, "FLAGS", types.SimpleNamespace(**given))
    program.main()


def test_the_exit_status_tells_of_failures(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    counts = {"accepted": 2, "refused": 3, "failed": 0}
    monkeypatch.setattr(program.runner, "run", lambda *_: counts)
    run_main(monkeypatch)
    assert "2 accepted, 3 refused, 0 failed" in capsys.readouterr().out
    counts["failed"] = 1
    with pytest.raises(SystemExit) as caught:
        run_main(monkeypatch)
    assert caught.value.code == 1
    assert "x/failures" in capsys.readouterr().err


def test_a_failure_is_read_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setitem(program.KINDS, "fake", "tests.benchmarks.fuzz_kind")
    (tmp_path / "000003-fake").mkdir()
    (tmp_path / "000003-fake" / "traceback.txt").write_text("")
    (tmp_path / "000003-fake" / "raises").write_text("ill 1")
    with pytest.raises(KeyError, match="raw"):
        run_main(monkeypatch, replay=str(tmp_path / "000003-fake"))
    for wrong in ("nowhere", "000004-fake", "."):
        with pytest.raises(InputError, match="holds no recorded failure: give a folder in a run's failures"):
            run_main(monkeypatch, replay=str(tmp_path / wrong))


def test_mutations_change_what_they_say(tmp_path: Path):
    content = {"a": 1, "b": {"c": [1, 2, 3]}}
    changed = 0
    for seed in range(200):
        new, (*path, value) = mutations.json_value(content, np.random.default_rng(seed))
        parent: Any = new
        for key in path[:-1]:
            parent = parent[key]
        if isinstance(parent, dict):
            found = parent.get(path[-1])
            assert found is value or found == value or found != found
        changed += new != content
    assert changed > 170
    assert content == {"a": 1, "b": {"c": [1, 2, 3]}}
