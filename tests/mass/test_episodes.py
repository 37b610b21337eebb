"""Episodes: whoever writes what, the tools' words are read and not learned, and a batch changes nothing."""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np
import pytest

from mass_jax.adapt import run, unadapted
from mass_jax.errors import InputError
from mass_jax.mass import attribution, episodes
from mass_jax.mass.actor import Actor
from mass_jax.mass.episodes import solved
from mass_jax.mass.generator import solving
from mass_jax.mass.method import LengthConfig
from mass_jax.mass.packing import pack, solution, taken, target_log_probs
from mass_jax.mass.practice import pack_practice
from mass_jax.models.cross_entropy import Draw
from mass_jax.models.sampling import Prompts, Samples, SamplingSpec
from mass_jax.models.tokenizer import WordTokenizer
from mass_jax.tasks.agent.documents import EXAMPLE, facts
from mass_jax.tasks.agent.rules import Rule, vocabulary
from mass_jax.tasks.agent.task import AgentTask
from mass_jax.tasks.base import MALFORMED, Domain, Piece, Practice, Problem
from tests.mass import tiny
from tests.models import tiny as models

MINE = "a*d c = read a > read d > calc 6 * 8 > write c 48 > done"
EPISODE = "a*d c = read a > 6 read d > 8 calc 6 * 8 > 48 write c 48 > ok done"
PROBLEM = Problem(EXAMPLE, EPISODE, facts(EXAMPLE), 0, 0)
OTHER = Problem(EXAMPLE.replace("? a6", "? a7"), "", facts(EXAMPLE), 0, 0)
ROOM = 24
SAID = "7"
HOT = 6.0
"""The temperature at which a random model calls often."""
KEYS = [jax.random.key(0), jax.random.key(1)]


class Chatty(AgentTask):
    """Tools that say the same word to whatever is called, so that a random model gets to hear it, four times."""

    def answered(self, problem: Problem, text: str) -> str | None:
        return SAID if text.count(">") <= 4 else None


def make_actor(task: AgentTask, words: Sequence[str], room: int = ROOM) -> Actor:
    tokenizer = WordTokenizer(words)
    method = tiny.make_method()
    model = dataclasses.replace(method.model, vocab_size=tokenizer.vocab_size, context=64)
    lengths = LengthConfig(prompt=24, solution=room, synthesis=room, practice=24 + room, check=48)
    method = dataclasses.replace(method, model=model, lengths=lengths)
    return Actor(models.make_params(model, 3), method, Domain(task, tokenizer))


ACTOR = make_actor(AgentTask((Rule("a", "*", "d", "c"),)), vocabulary())
CHATTY = make_actor(Chatty(()), [":", ">", SAID, "a", "b"], room=14)
ASKED = [Problem(prompt, "", (), -1, -1) for prompt in ("a b a", "b", "a a a b a b", "b b")]


def told(texts: list[list[str]]) -> int:
    return sum(text.count(f"> {SAID}") for row in texts for text in row)


def ask(problems: list[Problem], samples: int, key: int = 0, adapters=None, places=None):
    prompts = [CHATTY.task.solve_prompt(problem.prompt) for problem in problems]
    return solved(CHATTY, adapters, problems, prompts, KEYS[key], solving(CHATTY, samples, HOT), places)


def scripted(config, params, adapter, prompts: Prompts, key, spec: SamplingSpec, adapter_per_problem: bool) -> Samples:
    """In place of `sample`: the calls that carry out ``a*d c``, by what was said to those before."""
    tokenizer = ACTOR.tokenizer
    tokens = np.zeros((len(prompts.tokens_PxT), 1, ROOM), np.int32)
    for row, written, length in zip(tokens, prompts.tokens_PxT, prompts.lengths_P, strict=True):
        said = [part.split(" ")[0] for part in tokenizer.decode(written[:length]).partition(" :")[2].split("> ")[1:]]
        first, last = (said[0], said[-1]) if said else ("", "")
        calls = ["a*d c = read a >", "read d >", f"calc {first} * {last} >", f"write c {last} >", "done"]
        ids = [*tokenizer.encode(calls[len(said)]), *[tokenizer.eos_id] * (len(said) == 4)]
        row[0, : len(ids)] = ids
    return Samples(tokens, np.full(tokens.shape, -0.5, np.float32) * (tokens > 0), tokens > 0)


