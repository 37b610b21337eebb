"""The page of a run: complete, self-contained, and written whatever is missing."""

import dataclasses
import errno
import json
import re
import subprocess
import sys
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

import configs.demo
from mass_jax.reporting import plots, report, writing
from mass_jax.reporting.run import RunError, load_run
from mass_jax.reporting.targets import judge
from mass_jax.results import Results
from mass_jax.study.targets import targets

PHONE = 300
"""Pixels that a figure has on a screen of 390."""


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
    assert "targets reached 14 of 14" in page


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
        (
            "results.json",
            ["methods", "controls", "paired", "targets", "generator", "synthesis", "cost", "gate", "made", "config"],
        ),
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


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """The directory of a run that has not made a step."""
    (tmp_path / "mass").mkdir()
    (tmp_path / "mass" / "metrics.jsonl").touch()
    return tmp_path


def test_a_run_that_has_only_begun_makes_a_page(begun: Path):
    html = report.write_report(begun).read_text(encoding="utf-8")
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


def command(workdir: Path | str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "mass_jax.reporting.report", f"--workdir={workdir}"]
    return subprocess.run(words, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("workdir", "sentence"),
    [("typo", "There is no run directory 'typo': give the --workdir of a run."), ("", "There is no run directory ''")],
)
def test_a_workdir_that_is_none_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], workdir: str, sentence: str
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["report", f"--workdir={workdir}"])
    with pytest.raises(SystemExit) as end:
        report.main()
    assert end.value.code == 2 and capsys.readouterr().err.startswith(sentence)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("files", [{}, {"config.json": b"\xff"}])
