"""The generator (docs/method.md, step 1): the model reads a problem and writes M practice examples, each on its own."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from mass_jax.mass.method import Method
from mass_jax.mass.packing import fits, join, pack, pack_prompts
from mass_jax.models.sampling import Samples, sample
from mass_jax.tasks.base import MALFORMED, Check, Practice, Problem, Task
from mass_jax.types import AnyArray, Array, Params, PyTree, Sequences, Tokenizer


@dataclasses.dataclass(frozen=True)
class Domain:
    """A task, and the tokenizer of the model that works on it."""

    task: Task
    tokenizer: Tokenizer


class PracticeSets(NamedTuple):
    """The practice of P problems, as text and as arrays.

    Attributes:
      examples: P lists of M parsed examples.
      sequences: what the inner update trains on, [P, M, T].
      checks: verification questions, [P, M, C, T].
      valid_PxM: bool; False for malformed examples, which count for nothing.
    """

    examples: list[list[Practice]]
    sequences: Sequences
    checks: Sequences
    valid_PxM: np.ndarray


class Written(NamedTuple):
    """What a generator wrote, as the policy gradient needs it.

    Attributes:
      sequences: synthesis prompt and completion, [P, M, T]; the target is the completion.
      log_probs_PxM: float, log-probability of each completion when it was sampled.
    """

    sequences: Sequences
    log_probs_PxM: AnyArray


def complete(
    domain: Domain,
    method: Method,
    params: Params,
    adapter: PyTree,
    prompts: Sequence[str],
    key: Array,
    *,
    samples: int,
    max_new_tokens: int,
    temperature: float,
    top_p: float = 1.0,
    adapter_per_problem: bool = False,
    prompt_limit: int | None = None,
    identities_P: np.ndarray | None = None,
) -> tuple[list[list[str]], Sequences, Samples]:
    """Sample S completions of every prompt; a text ends before the first of the task's stop strings (see `sample`).

    Returns:
      The texts (P lists of S), prompt and completion as sequences [P, S, T], and the raw samples, on the host.

    Raises:
      ValueError: a prompt is longer than ``prompt_limit``, or ``method.lengths.prompt`` where that is not given.
    """
    tokens, lengths = pack_prompts(domain.tokenizer, prompts, prompt_limit or method.lengths.prompt)
    stops = domain.task.stops

    def reached_stop(ids: Sequence[int]) -> bool:
        text = domain.tokenizer.decode(ids)
        return any(stop in text for stop in stops)

    raw = sample(
        method.model,
        params,
        adapter,
        tokens,
        lengths,
        key,
        samples=samples,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        stop_ids=domain.tokenizer.stop_ids,
        pad_id=domain.tokenizer.pad_id,
        adapter_per_problem=adapter_per_problem,
        top_p=top_p,
        identities_P=identities_P,
        stops=reached_stop if stops else None,
    )

    def text(tokens_T: np.ndarray, mask_T: np.ndarray) -> str:
        written = domain.tokenizer.decode(tokens_T[mask_T])
        return written[: min((place for stop in stops if (place := written.find(stop)) >= 0), default=None)]

    written, mask = np.asarray(raw.tokens_PxSxT), np.asarray(raw.mask_PxSxT)
    texts = [[text(*row) for row in zip(*rows, strict=True)] for rows in zip(written, mask, strict=True)]
    return texts, join(tokens, lengths, written, mask), raw


def synthesise(
    domain: Domain,
    method: Method,
    params: Params,
    problems: Sequence[Problem],
    key: Array,
    identities_P: np.ndarray | None = None,
) -> tuple[PracticeSets, Written]:
    """Write M practice examples for every problem with the un-adapted model; see `sample` for ``identities_P``."""
    texts, sequences, raw = complete(
        domain,
        method,
        params,
        None,
        [domain.task.synthesis_prompt(problem) for problem in problems],
        key,
        samples=method.generator.examples,
        max_new_tokens=method.lengths.synthesis,
        temperature=method.generator.temperature,
        top_p=method.generator.top_p,
        identities_P=identities_P,
    )
    examples = [
        [fitting(domain, method, problem, domain.task.parse(problem, text)) for text in row]
        for problem, row in zip(problems, texts, strict=True)
    ]
    return pack_practice(domain, method, problems, examples), Written(sequences, raw.log_probs_PxSxT.sum(axis=-1))


def fitting(domain: Domain, method: Method, problem: Problem, example: Practice) -> Practice:
    """The example, or `MALFORMED` where it or a check of it is longer than ``method.lengths`` allow."""
    task, lengths = domain.task, method.lengths
    if not example.well_formed:
        return MALFORMED
    practice = fits(domain.tokenizer, task.solve_prompt(example.prompt), example.solution, lengths.practice)
    checks = (fits(domain.tokenizer, *check, lengths.check, end=False) for check in task.checks(problem, example))
    return example if practice and all(checks) else MALFORMED


def pack_practice(
    domain: Domain, method: Method, problems: Sequence[Problem], examples: list[list[Practice]]
) -> PracticeSets:
    """Arrays for any P lists of M examples, whoever wrote them."""
    tokenizer, task, lengths = domain.tokenizer, domain.task, method.lengths
    shape = (len(problems), len(examples[0]))
    valid = np.array([[example.well_formed for example in row] for row in examples], bool)
    pairs = [(problem, example) for problem, row in zip(problems, examples, strict=True) for example in row]

    practice = [(task.solve_prompt(e.prompt), e.solution) if e.well_formed else ("", "") for _, e in pairs]
    packed = pack(tokenizer, practice, lengths.practice, "lengths.practice")
    packed.target[~valid.reshape(-1)] = False  # a malformed example has nothing to learn, not even its end

    nothing = (Check("", ""),) * len(task.check_names)
    checks = [check for p, e in pairs for check in (task.checks(p, e) if e.well_formed else nothing)]
    asked = pack(tokenizer, checks, lengths.check, "lengths.check", end=False)
    return PracticeSets(
        examples,
        Sequences(*(leaf.reshape(*shape, -1) for leaf in packed)),
        Sequences(*(leaf.reshape(*shape, len(nothing), -1) for leaf in asked)),
        valid,
    )


def share(
    predicate: Callable[[Problem, Practice], bool], problems: Sequence[Problem], sets: PracticeSets
) -> np.ndarray:
    """``predicate(problem, example)`` of every example, bool [P, M]."""
    return np.array(
        [[predicate(problem, example) for example in row] for problem, row in zip(problems, sets.examples, strict=True)]
    )
