"""The sections of the report: each turns a run into HTML, or says which file it is waiting for."""

import json
import math
import re
from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np

from mass_jax.quantities import TIME, Figure, Metric, figure
from mass_jax.reporting import html, plots, stats, table
from mass_jax.reporting.labels import label, pair_label
from mass_jax.reporting.run import Run, dig
from mass_jax.reporting.targets import judge
from mass_jax.results import Accuracy, Results, finite

_NOT_CURVES = re.compile(rf"^(step|phase|time|timestamp|seed)$|^{TIME}")

LEARNED = {
    Metric.CORRECT: "Right practice, of all texts",
    Metric.ON_FAMILY: "Practice on the topic, of all texts",
    Metric.D_PRIME: "d' of the reward, right practice against other",
}
"""What of a training tells whether the generator learned, with the titles of its figures."""


def methods(run: Run) -> str:
    """The paper's table, as a picture and in numbers."""
    results = run.results
    rows = _bars(results, results.methods)
    if not rows:
        return html.missing(run, "results.json", "results.json holds no methods.")
    base = results.methods.get("base")
    figure = plots.bars(rows, "Accuracy on held-out problems", finite(base.accuracy) if base else None)
    note = "Lines are 95 % intervals; the dashed line is Base."
    return html.wide(figure) + html.note(note) + html.table(table.methods_table(results))


def controls(run: Run) -> str:
    """The controls that say where a gain comes from."""
    results = run.results
    rows = _bars(results, results.controls)
    if not rows:
        return html.missing(run, "results.json", "results.json holds no controls.")
    main = results.methods.get(results.headline or "")
    figure = plots.bars(rows, "Accuracy of the controls", finite(main.accuracy) if main else None)
    name = label(results.headline or "the trained arm", results)
    note = f"Each control shares everything with {name} but the one thing it is named for. The dashed line is {name}."
    return html.wide(figure) + html.note(note) + html.table(table.controls_table(results))


def paired(run: Run) -> str:
    """Differences over the same problems."""
    results = run.results
    rows = [
        plots.Bar(pair_label(name, results), entry.diff, entry.bounds, False)
        for name, entry in results.paired.items()
        if finite(entry.diff) is not None
    ]
    if not rows:
        return html.missing(run, "results.json", "results.json holds no paired differences.")
    note = "Both methods answered the same problems. Lines are 95 % intervals; one that leaves out zero is coloured."
    likelihood = html.titled("Log-likelihood of the reference solutions", table.log_likelihood_table(results))
    figure = html.wide(plots.forest(rows, "Paired differences"))
    numbers = html.folded(f"All {len(rows)} differences in numbers", html.table(table.paired_table(results)))
    return figure + html.note(note) + numbers + likelihood


def targets(run: Run) -> str:
    """What the run has to show, and whether it did."""
    verdicts = judge(run.results)
    if not verdicts and not run.results.checks:
        return html.missing(run, "results.json", "results.json holds no targets: evaluate the run again.")
    signs = {True: ("good", "✓ reached"), False: ("bad", "✗ missed"), None: ("none", "not measured")}
    lines = [
        (escape(v.claim), escape(v.measured), f'<span class="{signs[v.passed][0]}">{signs[v.passed][1]}</span>')
        for v in verdicts
    ]
    held = html.grid(("Target", "Measured", "Verdict"), "lrl", lines) if lines else ""
    return held + html.titled("All checks", table.checks_table(run.results))


def learning(run: Run) -> str:
    """Learning curves of every arm that was trained."""
    if not run.metrics:
        return html.missing(run, "metrics.jsonl", "No arm has metrics yet.")
    parts = [html.missing(run, name, "") for name in run.missing if name.endswith("/metrics.jsonl")]
    for arm, rows in run.metrics.items():
        figures = "".join(f"<figure>{plots.curves(series, title)}</figure>" for title, series in _panels(rows))
        parts.append(f'<h3>{escape(label(arm, run.results))}</h3><div class="grid">{figures}</div>')
    written = {name for rows in run.metrics.values() for row in rows for name in row}
    meanings = table.Table(("Curve", "What it is"), "ll", [(m, m.meaning) for m in Metric if m in written])
    parts.append(html.folded("What each curve is", html.table(meanings, compact=True)))
    return "".join(parts)


