"""Ancestral, nucleus and greedy sampling with a key-value cache, one adapter a problem.

Prompts are padded on the right and read once a problem; the cache is then repeated for the S samples. New tokens of all
sequences share a slot of the cache, whatever their positions. A sequence's noise depends on its own identity alone, so
that what a problem gets does not depend on what else is in the batch.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mass_jax.models import decoder
from mass_jax.models.attention import KVCache, spread_cache
from mass_jax.models.config import ModelConfig
from mass_jax.models.cross_entropy import OWN, Draw, tempered, wide
from mass_jax.parallel import hosts, partition
from mass_jax.types import AnyArray, Array, Params, PyTree

STOP_EVERY = 16
"""Tokens between two looks at the text, where a stop string may end it or somebody is told of it."""
LEAST_TEMPERATURE = 1e-3
"""Of those above 0; scores over a smaller one leave no room in float32 for the noise that is added to them."""


@dataclasses.dataclass(frozen=True)
class SamplingSpec:
    """How completions are drawn.

    Attributes:
      samples: S, completions of each prompt.
      max_new_tokens: the most tokens that one may have.
      temperature: 0 is greedy; else at least `LEAST_TEMPERATURE`.
      top_p: only the likeliest tokens that together have this probability are drawn; 1 for all.
      stop_ids: each of these tokens ends a completion.
      pad_id: fills what follows the stop.
      stops: whether a completion, given as token ids, has reached a stop string. It is cut after the token that
        completed it.
      told: is told every `STOP_EVERY` tokens, but for the last ones, what is written: tokens and their mask [P · S, T].

    Raises:
      ValueError: a number is out of its range.
    """

    samples: int
    max_new_tokens: int
    temperature: float
    top_p: float = 1.0
    stop_ids: tuple[int, ...] = ()
    pad_id: int = 0
    stops: Callable[[Sequence[int]], bool] | None = None
    told: Callable[[AnyArray, AnyArray], None] | None = None

    def __post_init__(self) -> None:
        if not 0 < self.top_p <= 1:
            raise ValueError(
                f"top_p = {self.top_p} is not a probability: choose a number above 0, and 1 for all tokens."
            )
        if self.temperature != 0 and not LEAST_TEMPERATURE <= self.temperature < math.inf:
            raise ValueError(
                f"temperature = {self.temperature} is out of its range: choose 0 for the likeliest tokens, or a number "
                f"from {LEAST_TEMPERATURE} on."
            )
        for name in ("samples", "max_new_tokens"):
            count = getattr(self, name)
            if not isinstance(count, int | np.integer) or count < 1:
                raise ValueError(f"{name} = {count!r}: choose a whole number of at least 1.")

    @property
    def draw(self) -> Draw:
        """How one token is drawn; greedy ones are scored by the model's own probabilities."""
        return Draw(self.temperature, self.top_p) if self.temperature else OWN

    def static(self) -> "SamplingSpec":
        """What of it a program is compiled for: neither the temperature, an array there, nor what is on the host."""
        return dataclasses.replace(self, temperature=0.0, stops=None, told=None)


class Prompts(NamedTuple):
    """P prompts.

    Attributes:
      tokens_PxT: int32, padded on the right.
      lengths_P: int32 number of real tokens in each prompt, at least 1.
      identities_P: int32, one a problem; completions depend on the key and on this number. 0, 1, ... where not given.
    """

    tokens_PxT: AnyArray
    lengths_P: AnyArray
    identities_P: AnyArray | None = None


class Samples(NamedTuple):
    """What `sample` returns.

    Attributes:
      tokens_PxSxT: int32, the new tokens; ``pad_id`` after the stop.
      log_probs_PxSxT: float32 or wider, log-probability of each new token under the distribution that it was drawn from
        (of a greedy one, under the model at temperature 1); 0 after the stop.
      mask_PxSxT: bool, True for tokens that were sampled, a stop token included.
    """

    tokens_PxSxT: AnyArray
    log_probs_PxSxT: AnyArray
    mask_PxSxT: AnyArray


