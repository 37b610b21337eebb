"""Sessions: what an update begins at and learns again, how far it may go, and that a kill loses nothing."""

import contextlib
import copy
import dataclasses
import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mass_jax import Policy, Session
from mass_jax.errors import InputError
from mass_jax.guard import canaries, drift
from mass_jax.guard.calibration import Calibration
from mass_jax.guard.guard import NOT_FINITE, Guard
from mass_jax.guard.thresholds import Thresholds
from mass_jax.inference import budget, phases
from mass_jax.inference.adapter import MassAdapter
from mass_jax.inference.options import Options
from mass_jax.inference.sessions import buffer, mixture, state
from mass_jax.inference.sessions.buffer import Buffer, Kept
from mass_jax.mass import attribution
from mass_jax.mass.packing import mean_log_probs
from mass_jax.mass.practice import pack_practice
from mass_jax.mass.scorer import Scores
from mass_jax.study.load import read_config
from mass_jax.types import PyTree
from tests import programs
from tests.inference.conftest import RUN, Command


def equal(one: PyTree, other: PyTree) -> bool:
    same = jax.tree.map(lambda x, y: np.asarray(x).tobytes() == np.asarray(y).tobytes(), one, other)
    return jax.tree.all(same)


def norm(one: PyTree, other: PyTree) -> float:
    return float(jnp.sqrt(sum(jnp.sum((x - y) ** 2) for x, y in zip(*map(jax.tree.leaves, (one, other)), strict=True))))


@pytest.fixture(scope="module")
def fresh(adapter: MassAdapter) -> PyTree:
    return phases.fresh_adapter(adapter.learner.actor)


@pytest.fixture(scope="module")
def free(adapter: MassAdapter) -> Calibration:
    """Without limits. This model solves next to nothing: its canaries are what it says itself."""
    problems = read_config(RUN).task.load("test")[4:8]
    found = adapter.adapt(list(problems[:2]), Options(update=False))
    held = tuple(dataclasses.replace(p, solution=each.answer) for p, each in zip(problems, found, strict=False))
    likelihoods = canaries.asked(adapter.learner.actor, None, held, 1)[1]
    return Calibration(Thresholds(), tuple(problems[2:]), held, tuple(likelihoods[0].tolist()), "model")


def limited(adapter: MassAdapter, free: Calibration, **limits: float) -> MassAdapter:
    return dataclasses.replace(adapter, guard=Guard(dataclasses.replace(free, thresholds=Thresholds(**limits))))


def test_a_session_that_resets_is_none(adapter: MassAdapter, texts: list[str]):
    session = Session(adapter)
    found, alone = session.adapt(texts), adapter.adapt(texts)
    assert [each.as_json(timing=False) for each in found] == [each.as_json(timing=False) for each in alone]
    assert (session.state.problems, session.state.adapter, session.state.buffer) == (3, None, Buffer())


def test_an_update_begins_at_what_is_carried(adapter: MassAdapter, texts: list[str], fresh: PyTree):
    session = Session(adapter, Policy(decay=0.5))
    first = session.adapt(texts[0])
    assert equal(first.adapter, adapter.adapt(texts[0]).adapter), "the first one begins at the base"
    second, alone = session.adapt(texts[1]), adapter.adapt(texts[1])
    assert second.answer_before == alone.answer_before and second.practice == alone.practice
    actor, problems = adapter.learner.actor, [adapter.learner.read(texts[1])] * 2
    sets = pack_practice(actor, problems, [[each.practice for each in second.practice]] * 2)
    weights = np.array([[each.weight for each in second.practice]] * 2, np.float32)
    scores = Scores(weights, weights, np.full(2, second.gate, np.float32))
    start = jax.tree.map(lambda x, y: x + np.float32(0.5) * (y - x), fresh, first.adapter)
    expected = attribution.adapt_and_tell(actor, start, scores, sets.arrays.examples)[0]
    assert norm(jax.tree.map(lambda leaf: leaf[0], expected), session.state.adapter) < 1e-5
    assert norm(session.state.adapter, alone.adapter) > 0.05


