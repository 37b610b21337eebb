"""The table of the benchmark of credits, and what its rows ask for."""

import pytest

from configs import demo
from experiments.benchmarks import signal
from mass_jax.errors import InputError
from mass_jax.mass.credit import KINDS
from mass_jax.study.config import read


def test_every_kind_of_credit_has_a_row_and_all_have_names_of_their_own():
    assert {row.kind for row in signal.ROWS} == {*KINDS}
    assert len({row.label for row in signal.ROWS}) == len(signal.ROWS)
    assert len({row[1:] for row in signal.ROWS}) == len(signal.ROWS), "two rows measure the same"


def test_the_table_has_means_over_seeds():
    found = {
        "Base": [{row.label: [seed + 1.0, 0.5, 2.0] for row in signal.ROWS} for seed in (0, 1)],
        "Trained": [{row.label: [0.25, 0.0, 1.0] for row in signal.ROWS}],
    }
    table = signal.table(found)
    assert table.columns[:2] == ("Credit", "Base: d', z-scores")
    assert len(table.rows) == len(signal.ROWS)
    assert table.rows[0] == ("marginal", "1.50 ± 0.71", "0.50 ± 0.00", "2.00 ± 0.00", "0.25", "0.00", "1.00")


def test_an_arm_that_is_not_there_is_a_sentence(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(signal.flags, "FLAGS", type("Flags", (), {"arm": "mess", "seeds": ["0"]}))
    with pytest.raises(InputError, match="--arm=mess: the config has the arms mass, .*: choose one of them"):
        signal.main(read(demo.get_config()), tmp_path)