class State(NamedTuple):
    """Of B = P · S sequences, between two tokens; ``token_B`` is chosen but not written yet."""

    step: Array
    token_B: Array
    log_prob_B: Array
    done_B: Array
    length_B: Array
    key_B: Array
    cache: KVCache
    out: Samples


def bucket(length: int, limit: int | None = None) -> int:
    """A padded length for ``length`` tokens, at most ``limit``: 16 or 24 times a power of 2, so few are compiled."""
    size = 16
    while size < length:
        size = size * 3 // 2 if size & (size - 1) == 0 else size * 4 // 3
    return size if limit is None else max(min(size, limit), length)


def sample(
    config: ModelConfig,
    params: Params,
    adapter: PyTree,
    prompts: Prompts,
    key: Array,
    spec: SamplingSpec,
    *,
    adapter_per_problem: bool,
) -> Samples:
    """Draw ``spec.samples`` completions of every prompt, which are this process's where there are several.

    Two programs are compiled for each shape of the prompts: one reads them, one writes tokens. Two more slice adapters,
    and parameters where they do not lie on one CPU.

    Args:
      config: the architecture.
      params: shared base parameters.
      adapter: leaves have a leading axis P where ``adapter_per_problem``; else one adapter for all, or None.
      prompts: P prompts.
      key: PRNG key.
      spec: how many, how long, and how they are drawn.
      adapter_per_problem: see ``adapter``.

    Raises:
      ValueError: an argument is out of its range, which is said of prompts and lengths where they are on the host; or
        prompt and completion together exceed ``config.context``.
    """
    if not 0 <= spec.pad_id < config.vocab_size:
        raise ValueError(f"pad_id = {spec.pad_id} is not a token: choose one from 0 to {config.vocab_size - 1}.")
    _check_prompts(config, prompts.tokens_PxT, prompts.lengths_P)
    problems = len(prompts.tokens_PxT)
    config = without_gradient(config)
    if adapter_per_problem:
        # [P, L, ...] to [L, P, ...]: the decoder goes over layers first.
        adapter = jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), adapter)
    if not config.scan_layers:
        params, adapter = unstack(config, params, adapter)
    if prompts.identities_P is None:
        prompts = prompts._replace(identities_P=hosts.rows(hosts.whole_count(problems)).astype(np.int32))
    settings = (config, params, adapter, hosts.put(np.float32(spec.temperature)))
    static, stops, new = spec.static(), spec.stops, spec.max_new_tokens
    state = prefill(*settings, hosts.share(prompts), hosts.put(key), static)
    every = new if stops is None and spec.told is None else STOP_EVERY
    for limit in range(every, new + every, every):
        state = decode(*settings, hosts.put(np.int32(min(limit, new))), state, static)
        if stops is not None:
            state, finished = _cut(state, stops, limit - every, spec.pad_id)
            if finished:
                break
        if spec.told is not None and limit < new:
            spec.told(*hosts.local((state.out.tokens_PxSxT, state.out.mask_PxSxT)))
    # Rows are problem by problem: row p · S + s is sample s of problem p.
    return jax.tree.map(lambda leaf: leaf.reshape(problems, spec.samples, -1), hosts.local(state.out))


def _check_prompts(config: ModelConfig, prompts_PxT: AnyArray, lengths_P: AnyArray) -> None:
    """Shapes of all, and values of what is on the host: for others this would have to wait for the device."""
    if np.ndim(prompts_PxT) != 2 or np.shape(lengths_P) != np.shape(prompts_PxT)[:1]:
        raise ValueError(
            f"prompts of the shape {np.shape(prompts_PxT)} and lengths of the shape {np.shape(lengths_P)}: give tokens "
            "as [problems, tokens], and one length a problem."
        )
    columns = np.shape(prompts_PxT)[1]
    if isinstance(lengths_P, np.ndarray) and np.any(bad := (lengths_P < 1) | (lengths_P > columns)):
        row = int(np.argmax(bad))
        raise ValueError(
            f"prompt {row} has the length {lengths_P[row]}: give at least one token, and at most the {columns} columns."
        )
    if isinstance(prompts_PxT, np.ndarray) and np.any(bad := (prompts_PxT < 0) | (prompts_PxT >= config.vocab_size)):
        row, column = np.argwhere(bad)[0]
        raise ValueError(
            f"prompt {row} holds the token {prompts_PxT[row, column]}, but the model has those from 0 to "
            f"{config.vocab_size - 1}: give the model's own tokenizer."
        )