OTHERS = EPISODE.replace("> 6", "> 7").replace("calc 6", "calc 7").replace("48", "56")
"""What the script makes of `OTHER`."""


def test_a_model_that_follows_a_script_hears_its_own_world(monkeypatch: pytest.MonkeyPatch):
    shapes = []

    def sample(config, params, adapter, prompts: Prompts, key, spec: SamplingSpec, adapter_per_problem: bool):
        shapes.append((prompts.tokens_PxT.shape, spec, config))
        return scripted(config, params, adapter, prompts, key, spec, adapter_per_problem)

    monkeypatch.setattr(episodes, "sample", sample)
    prompts = [ACTOR.task.solve_prompt(EXAMPLE)] * 2
    found = solved(ACTOR, None, [PROBLEM, OTHER], prompts, KEYS[0], solving(ACTOR, 1, 0.0))
    assert found.texts == [[EPISODE], [OTHERS]], "the same prompt, and what is in the files is each problem's own"
    verdicts = ACTOR.task.grade([PROBLEM, OTHER, PROBLEM], [EPISODE, OTHERS, OTHERS])
    assert [verdict.reason for verdict in verdicts[:2]] == ["c holds 48", "c holds 56"]
    assert not verdicts[2].correct, "what was said in another world does not pass"
    assert len(shapes) == 5 and len(set(shapes)) == 1, "a turn is a call, of one shape"
    own = found.sequences.target[0, 0]
    assert ACTOR.tokenizer.decode(found.sequences.tokens[0, 0][own]) == MINE
    assert np.allclose(found.log_probs_PxS, -0.5 * own.sum()), "of its own tokens, its end included"


def test_whatever_answers_does_so_in_episodes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(episodes, "sample", scripted)
    prompts = [ACTOR.task.solve_prompt(EXAMPLE)] * 2
    both = [PROBLEM, OTHER]
    assert run.solve(ACTOR, both, run.Ready(prompts, 24, None, None)) == [EPISODE, OTHERS]
    assert unadapted.voted(ACTOR, both, "majority", KEYS[0]) == [EPISODE, OTHERS]
    attempts, log_probs = attribution.attempts(ACTOR, None, both, KEYS[0], samples=3).result()
    assert attempts.graded.correct_PxS.all() and log_probs.shape == (2, 3)
    targets = attempts.weighed.sequences.target
    assert (targets.sum(axis=-1) == len(ACTOR.tokenizer.encode(MINE)) + 1).all()


def test_what_is_learned_from_is_what_the_model_wrote():
    found = ask(ASKED, samples=3)
    assert told(found.texts) >= 5
    flat = jax.tree.map(lambda leaf: leaf.reshape(-1, leaf.shape[-1]), found.sequences)
    again, _ = target_log_probs(CHATTY.method.model, CHATTY.params, None, flat, Draw(HOT))
    assert np.allclose(again, found.log_probs_PxS.reshape(-1), atol=1e-4)
    for text, tokens, target in zip(sum(found.texts, []), *flat, strict=True):
        own = "".join(piece.text for piece in CHATTY.task.pieces(text) if piece.own)
        assert CHATTY.tokenizer.decode(tokens[target]) == own.strip(), "without what tools said"
        assert CHATTY.tokenizer.decode(tokens[int(target.argmax()) :]) == text


