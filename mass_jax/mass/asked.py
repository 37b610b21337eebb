"""What each program of an outer step asks of the model, from the arguments that it is called with (or their shapes)."""

import jax

from mass_jax.mass import inner
from mass_jax.mass.actor import Actor
from mass_jax.mass.attribution import Adapted, Weighed
from mass_jax.mass.calls import BASE, FORWARD, GRADIENT, HESSIAN, TANGENT, TRAIN, TRAIN_OUTER, Asked, Call, Kind
from mass_jax.mass.credit import COMPLETE, LEAVE_ONE_OUT, MARGINAL, NORMALIZED, PATH_POINTS, CreditAt
from mass_jax.mass.method import Method
from mass_jax.mass.objective import Sampled, UpdateData
from mass_jax.mass.packing import PracticeArrays
from mass_jax.mass.policy import reads_once
from mass_jax.mass.scorer import Scores
from mass_jax.mass.scorers.base import flat
from mass_jax.mass.scorers.registry import SCORERS
from mass_jax.mass.state import OuterConfig
from mass_jax.mass.update import halving
from mass_jax.metagrad import Adjoint
from mass_jax.models.config import ModelConfig
from mass_jax.models.sampling import Prompts, SamplingSpec, State
from mass_jax.parallel import partition
from mass_jax.types import Array, OptState, Params, PyTree, Sequences


def prefill(
    config: ModelConfig,
    params: Params,
    adapter: PyTree,
    temperature: Array,
    prompts: Prompts,
    key: Array,
    spec: SamplingSpec,
) -> Asked:
    """Of `sampling.prefill`."""
    problems, length = prompts.tokens_PxT.shape
    read = Call(FORWARD, problems, length, spec.samples, adapter is not None)
    return Asked((read,), adapters=problems if adapter is not None else 0)


def decode(
    config: ModelConfig,
    params: Params,
    adapter: PyTree,
    temperature: Array,
    limit: Array,
    state: State,
    spec: SamplingSpec,
) -> Asked:
    """Of `sampling.decode`, if every completion is as long as it may be."""
    sequences, new = state.out.mask_PxSxT.shape
    slots = state.cache.positions_BxS.shape[1]
    # Leaves are [L, P, ...], or those of one layer.
    adapters = jax.tree.leaves(adapter)[0].shape[1 if config.scan_layers else 0] if adapter is not None else 0
    write = Call(FORWARD, sequences, 1, None, adapter is not None, times=new, keys=slots)
    return Asked((write,), adapters=adapters, cached=(sequences, slots))


def adapt(actor: Actor, eta: Params, adapter: PyTree, practice: PracticeArrays) -> Asked:
    """Of `attribution.score_and_adapt`."""
    method, estimator = actor.method, _modelled(actor.method)
    scored = SCORERS[method.scorer.kind].asked(practice)
    return Asked((*scored, _inner_run(method, estimator, practice.examples)))


def losses(actor: Actor, adapters: PyTree, asked_PxS: Weighed) -> Asked:
    """Of `attribution.outer_losses`."""
    return Asked((_outer(actor.method, FORWARD, asked_PxS),), adapters=asked_PxS.coefficients.shape[0])


def attribute(actor: Actor, adapted: Adapted, examples: Sequences, asked_PxS: Weighed) -> Asked:
    """Of `attribution.attribute`."""
    method, estimator = actor.method, _modelled(actor.method)
    rows, steps = asked_PxS.coefficients.shape[0], method.inner.steps
    return Asked(_attribution(method, estimator, examples, asked_PxS), adapters=rows * (2 + steps))


def credit(
    actor: Actor,
    at: CreditAt,
    adapters: tuple[PyTree, ...],
    scores: Scores,
    practice: PracticeArrays,
    asked_PxS: Weighed,
) -> Asked:
    """Of `credit.credit`."""
    method, estimator, examples = actor.method, _modelled(actor.method), practice.examples
    run, outer = _inner_run(method, estimator, examples), _outer(method, FORWARD, asked_PxS)
    marginal = (run, *_attribution(method, estimator, examples, asked_PxS))
    rows, count = practice.valid_PxM.shape
    rounds, at_once = inner.rounds(method.inner, rows, partition.ways())
    alone = Call(GRADIENT, 1, examples.tokens.shape[-1] - 1, None, True, at_once, rounds * count)
    calls = {
        MARGINAL: (marginal, 1),
        NORMALIZED: ((*marginal, alone), 1),
        LEAVE_ONE_OUT: ((run, outer), count + 1),
        COMPLETE: (marginal, PATH_POINTS),
    }
    each, times = calls[at.kind]
    return Asked(tuple(call._replace(times=len(adapters) * times * call.times) for call in each))