def without_gradient(config: ModelConfig) -> ModelConfig:
    """The model as it samples: nothing is kept for a way back, and layers are looped over as decoding likes it."""
    return dataclasses.replace(config, scan_layers=config.scan_decode, remat=False, remat_keeps=())


def unstack(config: ModelConfig, params: Params, adapter: PyTree) -> tuple[Params, PyTree]:
    """Parameters and adapter with their layers apart, for a loop over them.

    Where the parameters lie on one CPU, their layers are views of them; else they are copied once more, which
    ``scan_decode`` avoids.
    """
    layers = _views(config, params["layers"]) or _slices(config, params["layers"])
    return params | {"layers": layers}, _slices(config, adapter) if adapter else None


@partial(jax.jit, static_argnames="config")
def _slices(config: ModelConfig, layers: PyTree) -> tuple[PyTree, ...]:
    return decoder.unstack(config, {"layers": layers})["layers"]


def _views(config: ModelConfig, layers: PyTree) -> tuple[PyTree, ...] | None:
    """The layers without a copy, or None where they do not lie on one CPU."""

    def on_one_cpu(leaf: AnyArray) -> bool:
        if isinstance(leaf, jax.core.Tracer):
            return False
        return isinstance(leaf, np.ndarray) or [device.platform for device in leaf.devices()] == ["cpu"]

    if partition.active() or not all(map(on_one_cpu, jax.tree.leaves(layers))):
        return None

    def view(leaf: AnyArray, i: int) -> Array:
        # Of an array on the host `device_put` makes no copy where it is aligned, as the layers of a stack mostly are.
        where = leaf.sharding if isinstance(leaf, jax.Array) and leaf.committed else None
        return jax.device_put(np.asarray(jax.device_get(leaf))[i], where)

    return tuple(jax.tree.map(partial(view, i=i), layers) for i in range(config.layers))


@partial(jax.jit, static_argnames=("config", "spec"))
def prefill(
    config: ModelConfig,
    params: Params,
    adapter: PyTree,
    temperature: Array,
    prompts: Prompts,
    key: Array,
    spec: SamplingSpec,
) -> State:
    """Read the prompts, repeat what was read for the samples, and choose each one's first token."""
    problems, length = prompts.tokens_PxT.shape
    samples, max_new_tokens = spec.samples, spec.max_new_tokens
    if length + max_new_tokens > config.context:
        raise ValueError(
            f"a prompt of {length} tokens and a completion of {max_new_tokens} exceed the model's context of "
            f"{config.context}: shorten one, or use a model with a larger context."
        )
    prompts_PxT, lengths_P, identities_P = partition.spread(prompts)
    last_PxD, cache = decoder.read_prompts(config, params, adapter, prompts_PxT, lengths_P, samples, max_new_tokens)
    each = jax.vmap(jax.random.fold_in, (None, 0))
    # One key for each (problem, sample), in the order of the rows: [P, S] flattened to [P · S].
    key_B = jax.vmap(lambda k: each(k, jnp.arange(samples)))(each(key, identities_P)).reshape(-1)
    step = jnp.zeros((), jnp.int32)
    token, log_prob = _choose(
        config, params, jnp.repeat(last_PxD, samples, axis=0), key_B, step, temperature, spec.top_p
    )
    shape = (problems * samples, max_new_tokens)
    out = Samples(jnp.full(shape, spec.pad_id, jnp.int32), jnp.zeros(shape, log_prob.dtype), jnp.zeros(shape, bool))
    done, lengths = jnp.zeros(shape[0], bool), jnp.repeat(lengths_P, samples)
    return _spread(State(step, token, log_prob, done, lengths, key_B, cache, out))


