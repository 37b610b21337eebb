"""The sections of the report: each turns a run into HTML, or says which file it is waiting for."""

import json
import re
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from mass_jax.reporting import plots, stats, table
from mass_jax.reporting.labels import CONTROLS, METHODS, label, pair_label
from mass_jax.reporting.run import Run, dig, interval
from mass_jax.reporting.targets import judge

# Curves that belong together, by the metric's name; what matches none is grouped by the part before its slash.
_PANELS = (
    ("Target loss before and after the update", r"^outer/loss_(pre|post)$"),
    ("Losses", r"loss"),
    ("Accuracy and reward", r"accuracy|reward"),
    ("Dead groups and skipped steps", r"dead|skipped"),
    ("Practice problems", r"^synthesis/"),
    ("Scorer", r"^scorer/"),
    ("Attribution", r"^attribution/"),
    ("Gradient norms", r"^grad_norm/"),
)
_NOT_CURVES = re.compile(r"^(step|phase|time|timestamp|seed)$|^time/")


def methods(run: Run) -> str:
    """The paper's table, as a picture and in numbers."""
    rows = _bars(run.results.get("methods"), METHODS, "accuracy", ("mass", "mass_gold"))
    if not rows:
        return _missing(run, "results.json", "results.json holds no methods.")
    figure = plots.bars(rows, "Accuracy on held-out problems", dig(run.results, "methods", "base", "accuracy"))
    note = "Lines are 95 % intervals; the dashed line is Base."
    return _wide(figure) + _note(note) + _html(table.methods_table(run.results))


def controls(run: Run) -> str:
    """The controls that say where a gain comes from."""
    rows = _bars(run.results.get("controls"), CONTROLS, "accuracy", ())
    if not rows:
        return _missing(run, "results.json", "results.json holds no controls.")
    figure = plots.bars(rows, "Accuracy of the controls", dig(run.results, "methods", "mass", "accuracy"))
    note = "Each control shares everything with MASS but the one thing it is named for. The dashed line is MASS."
    return _wide(figure) + _note(note) + _html(table.controls_table(run.results))


def paired(run: Run) -> str:
    """Differences over the same problems."""
    entries = run.results.get("paired") or {}
    rows = _bars(entries, {}, "diff", ())
    if not rows:
        return _missing(run, "results.json", "results.json holds no paired differences.")
    rows = [row._replace(label=pair_label(name)) for row, name in zip(rows, entries, strict=False)]
    note = "Both methods answered the same problems; an interval that leaves out zero is coloured."
    likelihood = _titled("Log-likelihood of the reference solutions", table.log_likelihood_table(run.results))
    figure = _wide(plots.forest(rows, "Paired differences"))
    return figure + _note(note) + _html(table.paired_table(run.results)) + likelihood


def targets(run: Run) -> str:
    """What the run has to show, and whether it did."""
    if "results.json" in run.missing:
        return _missing(run, "results.json", "")
    signs = {True: ("good", "✓ reached"), False: ("bad", "✗ missed"), None: ("none", "not measured")}
    lines = "".join(
        f'<tr><td>{escape(v.claim)}</td><td class="r">{escape(v.measured)}</td>'
        f'<td class="{signs[v.passed][0]}">{signs[v.passed][1]}</td></tr>'
        for v in judge(run.results)
    )
    head = '<tr><th>Target</th><th class="r">Measured</th><th></th></tr>'
    extra = table.values_table(run.results.get("checks") or {}, ("Check", "Value"))
    return f'<div class="scroll"><table>{head}{lines}</table></div>' + _titled("All checks", extra)


def learning(run: Run) -> str:
    """Learning curves of every arm that was trained."""
    if not run.metrics:
        return _missing(run, "metrics.jsonl", "No arm has metrics yet.")
    parts = [_missing(run, name, "") for name in run.missing if name.endswith("/metrics.jsonl")]
    for arm, rows in run.metrics.items():
        figures = "".join(f"<figure>{plots.curves(series, title)}</figure>" for title, series in _panels(rows))
        parts.append(f'<h3>{escape(label(arm))}</h3><div class="grid">{figures}</div>')
    return "".join(parts)


def synthesis(run: Run) -> str:
    """How good the practice problems were, before and after meta-training."""
    shares = table.synthesis_table(run.results)
    if not shares.rows:
        return _missing(run, "results.json", "results.json holds no shares of synthesised problems.")
    return _html(shares, compact=True)