def generator(
    actor: Actor, config: OuterConfig, opt_state: OptState, base: Params, data: UpdateData, limit: Array, kl: Array
) -> Asked:
    """Of `update.update_model`."""
    count, gradient = config.microbatches, TRAIN if config.outer is None else TRAIN_OUTER

    def train(sequences: Sequences, kind: Kind = gradient, parts: int = count) -> Call:
        rows, length = flat(sequences)
        return Call(kind, rows // parts, length - 1, times=parts)

    def texts(sampled: Sampled, kind: Kind, parts: int) -> list[Call]:
        problems, each, length = sampled.batch.sequences.tokens.shape
        if not reads_once(problems, parts):
            return [train(sampled.batch.sequences, kind, parts)]
        # Each prompt once for its texts, whose last tokens are not read, and whose first the prompt predicts.
        new, problems = sampled.spec.max_new_tokens, problems // parts
        return [
            Call(kind, problems, length - new, 0, times=parts),
            Call(kind, problems * each, new - 1, new, times=parts, keys=length - 1),
        ]

    calls = []
    for i, sampled in enumerate(data.sampled(actor, config)):
        number, parts = halving(config, sampled)
        if i == 0:  # in halves, and with its distance from the base
            calls += [call for kind in (gradient, BASE) for call in texts(sampled, kind, parts)]
        else:
            calls += texts(sampled, gradient, count)
        if config.step_kl:  # one half, before the step, after it, and after a shorter one
            half = [call._replace(times=call.times // number) for call in texts(sampled, FORWARD, parts)]
            calls += 3 * half
    if data.solve is not None:
        calls.append(train(data.solve))
    if config.replay_weight:
        calls.append(train(data.documents))
    if config.kl_weight:
        calls += [train(data.documents), train(data.documents, BASE)]
    trained, kept = (sum(leaf.size for leaf in jax.tree.leaves(tree)) for tree in (actor.params, opt_state))
    copies = 1 + kept / trained + bool(config.step_kl)  # of a trial's parameters
    if config.outer is None:
        return Asked(tuple(calls), copies=1 + copies)
    return Asked(tuple(calls), outer=copies)


def _inner_run(method: Method, estimator: Adjoint, examples: Sequences) -> Call:
    """The inner steps of every problem."""
    rows, steps = examples.tokens.shape[0], method.inner.steps
    return _practice(method, GRADIENT, steps, estimator.microbatch, examples, rows)


def _attribution(method: Method, estimator: Adjoint, examples: Sequences, asked_PxS: Weighed) -> tuple[Call, ...]:
    """The outer gradient, pulled back through the inner steps."""
    steps, rows = method.inner.steps, asked_PxS.coefficients.shape[0]
    size = estimator.hvp_microbatch or estimator.microbatch
    products = [_practice(method, TANGENT, 1, size, examples, rows)]
    if steps > 1 or estimator.init_grad:
        products.append(_practice(method, HESSIAN, steps - 1, size, examples, rows))
    return (_outer(method, GRADIENT, asked_PxS), *products)


def _practice(method: Method, kind: Kind, steps: int, size: int | None, examples: Sequences, rows: int) -> Call:
    """``steps`` inner steps' worth of calls on practice, ``size`` examples at a time."""
    count, length = examples.tokens.shape[1:]
    each = count // method.inner.steps if method.inner.schedule == "fresh" else count
    rounds, at_once = inner.rounds(method.inner, rows, partition.ways())
    part = size or each
    return Call(kind, part, length - 1, None, True, at_once, rounds * steps * (each // part))


def _outer(method: Method, kind: Kind, asked_PxS: Weighed) -> Call:
    """The outer loss of every problem under its own adapter."""
    rows, solutions, length = asked_PxS.sequences.tokens.shape
    rounds, at_once = inner.rounds(method.inner, rows, partition.ways())
    return Call(kind, solutions, length - 1, None, True, at_once, rounds)


def _modelled(method: Method) -> Adjoint:
    """The method's estimator.

    Raises:
      ValueError: what its estimator asks is not modelled.
    """
    estimator = method.estimator
    if not (
        isinstance(estimator, Adjoint)
        and estimator.trajectory == "gradients"
        and estimator.hvp_remat
        and estimator.grad_remat
    ):
        raise ValueError(f"the cost of {estimator} is not modelled: choose metagrad.name = 'adjoint', without options.")
    if method.model.remat_keeps:
        raise ValueError(f"the cost of model.remat_keeps = {method.model.remat_keeps} is not modelled: leave it empty.")
    return estimator