@partial(jax.jit, static_argnames=("config", "spec"), donate_argnames="state")
def decode(
    config: ModelConfig,
    params: Params,
    adapter: PyTree,
    temperature: Array,
    limit: Array,
    state: State,
    spec: SamplingSpec,
) -> State:
    """Write tokens until ``limit`` of them are written, or all sequences are done."""
    # The new tokens have the last slots: [prompt | new], as many new ones as `out` has columns.
    first_slot = state.cache.positions_BxS.shape[1] - state.out.mask_PxSxT.shape[1]

    def body(state: State) -> State:
        step, done = state.step, state.done_B

        def write(where: AnyArray, what: Array) -> Array:
            return jax.lax.dynamic_update_slice_in_dim(where, what[:, None], step, axis=1)

        out = Samples(
            write(state.out.tokens_PxSxT, jnp.where(done, spec.pad_id, state.token_B)),
            write(state.out.log_probs_PxSxT, jnp.where(done, 0.0, state.log_prob_B)),
            write(state.out.mask_PxSxT, ~done),
        )
        for stop in spec.stop_ids:
            done = done | (state.token_B == stop)
        hidden, cache = decoder.forward(
            config,
            params,
            adapter,
            state.token_B[:, None],
            # Positions go on from each prompt's own length; the slot is the same for all (see `KVCache`).
            (state.length_B + step)[:, None],
            state.cache,
            first_slot + step,
        )
        assert cache is not None
        token, log_prob = _choose(config, params, hidden[:, 0], state.key_B, step + 1, temperature, spec.top_p)
        return _spread(State(step + 1, token, log_prob, done, state.length_B, state.key_B, cache, out))

    return jax.lax.while_loop(lambda state: (state.step < limit) & ~jnp.all(state.done_B), body, state)


def _spread(state: State) -> State:
    """Sequences over the mesh, and the heads of their caches."""
    rest = ("token_B", "log_prob_B", "done_B", "length_B", "key_B", "out")
    return state._replace(
        cache=spread_cache(state.cache), **{name: partition.spread(getattr(state, name)) for name in rest}
    )


def _choose(
    config: ModelConfig, params: Params, hidden_BxD: Array, key_B: Array, step: Array, temperature: Array, top_p: float
) -> tuple[Array, Array]:
    """The next token of every sequence, and its log-probability where it was drawn from."""
    logits = wide(decoder.logits(config, params, hidden_BxD))

    def told(scores: Array, token: Array) -> tuple[Array, Array]:
        chosen = jnp.take_along_axis(scores, token[:, None], axis=-1)[:, 0]
        return token.astype(jnp.int32), chosen - jax.nn.logsumexp(scores, axis=-1)

    def drawn() -> tuple[Array, Array]:
        scores, nucleus = tempered(logits, Draw(temperature, top_p))
        if nucleus is not None:
            scores = jnp.where(nucleus, scores, -jnp.inf)
        # Gumbel-max (Maddison et al. 2014, arXiv 1411.0030): the argmax of noisy log-probabilities is a sample.
        keys = jax.vmap(jax.random.fold_in, (0, None))(key_B, step)
        noise = jax.vmap(lambda key: jax.random.gumbel(key, logits.shape[1:]))(keys)
        return told(scores, jnp.argmax(scores + noise, axis=-1))

    return jax.lax.cond(temperature > 0, drawn, lambda: told(logits, jnp.argmax(logits, axis=-1)))


def _cut(state: State, stops: Callable[[Sequence[int]], bool], start: int, pad_id: int) -> tuple[State, bool]:
    """End the sequences that have reached a stop string since ``start``; and whether all have ended."""
    out, done = hosts.local((state.out, state.done_B))
    tokens, log_probs, mask = (np.array(leaf) for leaf in out)
    done = np.array(done)
    for row in range(len(tokens)):
        end = int(mask[row].sum())
        if end <= start or not stops(tokens[row, :end].tolist()):
            continue
        end = next(n for n in range(start + 1, end + 1) if n == end or stops(tokens[row, :n].tolist()))
        tokens[row, end:], log_probs[row, end:], mask[row, end:], done[row] = pad_id, 0.0, False, True
    out, done_B = hosts.share((Samples(tokens, log_probs, mask), done))
    return state._replace(out=out, done_B=done_B), not hosts.largest(not done.all())