def test_a_directory_without_anything_of_a_run_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], files: dict[str, bytes]
):
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    monkeypatch.setattr(sys, "argv", ["report", f"--workdir={tmp_path}"])
    with pytest.raises(SystemExit) as end:
        report.main()
    assert end.value.code == 2
    assert re.match(
        r"'.*' holds nothing to report, neither results.json, .*: give the --workdir", capsys.readouterr().err
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(files)


@pytest.mark.parametrize(
    ("content", "damaged"), [("{}\n{", False), ("{", True), ("{\n{\n{}\n", True), ("[" * 999, True)]
)
def test_more_than_a_torn_line_is_damage(begun: Path, content: str, damaged: bool):
    (begun / "examples.jsonl").write_text(content)
    assert load_run(begun).damaged == ["examples.jsonl"] * damaged


def test_a_directory_above_runs_is_none(tmp_path: Path):
    for name in ("a", "b", "c", "d", "e"):
        (tmp_path / "runs" / name / "mass").mkdir(parents=True)
        (tmp_path / "runs" / name / "mass" / "metrics.jsonl").write_text("{}\n")
    (tmp_path / "runs" / "b" / "results.json").write_text("{}")
    with pytest.raises(
        RunError, match=r"runs' is no run; below it are '.*/a', '.*/b', '.*/c', '.*/d' ...: give the --w"
    ):
        report.write_report(tmp_path / "runs")
    assert not (tmp_path / "runs" / "report.html").exists()
    assert list(load_run(tmp_path / "runs" / "a").metrics) == ["mass"]


def test_damaged_results_are_a_sentence_and_status_2(
    workdir: Path, plain_figures: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    (workdir / "results.json").write_text('{"methods": ')
    monkeypatch.setattr(sys, "argv", ["report", f"--workdir={workdir}"])
    with pytest.raises(SystemExit) as end:
        report.main()
    printed = capsys.readouterr()
    assert end.value.code == 2 and printed.err.startswith("The page is incomplete. results.json is damaged")
    assert Path(printed.out.strip()).exists()


@pytest.mark.parametrize(
    ("error", "status", "sentence"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device"),
            2,
            "'{page}' cannot be read or written (No space left on device)",
        ),
        (KeyboardInterrupt(), 130, "Interrupted: nothing was changed."),
    ],
)
def test_a_page_that_cannot_be_finished_leaves_the_one_before(
    workdir: Path,
    plain_figures: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    status: int,
    sentence: str,
):
    def fail(*_: object) -> None:
        raise error

    page = report.write_report(workdir)
    before = page.read_text()
    monkeypatch.setattr(writing.os, "replace", fail)
    monkeypatch.setattr(sys, "argv", ["report", f"--workdir={workdir}"])
    with pytest.raises(SystemExit) as end:
        report.main()
    assert end.value.code == status and capsys.readouterr().err.startswith(sentence.format(page=page))
    assert page.read_text() == before and list(workdir.glob("*.tmp")) == []


def test_what_has_another_unit_has_another_axis(workdir: Path, plain_figures: None):
    learning = _section(report.write_report(workdir).read_text(encoding="utf-8"), "learning")
    titles = re.findall(r'aria-label="([^"]*)"', learning)
    wanted = {"Memory, bytes", "Arithmetic, FLOPs a second", "Seconds a step", "Programs compiled", "Learning rate"}
    assert wanted <= set(titles) and "Machine" not in titles


def test_every_table_says_what_its_cells_belong_to(page: str):
    tags = _Page(page).tags
    assert {attributes.get("scope") for tag, attributes in tags if tag == "th"} == {"col", "row"}
    tables = re.findall(r"<table.*?</table>", page, flags=re.DOTALL)
    assert len(tables) > 10
    for table in tables:
        assert all(row.startswith('<th scope="row"') for row in re.findall(r"<tr>(.*?)</tr>", table)[1:])


def test_letters_of_figures_can_be_read_on_a_phone(page: str):
    figures = re.findall(r'<svg role="img".*?viewBox="0 0 ([\d.]+) .*?</svg>', page, flags=re.DOTALL)
    texts = re.findall(r"<svg role=.*?</svg>", page, flags=re.DOTALL)
    assert len(figures) == len(texts) > 5
    for width, text in zip(figures, texts, strict=True):
        sizes = [float(size) for size in re.findall(r'<text style="font(?:-size)?: ([\d.]+)px', text)]
        assert sizes and min(sizes) * PHONE / float(width) >= 11


def test_text_has_the_contrast_of_wcag_aa():
    style = Path(report.__file__).with_name("style.css").read_text(encoding="utf-8")
    themes = re.findall(r":root \{(.*?)\}", style, flags=re.DOTALL)
    assert len(themes) == 2
    for theme in themes:
        colours = dict(re.findall(r"--(\w+): (#\w+)", theme))
        for text in ("ink", "muted", "accent", "good", "bad"):
            for ground in ("page", "card", "soft"):
                assert _contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
        for line in ("c0", "c1", "c2", "c3", "c4", "c5"):
            assert _contrast(colours[line], colours["card"]) >= 3, line


def _contrast(a: str, b: str) -> float:
    """WCAG 2.2's contrast ratio of two colours."""

    def luminance(colour: str) -> float:
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    dark, light = sorted((luminance(a), luminance(b)))
    return (light + 0.05) / (dark + 0.05)


def test_a_difference_without_an_interval_is_not_coloured():
    def colours(bounds: tuple[float, float] | None) -> set[str]:
        return set(re.findall(r"var\(--(good|bad)\)", plots.forest([plots.Bar("a", 0.1, bounds, False)], "x")))

    assert colours((0.05, 0.15)) == {"good"} and colours(None) == set()


def test_one_family_makes_a_page_without_intervals(workdir: Path):
    """What evaluation writes where there is nothing to bootstrap over."""
    for arm in ("mass", "pretrain"):
        (workdir / arm / "metrics.jsonl").unlink()  # its curves take long to draw
    results = json.loads((workdir / "results.json").read_text(encoding="utf-8"))
    for part in ("methods", "controls", "paired", "gate"):
        for entry in results[part].values():
            entry["ci95"] = None
    scorer = {"scores": [0.5], "weights": [1.0], "attributions": [0.0], "correct": [True], "task": [0]}
    (workdir / "results.json").write_text(json.dumps(results), encoding="utf-8")
    (workdir / "scorer.json").write_text(json.dumps(scorer), encoding="utf-8")
    html = report.write_report(workdir).read_text(encoding="utf-8")
    assert "could not be drawn" not in html and ">nan<" not in html
    assert "not measured" in _section(html, "targets")


def test_command_line(begun: Path):
    done = command(begun)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()) == begun / "report.html"
    assert (begun / "report.html").is_file()


def test_verdicts(run_files: dict[str, str]):
    results = json.loads(run_files["results.json"])
    assert [verdict.passed for verdict in judge(Results(**results))] == [True] * 14
    targets = results["targets"]
    assert [verdict.passed for verdict in judge(Results(headline="mass", targets=targets))] == [None] * 14
    del targets["problems"], targets["minutes"]
    assert len(judge(Results(**results))) == 12, "a run without a size to reach is held to no size"
    assert judge(Results()) == []