def synthesis(run: Run) -> str:
    """How good the practice problems were, before and after meta-training."""
    shares = table.synthesis_table(run.results)
    if not shares.rows:
        return html.missing(run, "results.json", "results.json holds no shares of synthesised problems.")
    return html.table(shares, compact=True)


def generator(run: Run) -> str:
    """What taught the generator: its curves beside those of its controls, and whose the gain is."""
    results = run.results
    if not results.decomposition:
        return html.missing(run, "results.json", "results.json holds no decomposition: evaluate the run again.")
    arms = [name for name in results.decomposition if name in run.metrics]
    columns = {metric: {arm: curve(run, arm, metric) for arm in arms} for metric in LEARNED}
    grid = ""
    for metric, found in columns.items():
        series = {label(arm, results): points for arm, points in found.items() if points[0]}
        grid += f"<figure>{plots.curves(series, LEARNED[metric])}</figure>" if series else ""
    start, end = (finite(results.generator.d_prime.get(side)) for side in ("start", "end"))
    note = (
        "All arms have the same base and the same steps; what differs is in the section on what made this run. In the "
        "first table 'before' is the base and 'after' the headline's model; the other rows are its controls."
    )
    if start is not None and end is not None:
        note += f" The d' of the headline's reward goes from {start:.2f} to {end:.2f}."
    shares = html.table(table.generator_table(results), compact=True) if results.generator.right else ""
    whose = html.titled("Whose gain it is", table.decomposition_table(results))
    return f'{html.note(note)}<div class="grid">{grid}</div>{shares}{whose}'


def attribution(run: Run) -> str:
    """Whether attributions and weights find the right practice pairs."""
    names = ("scores", "weights", "attributions", "correct", "task")
    absent = [name for name in names if not run.scorer.get(name)]
    if absent:
        return html.missing(run, "scorer.json", f"scorer.json holds nothing under {', '.join(absent)}.")
    lengths = {name: len(run.scorer[name]) for name in names}
    if len(set(lengths.values())) > 1:
        return html.missing(run, "", f"The lists of scorer.json must be equally long, but are {lengths}.")
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
        ("Scorer: area within a task", _decimal(stats.within_task_auc(scores, correct, task))),
        ("Scorer: area over all pairs", _decimal(stats.roc_auc(scores, correct))),
        ("Attribution: area within a task", _decimal(stats.within_task_auc(-attributions, correct, task))),
        ("Correlation of weight and helpfulness", _decimal(stats.correlation(weights, helpfulness))),
        ("Tasks with right and wrong pairs", f"{len(stats.task_aucs(scores, correct, task)):,}"),
    ]
    note = (
        "A pair's attribution is the derivative of the test problem's loss with respect to the pair's weight; its "
        "negative, here called helpfulness, is what the scorer learns. The generator's reward is made of it, or of "
        "what the scorer has learned, as the configuration's train.reward says."
    )
    grid = "".join(f"<figure>{figure}</figure>" for figure in figures)
    summary = html.table(table.Table(("Over test problems", ""), "lr", rows), compact=True)
    return f'{html.note(note)}<div class="grid">{grid}</div>{summary}'


def examples(run: Run) -> str:
    """Test problems with their practice sets, weights, and answers before and after the update."""
    if not run.examples:
        return html.missing(run, "examples.jsonl", "examples.jsonl is empty.")
    return "".join(_example(example) for example in run.examples)


def cost(run: Run) -> str:
    """Where the time went, and what it bought."""
    times = table.time_table(run.results)
    if not times.rows and not run.results.cost:
        return html.missing(run, "results.json", "results.json holds neither timing nor cost.")
    seconds = [float(row[1].replace(",", "")) for row in times.rows]
    longest = max(seconds, default=1.0) or 1.0
    lines = [
        (escape(name), text, html.bar(value / longest, 12))
        for (name, text), value in zip(times.rows, seconds, strict=True)
    ]
    timing = html.grid(("Phase", "Seconds", ""), "lrl", lines, compact=True) if lines else ""
    invocations = html.titled("All invocations", table.invocations_table(run.results))
    return timing + invocations + html.titled("Cost", table.cost_table(run.results))


