"""The tables of `experiments.benchmarks.exactness`, from its rows."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.benchmarks.kept import interval_figure, mean_figure
from mass_jax.reporting.table import Table

CONTROLS = "controls"
"""The row of what is answered without a scorer."""
ANSWERED = {
    "none": "No update",
    "uniform": "Uniform weights",
    "right": "Right practice only",
    "gold": "Oracle's practice",
}
AGREED = {
    "cosine": "Cosine",
    "rank": "Rank correlation",
    "auc": "AUC, right from wrong",
    "largest": "Largest problem's share",
    "gate": "Cosine, gate",
}
TOLD = ("steps", "accuracy, %", "over exact", "log-likelihood", "gate")


def tables(rows: Sequence[Mapping[str, Any]], exact: str) -> dict[str, Table]:
    """What is kept of rows of several seeds.

    Args:
      rows: each with its ``setting``, ``seed`` and ``row``, and what was measured.
      exact: the row that trained scorers are compared with, on the same seeds and after the steps that it has.
    """
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for each in rows:
        groups.setdefault((each["setting"], each["row"]), []).append(each)
    controls, agreed, answered = [], [], []
    for (setting, row), found in groups.items():
        if row == CONTROLS:
            controls.append((setting, *(mean_figure([100 * each[name] for each in found], 1) for name in ANSWERED)))
            continue
        if "cosine" in found[0]:
            cells = [mean_figure([each[name] for each in found], 2) for name in AGREED]
            agreed.append((setting, row, *cells, f"{found[0]['operations']:.2f}", _seconds(found)))
        if "answers" in found[0]:
            of_seed = {each["seed"]: each["answers"][0]["accuracy"] for each in groups[setting, exact]}
            cells = [cell for place in (0, 1) for cell in _answers(found, place, of_seed)]
            answered.append((setting, row, *cells))
    told = [f"{kind}: {name}" for kind in ("Equal steps", "Equal operations") for name in TOLD]
    agreeing = (*AGREED.values(), "Operations", "Seconds a step")
    return {
        "controls": Table(("Setting", *ANSWERED.values()), "l" + "r" * len(ANSWERED), controls),
        "agreement": Table(("Setting", "Estimator", *agreeing), "ll" + "r" * len(agreeing), agreed),
        "accuracy": Table(("Setting", "Scorer trained by", *told), "ll" + "r" * len(told), answered),
    }


def _answers(found: Sequence[Mapping[str, Any]], place: int, exact: Mapping[int, float]) -> list[str]:
    """The cells of `TOLD`; what is over the exact row is paired by seeds."""
    answers = [each["answers"][place] for each in found]
    points = [100 * answer["accuracy"] for answer in answers]
    gains = [one - 100 * exact[each["seed"]] for one, each in zip(points, found, strict=True) if each["seed"] in exact]
    means = [
        f"{np.mean([answer[name] for answer in answers]):.2f}".replace("-", "−") for name in ("likelihood", "gate")
    ]
    return [str(found[0]["steps"][place]), mean_figure(points, 1), interval_figure(gains, 1), *means]


def _seconds(found: Sequence[Mapping[str, Any]]) -> str:
    taken = [each["seconds"] for each in found if "seconds" in each]
    return f"{np.median(taken):.2f}" if taken else "–"