def test_a_batch_changes_nothing():
    adapters = jax.vmap(lambda key: attribution.fresh_adapter(CHATTY, key))(jax.random.split(jax.random.key(1), 4))
    adapters = jax.tree.map(lambda leaf: leaf + 0.3 * jax.random.normal(jax.random.key(2), leaf.shape), adapters)
    plain = [ask([problem], 2, places=np.array([p], np.int32)).texts[0] for p, problem in enumerate(ASKED)]
    assert ask(ASKED, 2).texts == plain and told(plain) >= 3
    assert ask(ASKED, 3).texts == [[*row, new] for row, (*_, new) in zip(plain, ask(ASKED, 3).texts, strict=True)]
    with jax.transfer_guard("disallow"):  # as in a step
        adapted = ask(ASKED, 2, adapters=adapters).texts
    assert adapted != plain
    for p, problem in enumerate(ASKED):
        own = jax.tree.map(lambda leaf, p=p: leaf[p : p + 1], adapters)
        assert ask([problem], 2, adapters=own, places=np.array([p], np.int32)).texts[0] == adapted[p]
    assert ask(ASKED, 2, key=1).texts != plain


def test_an_episode_ends_where_its_room_does(monkeypatch: pytest.MonkeyPatch):
    mark = CHATTY.tokenizer.encode(">")[0]

    def endless(config, params, adapter, prompts: Prompts, key, spec, adapter_per_problem: bool):
        tokens = np.full((len(prompts.tokens_PxT), 1, spec.max_new_tokens), mark, np.int32)
        first = np.arange(spec.max_new_tokens) < 1
        return Samples(tokens, np.zeros(tokens.shape, np.float32), np.broadcast_to(first, tokens.shape))

    monkeypatch.setattr(episodes, "sample", endless)
    monkeypatch.setattr(Chatty, "answered", lambda task, problem, text: SAID)
    found = ask(ASKED[:1], 1)
    assert found.texts == [[" ".join(["> 7"] * 7)]] and found.sequences.target.sum() == 7
    monkeypatch.setattr(Chatty, "answered", lambda task, problem, text: "7 7 7 7 7")
    assert ask(ASKED[:1], 1).texts == [["> 7 7 7 7 7 > 7 7 7 7 7 > 7"]]


def test_practice_and_references_are_not_learned_where_tools_wrote():
    def own(sequences) -> str:
        assert sequences.tokens[sequences.target][-1] == ACTOR.tokenizer.eos_id
        return ACTOR.tokenizer.decode(sequences.tokens[sequences.target])

    reference = attribution.references(ACTOR, [PROBLEM]).weighed.sequences
    assert own(reference) == MINE
    practice = Practice(EXAMPLE, EPISODE, True)
    sets = pack_practice(ACTOR, [PROBLEM], [[practice, MALFORMED]])
    assert own(jax.tree.map(lambda leaf: leaf[0, 0], sets.arrays.examples)) == MINE
    assert not sets.arrays.examples.target[0, 1].any()
    related = attribution.siblings(ACTOR, [PROBLEM], 2, [np.random.default_rng(0)]).sequences
    texts = [own(jax.tree.map(lambda leaf, i=i: leaf[0, i], related)) for i in range(3)]
    assert texts[0] == MINE and all(text.split(" > ")[-1] == "done" for text in texts) and len({*texts}) == 3


def test_pieces_are_packed_in_their_order():
    tokenizer, pieces = ACTOR.tokenizer, [Piece("a c", True), Piece(" b", False), Piece(" d", True)]
    packed = pack(tokenizer, [("ok", pieces), ("ok", "a c b d")], 8, "the test's length")
    assert (packed.tokens[0] == packed.tokens[1]).all()
    assert packed.target.astype(int).tolist() == [[0, 0, 1, 1, 0, 1, 1, 0], [0, 0, 1, 1, 1, 1, 1, 0]]
    assert taken(tokenizer, "ok", pieces) == taken(tokenizer, "ok", "a c b d") == 7
    assert solution(ACTOR.task, EPISODE) == ACTOR.task.pieces(EPISODE)
    assert solution(tiny.DOMAIN.task, "f1,2,3") == "f1,2,3", "a domain without tools"
    with pytest.raises(InputError, match=r"'ok' followed by 'a c b d' takes 7 tokens, but n = 6"):
        pack(tokenizer, [("ok", pieces)], 6, "n")


def test_a_mark_that_is_no_token_is_a_sentence(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Chatty, "hands_over", "> >")
    with pytest.raises(InputError, match=r"Chatty hands over to its tools by '> >', which takes 2 tokens"):
        ask(ASKED, 1)
