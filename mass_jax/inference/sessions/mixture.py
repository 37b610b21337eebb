"""The inner steps of a session: from where it is, on a problem's own practice and on what is practised again."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from mass_jax.inference import budget, phases
from mass_jax.inference.options import Options
from mass_jax.inference.phases import Batch, Found, Told
from mass_jax.inference.sessions.buffer import Kept
from mass_jax.mass.actor import Actor
from mass_jax.mass.method import Method
from mass_jax.mass.packing import pack, solution
from mass_jax.mass.scorer import Scores
from mass_jax.types import AnyArray, PyTree, Sequences


def adapt(start: PyTree, replay: Sequence[Kept], room: int, batch: Batch, found: Found) -> Told:
    """The phase `phases.adapt` of a session.

    Args:
      start: where the steps begin.
      replay: what is practised again.
      room: R, the most of it; less where the options' tokens allow less.
      batch: one problem, once or filled up with itself.
      found: so far.
    """
    actor, sets, scores = batch.actor, found.sets, found.scores
    assert sets is not None and scores is not None
    found, examples = found._replace(fresh=phases.fresh_adapter(actor)), sets.arrays.examples
    if room := _affordable(actor.method, batch.options, room):
        actor, scores, examples = mixed(actor, scores, examples, replay[:room], room)
    return phases.learned(actor, found, start, scores, examples)


def mixed(
    actor: Actor, scores: Scores, examples: Sequences, replay: Sequence[Kept], room: int
) -> tuple[Actor, Scores, Sequences]:
    """Practice with what is practised again: as many of each in every step, which all problems share.

    The inner loss is the mean over the examples that are there: with nothing to replay it is that of the practice.

    Args:
      actor: its method has M examples.
      scores: of the practice, [P, M], on the host.
      examples: the practice, [P, M, T], on the host.
      replay: at most R examples.
      room: R, a multiple of the steps that practice is split over.

    Returns:
      The same of M + R examples.
    """
    steps, count, problems = _parts(actor.method), actor.method.generator.examples, len(examples.tokens)
    packed = written(actor, replay, room)
    weights_R = np.array([each.weight for each in replay] + [0.0] * (room - len(replay)), np.float32)

    def joined(own: AnyArray, again: AnyArray) -> np.ndarray:
        """[P, M, ...] and [R, ...] to [P, M + R, ...], so that every step's part has its share of both."""
        again = np.broadcast_to(again, (problems, *again.shape))
        parts = [leaf.reshape(problems, steps, -1, *leaf.shape[2:]) for leaf in (np.asarray(own), again)]
        return np.concatenate(parts, axis=2).reshape(problems, count + room, *own.shape[2:])

    # The loss is divided by M + R, of which M and the replay are there.
    weights_PxN = joined(scores.weights_PxM, weights_R) * np.float32((count + room) / (count + len(replay)))
    generator = dataclasses.replace(actor.method.generator, examples=count + room)
    return (
        actor.replace(method=dataclasses.replace(actor.method, generator=generator)),
        Scores(np.zeros_like(weights_PxN), weights_PxN, scores.gate_P),
        Sequences(*map(joined, examples, packed)),
    )


def written(actor: Actor, replay: Sequence[Kept], room: int) -> Sequences:
    """What is practised again as arrays [R, T], filled up with nothing.

    Raises:
      ValueError, LookupError: an example is none of the domain's, or too long.
    """
    texts = [(actor.task.solve_prompt(each.prompt), solution(actor.task, each.solution)) for each in replay]
    blank = [("", "")] * (room - len(replay))
    packed = pack(actor.tokenizer, [*texts, *blank], actor.method.lengths.practice, "lengths.practice")
    packed.target[len(replay) :] = False  # not even its end
    return packed


def _parts(method: Method) -> int:
    """Over how many steps examples are split."""
    return method.inner.steps if method.inner.schedule == "fresh" else 1


def _affordable(method: Method, options: Options, room: int) -> int:
    """How much of the replay the tokens allow beside the update, a multiple of the parts."""
    if options.tokens is not None:
        passes = 1 if method.inner.schedule == "fresh" else method.inner.steps
        room = min(room, (options.tokens - budget.tokens(method, options)) // (method.lengths.practice * passes))
    return room - room % _parts(method)
