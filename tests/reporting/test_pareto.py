"""The plot of cost against accuracy, from a table that is kept."""

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from mass_jax.reporting import pareto
from mass_jax.reporting.pages import PageError, load
from mass_jax.reporting.table import Table

ROOT = Path(__file__).parents[2]


@pytest.fixture
def table() -> Table:
    return load(ROOT / "docs" / "data" / "cost.json")["rows"]


@pytest.mark.parametrize("cost", pareto.COSTS)
def test_points_are_the_rows_of_the_kept_table(table: Table, cost: str):
    found = pareto.points(table, cost)
    assert len(found) == len(table.rows) and [point.cost for point in found] == sorted(point.cost for point in found)
    assert all(point.cost > 0 for point in found), "a logarithmic axis"
    front = [point for point in found if point.best]
    assert [point.accuracy for point in front] == sorted({point.accuracy for point in front}), "it rises"
    assert all(
        point.best or any(each.cost <= point.cost and each.accuracy >= point.accuracy for each in front)
        for point in found
    )


def test_the_front_is_joined_and_labelled(table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    drawn = list[Figure]()
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda figure, *a, **k: (drawn.append(figure), save(figure, *a, **k)))
    path = pareto.save_plot(table, tmp_path / "new")
    assert path.read_bytes().startswith(b"\x89PNG") and path.name == "pareto.png"
    for axes, cost in zip(drawn[0].axes, pareto.COSTS, strict=True):
        front = [point for point in pareto.points(table, cost) if point.best]
        assert [text.get_text() for text in axes.texts] == [point.way for point in front]
        line = axes.lines[0]
        assert list(zip(*line.get_data(), strict=True)) == [(point.cost, point.accuracy) for point in front]
        assert sum(len(other.get_xdata()) for other in axes.lines[1:]) == len(table.rows)
        assert axes.get_xscale() == "log"


def test_another_table_is_refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    with pytest.raises(PageError, match="this is no table of costs"):
        pareto.points(Table(("Way", "Tokens"), "lr", [("a", "1")]), "tokens")
    monkeypatch.setattr("sys.argv", ["pareto", str(ROOT / "docs" / "data" / "attack.json"), str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        pareto.main()
    assert ended.value.code == 2 and "has no table of costs" in capsys.readouterr().err