def attribution(run: Run) -> str:
    """Whether attributions and weights find the right practice pairs."""
    names = ("scores", "weights", "attributions", "correct", "task")
    absent = [name for name in names if not run.scorer.get(name)]
    if absent:
        return _missing(run, "scorer.json", f"scorer.json holds nothing under {', '.join(absent)}.")
    lengths = {name: len(run.scorer[name]) for name in names}
    if len(set(lengths.values())) > 1:
        return _missing(run, "", f"The lists of scorer.json must be equally long, but are {lengths}.")
    scores, weights, attributions = (np.asarray(run.scorer[name], dtype=float) for name in names[:3])
    correct, task = np.asarray(run.scorer["correct"], dtype=bool), np.asarray(run.scorer["task"])
    helpfulness = _standardised(-attributions, task)
    figures = (
        plots.attribution_by_correctness(helpfulness, correct),
        plots.roc(scores, correct, task),
        plots.right_by_weight(weights, correct),
    )
    rows = [
        ("Practice pairs", f"{len(scores):,}"),
        ("Right, %", table.percent(float(correct.mean()))),
        ("Scorer: area within a task", f"{stats.within_task_auc(scores, correct, task):.3f}"),
        ("Scorer: area over all pairs", f"{stats.roc_auc(scores, correct):.3f}"),
        ("Attribution: area within a task", f"{stats.within_task_auc(-attributions, correct, task):.3f}"),
        ("Correlation of weight and helpfulness", f"{stats.correlation(weights, helpfulness):.3f}"),
        ("Tasks with right and wrong pairs", f"{len(stats.task_aucs(scores, correct, task)):,}"),
    ]
    note = (
        "A pair's attribution is the derivative of the test problem's loss with respect to the pair's weight; its "
        "negative, here called helpfulness, is what the scorer learns and the generator is rewarded with."
    )
    grid = "".join(f"<figure>{figure}</figure>" for figure in figures)
    summary = _html(table.Table(("Over test problems", ""), "lr", rows), compact=True)
    return f'{_note(note)}<div class="grid">{grid}</div>{summary}'


def examples(run: Run) -> str:
    """Test problems with their practice sets, weights, and answers before and after the update."""
    if not run.examples:
        return _missing(run, "examples.jsonl", "examples.jsonl is empty.")
    return "".join(_example(example) for example in run.examples)


def cost(run: Run) -> str:
    """Where the time went, and what it bought."""
    times = table.time_table(run.results)
    if not times.rows and not run.results.get("cost"):
        return _missing(run, "results.json", "results.json holds neither timing nor cost.")
    seconds = [float(row[1].replace(",", "")) for row in times.rows]
    longest = max(seconds, default=1.0) or 1.0
    lines = "".join(
        f'<tr><td>{escape(name)}</td><td class="r">{text}</td><td class="weight">{_bar(value / longest, 12)}</td></tr>'
        for (name, text), value in zip(times.rows, seconds, strict=True)
    )
    head = '<tr><th>Phase</th><th class="r">Seconds</th><th></th></tr>'
    timing = f'<div class="scroll"><table class="compact">{head}{lines}</table></div>' if lines else ""
    return timing + _titled("Cost", table.values_table(run.results.get("cost") or {}, ("What", "Amount")))


def gate(run: Run) -> str:
    """The headroom that was measured before meta-training."""
    values = table.values_table(run.results.get("gate") or {}, ("Measured on validation families", "Value"))
    if not values.rows:
        return _missing(run, "results.json", "results.json holds no headroom gate.")
    note = "Before meta-training: can a test-time update on gold practice problems help at all?"
    return _note(note) + _html(values, compact=True)


def config(run: Run) -> str:
    """The configuration that made the run."""
    if not run.results.get("config"):
        return _missing(run, "results.json", "results.json holds no config.")
    text = escape(json.dumps(run.results["config"], indent=2, default=str, ensure_ascii=False))
    return f"<details><summary>Show the configuration</summary><pre>{text}</pre></details>"


def _bars(entries: Any, order: dict[str, Any], key: str, highlight: Sequence[str]) -> list[plots.Bar]:
    entries = entries or {}
    names = [*(name for name in order if name in entries), *(name for name in entries if name not in order)]
    values = [(name, dig(entries, name, key)) for name in names]
    return [
        plots.Bar(label(name), value, interval(entries[name]), name in highlight)
        for name, value in values
        if value is not None
    ]


