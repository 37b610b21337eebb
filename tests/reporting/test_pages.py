"""A study's tables are kept with their origin and rendered, by one command."""

import json
import subprocess
import sys
from pathlib import Path

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
    assert kept["command"] == f"python -m experiments.demo --workdir={workdir}"
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
