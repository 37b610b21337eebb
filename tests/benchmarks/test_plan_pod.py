"""The planner without its compiler: what it reads from a compiled program, and what it refuses."""

from pathlib import Path

from experiments.benchmarks.plan_pod import collectives, largest, table

ROOT = Path(__file__).resolve().parents[2]
TEXT = """
ENTRY %main (p: f32[]) -> f32[] {
  %all-gather.1 = bf16[4,128,8]{2,1,0} all-gather(bf16[1,128,8]{2,1,0} %p), dimensions={0}
  %ag = (f32[2,4]{1,0}, f32[8,4]{1,0}) all-gather-start(f32[2,4]{1,0} %q), dimensions={0}
  %piece.1 = bf16[64]{0} all-gather(bf16[16]{0} %u), channel_id=3, dimensions={0}
  %piece.2 = bf16[64]{0} all-gather(bf16[16]{0} %v), channel_id=3, dimensions={0}
  %done = f32[8,4]{1,0} all-gather-done((f32[2,4]{1,0}, f32[8,4]{1,0}) %ag)
  ROOT %r = f32[] all-reduce(f32[] %s), to_apply=%add
  %fusion = f32[3]{0} fusion(f32[3]{0} %all-reduce.7), kind=kLoop
}
"""


def test_collectives_are_counted_once_each():
    assert collectives(TEXT) == {
        "all-gather": {"count": 3, "bytes": 4 * 128 * 8 * 2 + 8 * 4 * 4 + 64 * 2},
        "all-reduce": {"count": 1, "bytes": 4},
    }


def test_the_table_has_what_does_not_fit():
    row = {"mesh": "1x4x4", "problems": 4, "phase": "adapt", "estimator": "adjoint", "options": "microbatch=1"}
    row |= {"beside_bytes": 2**29, "compile_seconds": 61.0}
    fits = row | dict(argument_bytes=2**30, output_bytes=0, temp_bytes=2**31, fits=True, collectives=collectives(TEXT))
    none = row | dict(argument_bytes=None, output_bytes=None, temp_bytes=None, fits=False, collectives=None)
    rows = table([fits, none]).rows
    assert rows[0][3:9] == ("adjoint microbatch=1", "0.50", "1.00", "0.00", "2.00", "yes")
    assert "3 all-gather" in rows[0][9] and rows[0][10] == "1:01"
    assert rows[1][4:10] == ("0.50", "–", "–", "–", "no", "–")


def test_the_largest_number_that_fits_is_found_with_few_compilations():
    limits, asked = {"cheap": 16, "dear": 8}, []

    def fits(phase: str, count: int) -> bool:
        asked.append((phase, count))
        return count <= limits[phase]

    assert largest(fits, list(limits), [32, 4, 8, 16]) == 8
    assert asked == [("cheap", 32), ("cheap", 16), ("dear", 16), ("dear", 8)]
    limits["dear"] = 1
    assert largest(fits, list(limits), [4, 8]) == 4