def gate(run: Run) -> str:
    """The headroom that was measured before meta-training."""
    values = table.gate_table(run.results)
    if not values.rows:
        return html.missing(run, "results.json", "results.json holds no headroom gate.")
    note = "Before meta-training: can a test-time update on gold practice problems help at all?"
    choice = html.titled("A choice of topic", table.choice_table(run.results))
    rows = html.titled("By what it was judged", table.choice_rows_table(run.results))
    return html.note(note) + html.table(values, compact=True) + choice + rows


def made(run: Run) -> str:
    """What the run was made with, and what each arm was trained with."""
    if run.results.environment is None:
        return html.missing(run, "results.json", "results.json does not say what it was made with.")
    arms = html.titled("What each arm is trained with", table.overrides_table(run.results))
    return html.table(table.environment_table(run.results), compact=True) + arms


def config(run: Run) -> str:
    """The configuration that made the run."""
    if not run.results.config:
        return html.missing(run, "results.json", "results.json holds no config.")
    text = escape(json.dumps(run.results.config, indent=2, default=str, ensure_ascii=False))
    return html.folded("Show the configuration", f"<pre>{text}</pre>")


def curve(run: Run, arm: str, metric: Metric) -> tuple[list[float], list[float]]:
    """Steps and values; a step that a resumed run wrote twice counts once."""
    pairs = ((dig(row, "step"), dig(row, metric)) for row in run.metrics[arm])
    found = {step: value for step, value in pairs if step is not None and value is not None}
    return sorted(found), [found[step] for step in sorted(found)]


def _bars(results: Results, entries: Mapping[str, Accuracy]) -> list[plots.Bar]:
    return [
        plots.Bar(label(name, results), entries[name].accuracy, entries[name].bounds, name == results.headline)
        for name in table.ordered(entries, results)
        if finite(entries[name].accuracy) is not None
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
        for phase, series in phases.items():
            steps = sorted(series)
            legend = f"{name} ({phase})" if len(phases) > 1 else name
            panels.setdefault(figure(name), {})[legend] = (steps, [series[step] for step in steps])
    order = [*map(str, Figure)]
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
    lines = [_pair(pair, heaviest) for pair in sorted(practice, key=lambda pair: -(dig(pair, "weight") or 0.0))]
    columns = ("Practice problem", "Weight", "Helped", "Right", "Same family")
    return (
        f'<div class="example">{chips}<pre>{escape(str(example.get("prompt", "–")))}</pre><div class="answers">'
        f'<div><small>reference</small><span class="mono">{escape(str(example.get("reference", "–")))}</span></div>'
        f"{answers}</div>{html.grid(columns, 'llrll', lines)}</div>"
    )


def _pair(pair: dict[str, Any], heaviest: float) -> tuple[str, ...]:
    weight = dig(pair, "weight")
    return (
        f'<span class="mono">{escape(str(pair.get("text", "–")))}</span>',
        f'<span class="weight">{html.bar((weight or 0.0) / heaviest, 6)} {table.number(weight)}</span>',
        _signed(dig(pair, "attribution")),
        _mark(pair.get("correct")),
        _mark(pair.get("on_family")),
    )


def _decimal(statistic: float) -> str:
    """Three digits, or a dash where there was nothing to compute it from."""
    return f"{statistic:.3f}" if math.isfinite(statistic) else "–"


def _mark(verdict: Any) -> str:
    if verdict is None:
        return '<span class="none">–</span>'
    return '<span class="good">✓</span>' if verdict else '<span class="bad">✗</span>'


def _signed(attribution: float | None) -> str:
    """The negative of an attribution: positive where the pair helped."""
    return "–" if attribution is None else f"{-attribution + 0.0:+.2g}".replace("-", "−")
