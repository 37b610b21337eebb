"""The cost model's command: what it reads from a compiled program, what it prints, and what it refuses."""

from pathlib import Path

import pytest

from experiments.benchmarks.cost_model import Compiled, comparison, layers_gathered, table
from mass_jax.planning import cost
from mass_jax.planning.chips import CHIPS
from mass_jax.planning.cost import Chips, CostModel
from tests.planning.test_cost import CHECKS, DOCUMENTS, METHOD, PROBLEMS, VERIFIER

ROOT = Path(__file__).resolve().parents[2]
TEXT = """
%less (p: s32[]) -> pred[] {
  %three = s32[] constant(3)
  ROOT %lt = pred[] compare(%i, %three), direction=LT
}

%scan (p: f32[4]) -> f32[4] {
  %piece = bf16[1,28,44]{2,1,0} all-gather(%p), channel_id=1
  %other = bf16[1,28,44]{2,1,0} all-gather(%p), channel_id=1
  %activation = bf16[16,44]{1,0} all-gather(%p), channel_id=2
  %gradient = bf16[44,28]{1,0} all-reduce(%p), channel_id=3
}

%write (p: f32[4]) -> f32[4] {
  %w.2 = f32[4] while(%t), condition=%less, body=%scan
}

ENTRY %main (p: f32[4]) -> f32[4] {
  %w.1 = f32[4] while(%t), condition=%unknown, body=%write
}
"""


def test_gathers_of_the_matrices_are_counted_as_often_as_loops_go_round():
    assert layers_gathered(TEXT, {(28, 44), (26, 44)}, 5) == 2 * 28 * 44 * 3 * 5
    assert layers_gathered(TEXT, {(26, 44)}, 5) == 0


def test_the_tables_have_a_row_for_each_program():
    model = CostModel(METHOD, Chips(1, 4, 2))
    programs = cost.programs(METHOD, VERIFIER, CHECKS, PROBLEMS, DOCUMENTS, model.chips)
    rows = table(model, programs, CHIPS["v5e"]).rows
    assert [row[0] for row in rows] == [*(program.name for program in programs), "together"]
    assert float(rows[-1][7]) == pytest.approx(sum(float(row[7]) for row in rows[:-1]), rel=0.01)
    price = model.price(programs[0].asked)
    compiled = Compiled(price.arguments, 2 * price.temporary, 0.0)
    (row,) = comparison(model, programs, {programs[0].name: compiled}).rows
    assert row[2] == "1.00" and row[4] == "0.50" and row[6] == "–"
