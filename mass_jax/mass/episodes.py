"""Solutions: completions of a prompt; of a domain with tools, episodes in which the model and they write in turn.

Each turn is one call of `sample` for all problems, on transcripts that are padded to one length: a turn compiles
nothing that the first has not. What tools write is read by the model and is no target.
"""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

from mass_jax.errors import InputError
from mass_jax.mass.actor import Actor
from mass_jax.mass.generator import Completions, complete
from mass_jax.mass.packing import join, pack_prompts
from mass_jax.models.sampling import Prompts, SamplingSpec, sample
from mass_jax.parallel import hosts
from mass_jax.tasks.base import Problem, UsesTools
from mass_jax.types import Array, PyTree


@dataclasses.dataclass
class Transcript:
    """What is written behind one prompt.

    Attributes:
      limit: the most tokens that there is room for.
      ids: tokens, whoever wrote them.
      own: of each, whether it is the model's.
      log_prob: of the model's tokens, where they were drawn from.
      over: whether nobody writes any more.
    """

    limit: int
    ids: list[int] = dataclasses.field(default_factory=list)
    own: list[bool] = dataclasses.field(default_factory=list)
    log_prob: float = 0.0
    over: bool = False

    def write(self, ids: Sequence[int], own: bool) -> int:
        """Goes on by as many of the tokens as there is room for, and returns how many; where it is full, it is over."""
        kept = ids[: self.limit - len(self.ids)]
        self.ids += kept
        self.own += [own] * len(kept)
        self.over = self.over or len(self.ids) == self.limit
        return len(kept)


def solved(  # parameters: those of `complete`, and the problems
    actor: Actor,
    adapters: PyTree,
    problems: Sequence[Problem],
    prompts: Sequence[str],
    key: Array,
    spec: SamplingSpec,
    identities_P: np.ndarray | None = None,
    prompt_limit: int | None = None,
) -> Completions:
    """Sample solutions of every problem.

    Args:
      actor: the model and its domain.
      adapters: one a problem, or None for the un-adapted model.
      problems: P problems, the world of whose episodes tools look into.
      prompts: what the solver reads of each.
      key: PRNG key.
      spec: how many, how they are drawn, and how long one may be, with what tools write.
      identities_P: see `Prompts`.
      prompt_limit: the most tokens of a prompt; ``method.lengths.prompt`` where not given.

    Returns:
      As `complete`; the targets and log-probabilities are of the model's own tokens.

    Raises:
      ValueError: a prompt is longer than that.
      InputError: the model's tokenizer has no one token for the mark that hands over to tools.
    """
    if not isinstance(actor.task, UsesTools):
        return complete(actor, adapters, prompts, key, spec, identities_P, prompt_limit)
    tokens_PxT, lengths_P = pack_prompts(actor.tokenizer, prompts, prompt_limit or actor.method.lengths.prompt)
    read = Prompts(tokens_PxT, lengths_P, identities_P)
    drawn = [  # sample by sample: samples of one problem go apart with their first call
        _episodes(actor, actor.task, adapters, problems, read, _folded(key, s), spec) for s in range(spec.samples)
    ]
    shape = (len(problems), spec.samples, spec.max_new_tokens)
    written, mask = np.full(shape, actor.tokenizer.pad_id, np.int32), np.zeros(shape, bool)
    for s, row in enumerate(drawn):
        for p, each in enumerate(row):
            written[p, s, : len(each.ids)], mask[p, s, : len(each.ids)] = each.ids, each.own
    rows = list(zip(*drawn, strict=True))
    return Completions(
        [[actor.tokenizer.decode(each.ids) for each in row] for row in rows],
        join(tokens_PxT, lengths_P, written, mask),
        np.array([[each.log_prob for each in row] for row in rows], np.float32),
    )


def _episodes(  # parameters: those of `solved` for one sample
    actor: Actor,
    task: UsesTools,
    adapters: PyTree,
    problems: Sequence[Problem],
    read: Prompts,
    key: Array,
    spec: SamplingSpec,
) -> list[Transcript]:
    """An episode of every problem."""
    tokenizer, room = actor.tokenizer, spec.max_new_tokens
    mark = _mark(actor, task)
    spec = dataclasses.replace(spec, samples=1, stop_ids=(*spec.stop_ids, mark))
    columns = read.tokens_PxT.shape[1] + room
    # A turn may take all of the room, and is cut behind it: no position is kept that the model's context does not have.
    model = dataclasses.replace(actor.method.model, context=columns + room)
    found = [Transcript(room) for _ in problems]
    turn = 0
    while hosts.largest(not all(each.over for each in found)):
        tokens_PxT = np.full((len(problems), columns), tokenizer.pad_id, np.int32)
        for row, prompt, length, each in zip(tokens_PxT, read.tokens_PxT, read.lengths_P, found, strict=True):
            row[: length + len(each.ids)] = [*prompt[:length], *each.ids]
        lengths_P = read.lengths_P + np.array([len(each.ids) for each in found], np.int32)
        prompts = Prompts(tokens_PxT, lengths_P, read.identities_P)
        raw = sample(
            *(model, actor.params, adapters, prompts, _folded(key, turn), spec),
            adapter_per_problem=adapters is not None,
        )
        for p, (problem, each) in enumerate(zip(problems, found, strict=True)):
            if not each.over:
                mask_T = raw.mask_PxSxT[p, 0]
                kept = each.write(raw.tokens_PxSxT[p, 0][mask_T].tolist(), own=True)
                each.log_prob += float(raw.log_probs_PxSxT[p, 0][mask_T][:kept].sum())
                said = task.answered(problem, tokenizer.decode(each.ids)) if each.ids[-1] == mark else None
                each.over = each.over or said is None
                each.write(tokenizer.encode(said or ""), own=False)
        turn += 1
    return found


def _folded(key: Array, number: int) -> Array:
    """Another key for each number, which goes to the devices on purpose."""
    return jax.random.fold_in(key, hosts.put(np.int32(number)))


def _mark(actor: Actor, task: UsesTools) -> int:
    """The token that hands over to tools."""
    ids = actor.tokenizer.encode(task.hands_over)
    if len(ids) != 1 or actor.domain.stops:
        raise InputError(
            f"{type(task).__name__} hands over to its tools by {task.hands_over!r}, which takes {len(ids)} tokens, and "
            f"has the stop strings {list(actor.domain.stops)}: give it a mark of one token, and no stop strings."
        )
    return ids[0]
