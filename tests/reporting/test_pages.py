"""A study's tables are kept with their origin and rendered, by one command."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mass_jax.reporting import pages, table
from mass_jax.reporting.run import load_run


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    module = [sys.executable, "-m", "mass_jax.reporting.pages", *arguments]
    return subprocess.run(module, capture_output=True, text=True, check=False)


def test_a_study_is_kept_and_rendered(workdir: Path, tmp_path: Path):
    page = tmp_path / "docs" / "results.md"
    page.parent.mkdir(exist_ok=True)
    page.write_text("# Results\n\n<!-- table: mine/methods -->\n<!-- end -->\n")
    done = command(f"--root={tmp_path}", f"--run={workdir}", "--name=mine")
    assert done.returncode == 0 and done.stderr == f"rewrote {page}\n"
    shown = table.to_markdown(table.methods_table(load_run(workdir).results))
    assert page.read_text() == f"# Results\n\n<!-- table: mine/methods -->\n\n{shown}\n\n<!-- end -->\n"
    kept = json.loads((tmp_path / pages.DATA / "mine.json").read_text())
    assert kept["command"] == "python -m experiments.demo --config=configs/demo.py --workdir=runs/demo"
    assert {"methods", "controls", "paired", "targets"} <= set(kept["tables"])
    assert command(f"--root={tmp_path}").stderr == ""


def test_what_is_wrong_with_a_page_or_a_run_is_a_sentence(tmp_path: Path):
    (tmp_path / "README.md").write_text("<!-- table: none/all -->\n<!-- end -->\n")
    done = command(f"--root={tmp_path}")
    assert (done.returncode, "Traceback" in done.stderr) == (2, False) and "README.md: " in done.stderr
    done = command(f"--root={tmp_path}", "--run=nowhere", "--name=mine")
    assert done.returncode == 2 and "There is no run directory 'nowhere'" in done.stderr
    done = command("--run=nowhere")
    assert done.returncode == 2 and "give both or neither" in done.stderr
    done = command(f"--root={tmp_path}", "--run=nowhere", "--name=../../evil")
    assert done.returncode == 2 and "--name=../../evil is no name of a file: give letters" in done.stderr


@pytest.mark.parametrize(
    ("results", "page", "words"),
    [
        ("{}", b"", "' has no tables yet, for nothing in it is evaluated: finish it by the command"),
        ('{"gate": {"base": {"accuracy": 0.5}}}', b"", "' has no tables yet"),
        (None, b"<!-- table: mine/none -->\n<!-- end -->\n", "README.md: .* has no table 'none': it has methods,"),
        (None, b"\xff", "README.md cannot be read .*: save it as UTF-8."),
        (None, None, "' has no pages, neither .* give --root the folder with README.md."),
    ],
)
def test_nothing_is_replaced_by_what_cannot_be_finished(
    workdir: Path, results: str | None, page: bytes | None, words: str
):
    if results is not None:
        (workdir / "results.json").write_text(results)
    if page is not None:
        (workdir / "README.md").write_bytes(page)
    kept = workdir / pages.DATA / "mine.json"
    kept.parent.mkdir(parents=True)
    kept.write_text("what was kept before")
    with pytest.raises(pages.RunError, match=words):
        pages.rewrite(workdir, str(workdir), "mine")
    assert [path.read_text() for path in kept.parent.iterdir()] == ["what was kept before"]