def _panels(rows: list[dict[str, Any]]) -> list[tuple[str, dict[str, tuple[list[float], list[float]]]]]:
    """Groups the metrics of an arm into figures; a step that a resumed run wrote twice counts once."""
    points: dict[str, dict[str, dict[float, float]]] = {}
    for index, row in enumerate(rows):
        for name, value in row.items():
            number = dig(row, name)
            if not _NOT_CURVES.search(name) and number is not None and not isinstance(value, bool):
                step = dig(row, "step")
                series = points.setdefault(name, {}).setdefault(str(row.get("phase") or ""), {})
                series[index if step is None else step] = number
    panels: dict[str, dict[str, tuple[list[float], list[float]]]] = {}
    for name, phases in points.items():
        group = next((title for title, pattern in _PANELS if re.search(pattern, name)), None)
        title = group or (name.split("/")[0].replace("_", " ").capitalize() if "/" in name else "Other metrics")
        for phase, series in phases.items():
            steps = sorted(series)
            legend = f"{name} ({phase})" if len(phases) > 1 else name
            panels.setdefault(title, {})[legend] = (steps, [series[step] for step in steps])
    order = [title for title, _ in _PANELS]
    return sorted(panels.items(), key=lambda item: order.index(item[0]) if item[0] in order else len(order))


def _standardised(values: np.ndarray, task: np.ndarray) -> np.ndarray:
    result = np.zeros_like(values)
    for name in np.unique(task):
        own = values[task == name]
        result[task == name] = (own - own.mean()) / own.std() if own.std() > 0 else 0.0
    return result


def _example(example: dict[str, Any]) -> str:
    chips = "".join(
        f'<span class="chip">{escape(name)} {escape(str(example[name]))}</span>'
        for name in ("family", "difficulty")
        if example.get(name) is not None
    )
    answers = "".join(
        f'<div><small>{title}</small><span class="mono">{escape(str(example.get(f"answer_{side}", "–")))}</span> '
        f"{_mark(example.get(f'correct_{side}'))}</div>"
        for title, side in (("answer before the update", "before"), ("answer after the update", "after"))
    )
    practice = example.get("practice") or []
    heaviest = max((dig(pair, "weight") or 0.0 for pair in practice), default=0.0) or 1.0
    lines = "".join(_pair(pair, heaviest) for pair in sorted(practice, key=lambda pair: -(dig(pair, "weight") or 0.0)))
    head = (
        '<tr><th>Practice problem</th><th>Weight</th><th class="r">Helped</th><th>Right</th><th>Same family</th></tr>'
    )
    return (
        f'<div class="example">{chips}<pre>{escape(str(example.get("prompt", "–")))}</pre><div class="answers">'
        f'<div><small>reference</small><span class="mono">{escape(str(example.get("reference", "–")))}</span></div>'
        f'{answers}</div><div class="scroll"><table>{head}{lines}</table></div></div>'
    )


def _pair(pair: dict[str, Any], heaviest: float) -> str:
    weight = dig(pair, "weight")
    return (
        f'<tr><td class="mono">{escape(str(pair.get("text", "–")))}</td>'
        f'<td class="weight">{_bar((weight or 0.0) / heaviest, 6)} {table.number(weight)}</td>'
        f'<td class="r">{_signed(dig(pair, "attribution"))}</td>'
        f"<td>{_mark(pair.get('correct'))}</td><td>{_mark(pair.get('on_family'))}</td></tr>"
    )


def _mark(verdict: Any) -> str:
    if verdict is None:
        return '<span class="none">–</span>'
    return '<span class="good">✓</span>' if verdict else '<span class="bad">✗</span>'


def _signed(attribution: float | None) -> str:
    """The negative of an attribution: positive where the pair helped."""
    return "–" if attribution is None else f"{-attribution + 0.0:+.2g}".replace("-", "−")


def _bar(share: float, width_rem: float) -> str:
    return f'<span class="bar" style="width:{max(0.0, min(share, 1.0)) * width_rem:.2f}rem"></span>'


def _html(content: table.Table, compact: bool = False) -> str:
    classes = ['class="r"' if letter == "r" else "" for letter in content.align]
    head = "".join(f"<th {c}>{escape(text)}</th>" for text, c in zip(content.columns, classes, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td {c}>{escape(text)}</td>" for text, c in zip(row, classes, strict=True)) + "</tr>"
        for row in content.rows
    )
    return f'<div class="scroll"><table{" class=compact" * compact}><tr>{head}</tr>{body}</table></div>'


def _titled(title: str, content: table.Table) -> str:
    return f"<h3>{escape(title)}</h3>{_html(content, compact=True)}" if content.rows else ""


def _wide(figure: str) -> str:
    return f'<figure class="wide">{figure}</figure>'


def _note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'


def _missing(run: Run, name: str, otherwise: str) -> str:
    return f'<p class="missing">{escape(run.missing.get(name, otherwise))}</p>'