def test_a_mixture_is_the_mean_over_what_is_there(adapter: MassAdapter, texts: list[str], fresh: PyTree):
    actor, problem = adapter.learner.actor, adapter.learner.read(texts[0])
    found, again = adapter.adapt(texts[0]), adapter.adapt(texts[1])
    sets = pack_practice(actor, [problem] * 2, [[each.practice for each in found.practice]] * 2)
    weights = np.array([[each.weight for each in found.practice]] * 2, np.float32)
    scores = Scores(weights, weights, np.ones(2, np.float32))
    replay = [Kept(texts[1], e.practice.prompt, e.practice.solution, e.weight) for e in again.practice if e.weight][:2]
    count, examples = actor.method.generator.examples, sets.arrays.examples
    for some in ([], replay):
        moved, joined, packed = mixture.mixed(actor, scores, examples, some, 4)
        assert moved.method.generator.examples == count + 4
        _, losses = attribution.adapt_and_tell(moved, fresh, joined, packed)
        # The first of two steps has the first half of both.
        texts_of = [e.practice for e in found.practice][: count // 2] + [each.practice for each in some]
        own = pack_practice(actor, [problem], [texts_of]).arrays.examples
        log_probs = mean_log_probs(actor.method.model, actor.params, None, jax.tree.map(lambda leaf: leaf[0], own))
        each = np.concatenate([weights[0, : count // 2], [kept.weight for kept in some]])
        expected = -float(np.sum(each * log_probs)) / (count + 4) * 2 * (count + 4) / (count + len(some))
        assert float(losses[0, 0]) == pytest.approx(expected, rel=1e-4)


def test_what_is_replayed_changes_the_update(adapter: MassAdapter, texts: list[str]):
    session = Session(adapter, Policy(buffer=6))
    first = session.adapt(texts[0])
    kept = session.state.buffer
    second = session.adapt(texts[1])
    alone = adapter.adapt(texts[:2])
    assert norm(first.adapter, alone[0].adapter) < 1e-4, "there is nothing to replay yet"
    assert norm(second.adapter, alone[1].adapter) > 0.05
    assert session.state.adapter is None and 0 < len(session.state.buffer.kept) <= 6
    learned = [{phase.name: phase.tokens for phase in each.phases}["adapt"] for each in (second, alone[1])]
    assert learned[0] > learned[1]
    method, tight = adapter.learner.actor.method, Session(adapter, Policy(buffer=6))
    for room in (0, 2):
        tight.state = dataclasses.replace(session.state, buffer=kept)
        most = budget.tokens(method, Options()) + room * method.lengths.practice
        found = tight.adapt(texts[1], Options(tokens=most))
        assert found.tokens <= most
        assert ({phase.name: phase.tokens for phase in found.phases}["adapt"] > learned[1]) == (room > 0)


def test_a_buffer_is_a_bounded_sample_of_everything():
    given = [Kept(str(i % 5), f"p{i}", "s", 1.0) for i in range(300)]
    whole = buffer.with_new(Buffer(), given, 20)
    parts = buffer.with_new(buffer.with_new(Buffer(), given[:123], 20), given[123:], 20)
    assert whole == parts and len(whole.kept) == 20 and whole.offered == 300
    places = [int(each.prompt[1:]) for each in whole.kept]
    assert min(places) < 60 and max(places) > 240 and len(set(places)) == 20
    some = buffer.drawn(whole, 5)
    assert {each.problem for each in some} == {str(i) for i in range(5)}, "one of each problem"
    assert len(buffer.drawn(whole, 50)) == 20 and buffer.drawn(Buffer(), 5) == []


def test_what_is_known_by_now_is_practised_again(adapter: MassAdapter, texts: list[str]):
    session, solution = Session(adapter, Policy(buffer=4)), adapter.adapt(texts[0]).answer
    session.remember(texts[0], solution)
    assert session.state.buffer.kept == (Kept(texts[0], texts[0], solution, 1.0),)
    with pytest.raises(InputError, match="is too long beside its problem"):
        session.remember(texts[0], " ".join([solution] * 50))
    with pytest.raises(InputError, match="keeps no examples"):
        Session(adapter).remember(texts[0], solution)


def test_the_drift_budget_bounds_the_whole_way(adapter: Any, texts: list[str], free: Calibration, fresh: PyTree):
    one = norm(adapter.adapt(texts[0]).adapter, fresh)
    policy, stream = Policy(decay=1.0, drift=1.5), [text for text in texts for _ in range(2)]
    wild = Session(dataclasses.replace(adapter, guard=None), policy)
    wild.adapt(stream)
    assert norm(wild.state.adapter, fresh) > 1.6 * one
    held = Session(limited(adapter, free, norm=one), policy)
    found = held.adapt(stream)
    assert norm(held.state.adapter, fresh) <= 1.5 * one * 1.001
    last = found[-1].verdict
    assert last.outcome == "scaled" and drift.CHECK in last.checks and last.norm <= 1.5 * one * 1.001
    step = Session(limited(adapter, free, norm=one / 4), Policy(decay=1.0)).adapt(texts[0]).verdict
    assert step.norm == pytest.approx(one / 4, rel=1e-3) and step.reason.startswith("the update's norm is ")
    near = Session(limited(adapter, free, kl=found[0].verdict.kl / 2), policy).adapt(texts[:2])
    assert all(each.verdict.kl <= found[0].verdict.kl * 0.75 * 1.001 for each in near)


def test_what_is_refused_rolls_back(adapter: Any, texts: list[str], free: Calibration, fresh: PyTree):
    session = Session(limited(adapter, free), Policy(decay=0.5, buffer=4))
    before = session.adapt(texts[0])
    kept = session.state.buffer
    session._adapter = limited(adapter, free, norm=0.0)
    found = session.adapt(texts[1])
    assert not found.updated and found.answer == found.answer_before
    assert session.state.buffer == kept and (session.state.updates, session.state.refused) == (1, 1)
    assert norm(session.state.adapter, fresh) == pytest.approx(norm(before.adapter, fresh) / 2, rel=1e-4)
    guard, actor = Guard(free), adapter.learner.actor
    bad = jax.tree.map(lambda leaf: jnp.stack([leaf * jnp.nan] * 2), fresh)
    back, verdicts = drift.Drift(guard, fresh, 2.0).hold(actor, [adapter.learner.read(texts[0])] * 2, fresh, bad)
    assert verdicts[0].reason == NOT_FINITE and equal(jax.tree.map(lambda leaf: leaf[0], back), fresh)


def test_a_session_goes_on_to_the_last_bit(adapter: MassAdapter, texts: list[str], tmp_path: Path):
    policy = Policy(decay=0.5, buffer=5)
    whole = Session(adapter, policy)
    wanted = whole.adapt(texts)
    for text in texts[:2]:
        with Session(adapter, policy, tmp_path) as session:
            session.adapt(text)
    with Session(adapter, None, tmp_path) as session:
        assert session.state.problems == 2 and session.state.policy == policy
        assert session.adapt(texts[2]).as_json(timing=False) == wanted[2].as_json(timing=False)
        assert equal(session.state.adapter, whole.state.adapter) and session.state.buffer == whole.state.buffer
        with pytest.raises(InputError, match="is open in another program"):
            Session(adapter, None, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", state.FILE]


def test_another_session_is_refused(adapter: MassAdapter, texts: list[str], tmp_path: Path):
    with Session(adapter, Policy(decay=0.5), tmp_path) as session:
        session.adapt(texts[0])
    text = (tmp_path / state.FILE).read_text()
    with pytest.raises(InputError, match=r"begun with another policy \(carry 0.5, drift 2, not reset each time\)"):
        Session(adapter, Policy(), tmp_path)
    learner = adapter.learner
    trained = jax.tree.map(lambda leaf: leaf * 1.01, learner.actor.params)
    other = dataclasses.replace(
        adapter, learner=dataclasses.replace(learner, actor=learner.actor.replace(params=trained))
    )
    with pytest.raises(InputError, match="is a session of another model .*: give the model that it was begun with"):
        Session(other, None, tmp_path)
    for damaged in (text[:-20], text.replace('"updates": 1', '"updates": 2'), "[]", "{}"):
        (tmp_path / state.FILE).write_text(damaged)
        with pytest.raises(InputError, match="cannot be read as a session"):
            Session(adapter, None, tmp_path)
    assert (tmp_path / state.FILE).read_text() == "{}", "nothing is written over"


EDITED: dict[str, Callable[[dict[str, Any]], object]] = {
    "problems": lambda found: found.update(problems="2"),
    "refused": lambda found: found.update(refused=-1),
    "updates": lambda found: found.update(updates=True),
    "ticket": lambda found: found.update(ticket=None),
    "answer": lambda found: found.update(answer=["4"]),
    "phases": lambda found: found["answer"].update(phases={"write": 1}),
    "guard": lambda found: found.update(guard=["none"]),
    "offered": lambda found: found["buffer"].update(offered=None),
    "weight": lambda found: found["buffer"]["kept"][0].update(weight=float("nan")),
    "solution": lambda found: found["buffer"]["kept"][0].update(solution=7),
    "nonsense": lambda found: found["buffer"]["kept"][0].update(prompt="nonsense"),
    "lengths.practice": lambda found: found["buffer"]["kept"][0].update(solution="1 " * 500),
}


def test_a_state_that_was_edited_by_hand_is_a_sentence(adapter: MassAdapter, texts: list[str], tmp_path: Path):
    with Session(adapter, Policy(buffer=4), tmp_path) as session:
        session.adapt(texts[0])
    kept = json.loads((tmp_path / state.FILE).read_text())
    del kept["checksum"]
    for words, edit in {"": lambda found: None, **EDITED}.items():
        edit(edited := copy.deepcopy(kept))
        (tmp_path / state.FILE).write_text(json.dumps(edited))
        with contextlib.ExitStack() as stack:
            if words:
                stack.enter_context(pytest.raises(InputError, match=f"cannot be read as a session .*{words}"))
            Session(adapter, None, tmp_path).close()


def test_a_session_that_a_guard_stood_over_does_not_go_on_without_it(
    adapter: MassAdapter, tmp_path: Path, free: Calibration
):
    guards = None, Guard(), Guard(free)
    for begun, first in enumerate(guards):
        folder = tmp_path / str(begun)
        with Session(dataclasses.replace(adapter, guard=first), Policy(decay=0.5), folder) as session:
            session._keep(session.state)
        for now, other in enumerate(guards):
            with contextlib.ExitStack() as stack:
                if now < begun:
                    stack.enter_context(pytest.raises(InputError, match="was begun with a guard, and .* --no-guard"))
                Session(dataclasses.replace(adapter, guard=other), None, folder).close()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"decay": 1.1}, "decay = 1.1: give a number from 0 to 1"),
        ({"decay": float("nan")}, "decay = nan"),
        ({"buffer": -1}, "buffer = -1: give a whole number from 0 to 4096"),
        ({"drift": 0.5}, "drift = 0.5: give a number of at least 1"),
    ],
)
def test_a_policy_out_of_its_range_is_a_sentence(fields: dict[str, Any], words: str):
    with pytest.raises(InputError, match=words):
        Policy(**fields)


def test_what_cannot_be_a_session_is_a_sentence(adapter: MassAdapter, tmp_path: Path):
    with pytest.raises(InputError, match="decay = 1 without a calibration of the guard"):
        Session(adapter, Policy(decay=1.0))
    with pytest.raises(InputError, match="an audit is of updates that begin at the base"):
        Session(dataclasses.replace(adapter, audit=tmp_path / "audit"), Policy(decay=0.5))
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be made"):
        Session(adapter, None, tmp_path / "file")


def test_a_full_disk_leaves_the_state_as_it_was(
    adapter: MassAdapter, texts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with Session(adapter, Policy(decay=0.5), tmp_path) as session:
        session.adapt(texts[0])
        before, text = session.state, (tmp_path / state.FILE).read_text()

        def full(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        with (
            monkeypatch.context() as patch,
            pytest.raises(InputError, match="No space left on device.*: make room, .* start the same again.$"),
        ):
            patch.setattr("os.fsync", full)
            session.adapt(texts[1])
        assert session.state is before and (tmp_path / state.FILE).read_text() == text


def given(texts: list[str], folder: Path) -> Path:
    path = folder / "problems.jsonl"
    rows = [{"problem": texts[i % len(texts)], "seed": i} for i in range(4)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "nonsense\n")
    return path


def test_a_kill_loses_nothing_and_doubles_nothing(command: Command, texts: list[str], tmp_path: Path):
    problems, out, folder = given(texts, tmp_path), tmp_path / "answers.jsonl", tmp_path / "killed"
    words = ["--quiet", "--carry=0.5", "--replay=6", "--file", problems]
    done = subprocess.run(
        programs.command("inference.program_session", str(folder), str(problems), str(out)),
        cwd=programs.ROOT,
        env=programs.environment(),
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert json.loads((folder / state.FILE).read_text())["problems"] == 2 == out.read_text().count("\n")
    assert command(*words, "--session", folder, "--out", out).status == 1
    whole = tmp_path / "whole.jsonl"
    assert command(*words, "--session", tmp_path / "whole", "--out", whole).status == 1
    ours, theirs = ([json.loads(line) for line in path.read_text().splitlines()] for path in (out, whole))
    requests = [[each.pop("request") for each in found] for found in (ours, theirs)]
    assert ours == theirs and not set(requests[0]) & set(requests[1]), "what a session answers is of that session"
    assert "has other answers" in command(*words, "--session", tmp_path / "whole", "--out", out).err
    ends = [json.loads((path / state.FILE).read_text()) for path in (folder, tmp_path / "whole")]
    assert ends[0]["problems"] == 4 and ends[0]["adapter"] is not None
    assert all(ends[0][name] == ends[1][name] for name in ("adapter", "buffer", "updates", "problems"))


def test_an_answer_that_was_not_handed_over_is_not_given_twice(command: Command, texts: list[str], tmp_path: Path):
    out = tmp_path / "answers.jsonl"
    problems = tmp_path / "problems.jsonl"
    problems.write_text("".join(json.dumps({"problem": text}) + "\n" for text in texts[:2]))
    words = ["--quiet", "--carry=0.5", "--session", tmp_path / "s", "--file", problems, "--out", out]
    assert command(*words) == (0, "", "")
    whole, kept = out.read_text(), (tmp_path / "s" / state.FILE).read_text()
    out.write_text(whole.splitlines(keepends=True)[0])  # killed behind the state, before the line
    assert command(*words) == (0, "", "")
    assert (out.read_text(), (tmp_path / "s" / state.FILE).read_text()) == (whole, kept)


def test_the_command_goes_on_with_a_session(command: Command, adapter: MassAdapter, texts: list[str], tmp_path: Path):
    session = Session(adapter, Policy(decay=0.25))
    for text in texts[:2]:
        ended = command("--quiet", "--session", tmp_path, "--carry=0.25", text)
        assert ended == (0, f"{session.adapt(text).answer}\n", "")
    found = json.loads(command("--quiet", "--json", "--session", tmp_path, texts[2]).out)
    assert found == session.adapt(texts[2]).as_json(timing=False), "the policy is known by now"


def test_a_home_that_no_user_has_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert state.opened("~no_such_user/x") == Path("~no_such_user/x") and (tmp_path / "~no_such_user" / "x").is_dir()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["1 + 1", "--carry=0.5"], "--carry and --replay say what a session keeps: give --session a folder"),
        (["1 + 1", "--session=x", "--batch=2"], "--batch=2: a session's problems are answered one after another"),
        (["1 + 1", "--session=x", "--carry=2"], "decay = 2.0: give a number from 0 to 1"),
    ],
)
def test_what_cannot_be_meant_is_a_sentence(command: Command, words: list[str], sentence: str):
    ended = command(*words)
    assert ended.status == 2 and sentence in ended.err and ended.err.count("\n") == 1
