"""Compiled programs as text: where a collective stands, and how often it happens."""

from mass_jax.planning.hlo import collectives

TEXT = """HloModule jit_f, entry_computation_layout={(f32[4]{0})->f32[4]{0}}

%add (x: f32[], y: f32[]) -> f32[] {
  ROOT %sum = f32[] add(%x, %y)
}

%fused (p: f32[4]) -> f32[8] {
  ROOT %ag = (bf16[4,2]{1,0}, bf16[8,2]{1,0}) all-gather-start(%p), channel_id=1, dimensions={0}
}

%inner (p: (s32[], f32[4])) -> (s32[], f32[4]) {
  %x = f32[8] fusion(%p), kind=kCustom, calls=%fused
  %r = (f32[], f32[3]{0}) all-reduce(%x, %y), channel_id=2, to_apply=%add
}

%less (p: (s32[], f32[4])) -> pred[] {
  %three = s32[]{:T(128)} constant(3)
  ROOT %lt = pred[]{:T(512)} compare(%i, %three), direction=LT
}

%other (p: (s32[], f32[4])) -> pred[] {
  ROOT %lt = pred[] compare(%i, %limit), direction=LT
}

%outer (p: (s32[], f32[4])) -> (s32[], f32[4]) {
  ROOT %w.2 = (s32[], f32[4]) while(%p), condition=%c, body=%inner, backend_config={"known_trip_count":{"n":"5"}}
}

%branch (p: f32[4]) -> f32[4] {
  ROOT %b = f32[4] collective-permute(%p), channel_id=3
}

%counted (p: (s32[], f32[4])) -> (s32[], f32[4]) {
  ROOT %a = f32[2,4]{1,0:T(2,128)} all-to-all(%p), channel_id=4
}

ENTRY %main (p: f32[4]) -> f32[4] {
  %w.1 = (s32[], f32[4]) while(%t), condition=%other, body=%outer
  %w.3 = (s32[], f32[4]) while(%t), condition=%less, body=%counted
  %d = f32[4] conditional(%q, %p, %p), branch_computations={%branch, %branch}
  %done = f32[8] all-gather-done(%w.1)
}
"""


def test_collectives_are_found_in_fusions_loops_and_branches():
    found = sorted((x.kind, x.shapes, x.trips) for x in collectives(TEXT))
    assert found == [
        ("all-gather", (("bf16", (4, 2)), ("bf16", (8, 2))), (None, 5)),
        ("all-reduce", (("f32", ()), ("f32", (3,))), (None, 5)),
        ("all-to-all", (("f32", (2, 4)),), (3,)),
        ("collective-permute", (("f32", (4,)),), ()),
        ("collective-permute", (("f32", (4,)),), ()),
    ]