def test_what_taught_the_generator_is_shown_beside_its_controls(page: str):
    section = _section(page, "generator")
    assert "reward goes from 0.85 to 0.49" in unescape(section) and "'before' is the base" in unescape(section)
    for title in ("Right practice, of all texts", "d' of the reward, right practice against other"):
        assert title in unescape(section)
    text = re.sub("<[^>]+>", " ", section)
    assert re.search(r"frozen\s+38.0\s+37.0", text) and re.search(
        r"MASS\s+98.0\s+63.0\s+–\s+90.0\s+–\s+48.0\s+52.0\s+62.0", text
    )


def test_a_generator_is_held_to_what_it_gained():
    results = {"targets": {"right": 0.25}, "generator": {"right": {"before": 0.36, "after": 0.61}}}
    claim, measured, passed = dataclasses.astuple(judge(Results(**results))[0])
    assert claim == "Right practice: at least 25 points more" and (measured, passed) == ("+25.0", True)
    results["generator"]["right"]["after"] = 0.6
    assert [verdict.passed for verdict in judge(Results(**results))] == [False]
    assert [verdict.passed for verdict in judge(Results(targets={"right": 0.25}))] == [None]


def test_targets_are_those_of_the_config():
    config = configs.demo.get_config()
    config.gate.oracle_gain, config.targets.minutes = 0.1, 7
    found = judge(Results(headline="mass", targets=targets(config), labels={"base": "Base", "oracle_strict": "Strict"}))
    claims = [verdict.claim for verdict in found]
    assert "Right practice: at least 25 points more" in claims
    assert claims[1:3] == ["oracle gold family over Base: at least 10 points", "Strict over Base: at least 5 points"]
    assert claims[-1] == "Total time: at most 7 minutes"
    config.gate.oracle_gain = -1.0
    assert len(judge(Results(headline="mass", targets=targets(config)))) == len(found) - 1, "an open gate asks nothing"


def test_a_part_that_does_not_fit_is_named_and_costs_itself_only(workdir: Path, plain_figures: None):
    results = json.loads((workdir / "results.json").read_text(encoding="utf-8"))
    results["methods"]["mass"]["accuracy"] = "high"
    (workdir / "results.json").write_text(json.dumps(results), encoding="utf-8")
    run = load_run(workdir)
    assert run.damaged == ["results.json"] and run.results.controls and not run.results.methods
    html = report.write_report(workdir).read_text(encoding="utf-8")
    said = "results.json does not fit in methods.mass.accuracy = &#x27;high&#x27; (input should be a valid number)"
    assert said in _section(html, "methods") and "could not be drawn" not in html
    assert 'class="missing"' not in _section(html, "controls")


def test_a_file_of_an_earlier_version_is_shown(workdir: Path, plain_figures: None):
    results = json.loads((workdir / "results.json").read_text(encoding="utf-8"))
    for key in ("labels", "meanings", "targets", "headline", "arms", "environment"):
        del results[key]
    (workdir / "results.json").write_text(json.dumps(results), encoding="utf-8")
    html = report.write_report(workdir).read_text(encoding="utf-8")
    assert "could not be drawn" not in html and "tt ss majority" in _section(html, "methods")
    assert "has not measured" not in html
    assert "These results are of an earlier version" in html and "evaluate the run again" in report.summary(workdir)


@pytest.mark.parametrize(
    ("path", "value", "claim"),
    [
        (("methods", "mass", "n"), 299, "300"),
        (("controls", "oracle_gold_family", "accuracy"), 0.6, "Oracle over"),
        (("controls", "oracle_strict", "accuracy"), 0.5, "oracle strict"),
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
    missed = [verdict for verdict in judge(Results(**results)) if not verdict.passed]
    assert len(missed) == 1 and claim in missed[0].claim


def test_the_summary_has_the_main_result_and_the_oracle(workdir: Path):
    assert report.summary(workdir).splitlines() == [
        "MASS solves 62.0 % of 400 test problems, Base 46.0 %: +16.0 points, 95 % interval +13.0 to +19.0.",
        "Oracle solves 65.0 %: +19.0 points; MASS recovers 84 % of that.",
    ]


def test_the_summary_of_a_domain_without_an_oracle_is_the_main_result(workdir: Path):
    results = json.loads((workdir / "results.json").read_text())
    del results["controls"]["oracle_gold_family"]
    (workdir / "results.json").write_text(json.dumps(results))
    assert "Oracle" not in report.summary(workdir)
    (workdir / "results.json").unlink()
    assert report.summary(workdir).startswith("results.json is not in this run")
