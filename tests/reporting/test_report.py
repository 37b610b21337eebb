"""The page of a run: complete, self-contained, and written whatever is missing."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mass_jax.reporting import plots, report
from mass_jax.reporting.run import load_run
from mass_jax.reporting.targets import judge


@pytest.fixture
def plain_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out the drawing, which takes most of the time of a page, where a test is about something else."""
    monkeypatch.setattr(plots, "_figure", lambda draw, title, size: f'<svg aria-label="{title}"></svg>')


class _Page(HTMLParser):
    """Collects the tags, and checks that they are balanced."""

    def __init__(self, html: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br", "img", "link"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def _section(html: str, name: str) -> str:
    return re.search(rf'<section id="{name}">.*?</section>', html, flags=re.DOTALL)[0]


def test_page_is_self_contained(page: str):
    tags = _Page(page).tags
    assert {"script", "img", "link", "iframe", "object"}.isdisjoint(tag for tag, _ in tags)
    for _, attributes in tags:
        for name in ("src", "href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith("#"), attributes
    assert "@import" not in page
    assert all(target.startswith("#") for target in re.findall(r"url\(['\"]?([^)]*)\)", page))
    assert len(page) < 2_000_000


def test_page_contains_every_section(page: str):
    for name, title, _ in report.SECTIONS:
        assert title in _section(page, name)
    assert 'class="missing"' not in page
    assert "could not be drawn" not in page
    figures = {"methods": 1, "controls": 1, "paired": 1, "attribution": 3}
    for name, count in figures.items():
        assert _section(page, name).count("<svg") == count
    assert "MASS solves 62.0 % of 400 test problems, Base 46.0 %: +16.0 points" in page
    assert _section(page, "examples").count('class="example"') == 5
    assert "targets reached 13 of 13" in page


def test_curves_are_grouped_by_meaning(workdir: Path, plain_figures: None):
    learning = _section(report.write_report(workdir).read_text(encoding="utf-8"), "learning")
    titles = re.findall(r'aria-label="([^"]*)"', learning)
    for title in ("Target loss before and after the update", "Practice problems", "Scorer", "Gradient norms", "Losses"):
        assert titles.count(title) == 1
    assert "synthesise" not in learning  # Times are no curves.


def test_text_is_escaped(workdir: Path, plain_figures: None):
    html = report.write_report(workdir).read_text(encoding="utf-8")
    assert "<b>not markup</b>" not in html and "3 <7>" not in html
    assert "3 &lt;7&gt;" in html


@pytest.mark.parametrize(
    ("name", "sections"),
    [
        ("results.json", ["methods", "controls", "paired", "targets", "synthesis", "cost", "gate", "config"]),
        ("scorer.json", ["attribution"]),
        ("examples.jsonl", ["examples"]),
    ],
)
@pytest.mark.parametrize("damage", ["absent", "truncated", "empty object"])
def test_a_missing_or_broken_file_is_named(
    workdir: Path, plain_figures: None, name: str, sections: list[str], damage: str
):
    path = workdir / name
    if damage == "absent":
        path.unlink()
    elif damage == "truncated":
        path.write_text(path.read_text(encoding="utf-8")[:40], encoding="utf-8")
    else:
        path.write_text("" if name.endswith("l") else "{}", encoding="utf-8")
    html = report.write_report(workdir).read_text(encoding="utf-8")
    for section in sections:
        if (section, damage) != ("targets", "empty object"):  # There, every target is listed as not measured.
            assert 'class="missing"' in _section(html, section)
            assert name in _section(html, section)
    others = {section for section, _, _ in report.SECTIONS} - set(sections)
    assert all('class="missing"' not in _section(html, section) for section in others)


def test_an_empty_directory_makes_a_page(tmp_path: Path):
    html = report.write_report(tmp_path).read_text(encoding="utf-8")
    _Page(html)
    assert html.count('class="missing"') == len(report.SECTIONS)
    assert "could not be drawn" not in html


def test_an_unusable_value_costs_its_section_only(workdir: Path, plain_figures: None):
    scorer = json.loads((workdir / "scorer.json").read_text(encoding="utf-8"))
    scorer["scores"][0] = "high"
    (workdir / "scorer.json").write_text(json.dumps(scorer), encoding="utf-8")
    html = report.write_report(workdir).read_text(encoding="utf-8")
    assert "could not be drawn: ValueError" in _section(html, "attribution")
    assert "could not be drawn" not in html.replace(_section(html, "attribution"), "")


def test_lists_of_different_length_are_refused(workdir: Path, plain_figures: None):
    scorer = json.loads((workdir / "scorer.json").read_text(encoding="utf-8"))
    scorer["weights"].pop()
    (workdir / "scorer.json").write_text(json.dumps(scorer), encoding="utf-8")
    section = _section(report.write_report(workdir).read_text(encoding="utf-8"), "attribution")
    assert "equally long" in section and "479" in section


def test_a_half_written_line_costs_that_line_only(workdir: Path, plain_figures: None):
    path = workdir / "mass" / "metrics.jsonl"
    path.write_text(path.read_text(encoding="utf-8")[:-20], encoding="utf-8")
    run = load_run(workdir)
    assert len(run.metrics["mass"]) == 99
    assert "1 of the lines" in run.missing["mass/metrics.jsonl"]
    assert "1 of the lines" in _section(report.write_report(workdir).read_text(encoding="utf-8"), "learning")


def test_numbers_that_are_not_finite_do_not_stop_the_page(workdir: Path):
    (workdir / "pretrain" / "metrics.jsonl").unlink()
    path = workdir / "mass" / "metrics.jsonl"
    path.write_text(
        path.read_text(encoding="utf-8") + '{"step": 100, "outer/loss_post": NaN, "scorer/auc": null}\n',
        encoding="utf-8",
    )
    results = json.loads((workdir / "results.json").read_text(encoding="utf-8"))
    results["methods"]["mass"] = {"accuracy": float("nan"), "ci95": [float("nan"), None], "n": 0}
    (workdir / "results.json").write_text(json.dumps(results), encoding="utf-8")
    assert "could not be drawn" not in report.write_report(workdir).read_text(encoding="utf-8")


def test_a_directory_that_is_not_there_is_an_error(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="There is no run directory"):
        report.write_report(tmp_path / "nowhere")


def test_command_line(tmp_path: Path):
    command = [sys.executable, "-m", "mass_jax.reporting.report", f"--workdir={tmp_path}"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert Path(printed.strip()) == tmp_path / "report.html"
    assert (tmp_path / "report.html").is_file()


def test_verdicts(run_files: dict[str, str]):
    results = json.loads(run_files["results.json"])
    assert [verdict.passed for verdict in judge(results)] == [True] * 13
    assert [verdict.passed for verdict in judge({"config": results["config"]})] == [None] * 13
    assert len(judge({})) == 11, "a run of unknown size is held to no size"


@pytest.mark.parametrize(
    ("path", "value", "claim"),
    [
        (("methods", "mass", "n"), 299, "300"),
        (("controls", "oracle_gold_family", "accuracy"), 0.6, "Oracle over"),
        (("controls", "oracle_strict", "accuracy"), 0.5, "Strict oracle"),
        (("controls", "mass_no_update", "accuracy"), 0.45, "forgotten"),
        (("paired", "mass-solver_grpo", "ci95"), [-0.01, 0.2], "Solver GRPO"),
        (("paired", "mass-mass_shuffled_weights", "ci95"), [0.0, 0.2], "shuffled"),
        (("checks", "attribution_fd_correlation", "adam"), 0.98, "finite differences"),
        (("checks", "scorer_auc_within_task"), 0.69, "Scorer"),
        (("checks", "oracle_gain_recovered"), 0.49, "recovered"),
        (("timing", "total_seconds"), 1201, "time"),
    ],
)
def test_each_target_can_be_missed(run_files: dict[str, str], path: tuple[str, ...], value, claim: str):
    results = json.loads(run_files["results.json"])
    entry = results
    for key in path[:-1]:
        entry = entry[key]
    entry[path[-1]] = value
    missed = [verdict for verdict in judge(results) if not verdict.passed]
    assert len(missed) == 1 and claim in missed[0].claim
