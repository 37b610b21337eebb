"""Sampling against the forward pass without a cache, one adapter a problem, the stop, and the temperature."""

import dataclasses

import jax
import numpy as np
import pytest

from mass_jax.models import sampling
from tests.models.tiny import CONFIG, log_probs, make_adapter, make_params, make_tokens, stack, variant
from tests.models.tiny import token_log_probs as score

LENGTHS = np.array([3, 8, 1, 5])
PROBLEMS, SAMPLES, NEW = len(LENGTHS), 3, 8
SPEC = tuple(field.name for field in dataclasses.fields(sampling.SamplingSpec))
PARAMS = make_params()
OWN = [make_adapter(PARAMS, seed=seed) for seed in range(PROBLEMS)]
TOKENS = np.where(np.arange(8) < LENGTHS[:, None], make_tokens(PROBLEMS, 8, seed=3), 0)


def draw(adapter=None, tokens=TOKENS, lengths=LENGTHS, temperature=0.0, key=0, config=CONFIG, **options):
    settings = {"samples": SAMPLES, "max_new_tokens": NEW, "temperature": temperature}
    settings |= {name: options.pop(name) for name in SPEC if name in options}
    prompts = sampling.Prompts(tokens, lengths, options.pop("identities_P", None))
    fixed = {"adapter_per_problem": True} | options
    spec = sampling.SamplingSpec(**settings)
    drawn = sampling.sample(config, PARAMS, adapter, prompts, jax.random.key(key), spec, **fixed)
    return sampling.Samples(*map(np.asarray, drawn))


def pick(samples, rows, columns=slice(None)):
    return sampling.Samples(*(leaf[rows][:, columns] for leaf in samples))


def assert_equal(a, b, atol=1e-5):
    np.testing.assert_array_equal(a.tokens_PxSxT, b.tokens_PxSxT)
    np.testing.assert_array_equal(a.mask_PxSxT, b.mask_PxSxT)
    np.testing.assert_allclose(a.log_probs_PxSxT, b.log_probs_PxSxT, atol=atol)


@pytest.mark.parametrize("scan_decode", [False, True])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_cached_decoding_equals_the_forward_pass(scan_decode, temperature):
    out = draw(stack(OWN), temperature=temperature, config=variant(CONFIG, scan_decode=scan_decode))
    assert np.all(out.mask_PxSxT)
    for p, length in enumerate(LENGTHS):
        whole = np.zeros((SAMPLES, 8 + NEW), int)
        whole[:, :length] = TOKENS[p, :length]
        whole[:, length : length + NEW] = out.tokens_PxSxT[p]
        full = np.asarray(log_probs(CONFIG, PARAMS, OWN[p], whole))[:, length - 1 : length - 1 + NEW]
        expected = np.take_along_axis(full, out.tokens_PxSxT[p, ..., None], axis=-1)[..., 0]
        np.testing.assert_allclose(out.log_probs_PxSxT[p], expected, atol=1e-5)
        scored = score(CONFIG, PARAMS, OWN[p], whole)[:, length - 1 : length - 1 + NEW]
        np.testing.assert_allclose(out.log_probs_PxSxT[p], scored, atol=1e-5)
        if temperature == 0:
            np.testing.assert_array_equal(out.tokens_PxSxT[p], full.argmax(axis=-1))


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_per_problem_adapters_equal_one_by_one(temperature):
    together = draw(stack(OWN), temperature=temperature, key=4)
    assert np.any(together.tokens_PxSxT != draw(stack(OWN[::-1]), temperature=temperature, key=4).tokens_PxSxT)
    for p in range(PROBLEMS):
        # Noise belongs to the problem, not to its place in the batch.
        one = TOKENS[p : p + 1], LENGTHS[p : p + 1], temperature
        alone = draw(OWN[p], *one, key=4, adapter_per_problem=False, identities_P=np.array([p]))
        assert_equal(pick(together, [p]), alone)


def test_a_fresh_adapter_samples_as_the_base_does():
    fresh = [{name: leaf | {"b": 0 * leaf["b"]} for name, leaf in own.items()} for own in OWN]
    for temperature in (0.0, 1.0):
        base = draw(None, temperature=temperature, adapter_per_problem=False)
        assert_equal(draw(stack(fresh), temperature=temperature), base)


def test_greedy_does_not_depend_on_batch_padding_key_or_sample():
    reference = draw(stack(OWN))
    assert_equal(draw(stack(OWN)), reference, atol=0)
    assert_equal(draw(stack(OWN), key=9), reference, atol=0)
    order = [2, 0, 3, 1]
    assert_equal(draw(stack([OWN[p] for p in order]), TOKENS[order], LENGTHS[order]), pick(reference, order))
    for p in range(PROBLEMS):
        alone = draw(stack(OWN[p : p + 1]), np.pad(TOKENS[p : p + 1], ((0, 0), (0, 9))), LENGTHS[p : p + 1])
        assert_equal(alone, pick(reference, [p]))
    for s in range(SAMPLES):
        assert_equal(pick(reference, slice(None), [s]), pick(reference, slice(None), [0]))


def test_what_stands_in_the_padding_does_not_matter():
    garbage = np.where(np.arange(8) < LENGTHS[:, None], TOKENS, 7)
    assert_equal(draw(stack(OWN), garbage), draw(stack(OWN)))


def test_the_stop_token_ends_a_completion_and_changes_nothing_before():
    drawn = draw(stack(OWN)).tokens_PxSxT
    stop, second = int(drawn[0, 0, 0]), int(drawn[-1, -1, 1])
    assert stop != second
    ends, enders = [], []
    for temperature in (0.0, 1.0, 3.0):
        free = draw(stack(OWN), temperature=temperature)
        stopped = draw(stack(OWN), temperature=temperature, stop_ids=(stop, second), pad_id=17)
        for place in np.ndindex(PROBLEMS, SAMPLES):
            found = np.flatnonzero(np.isin(free.tokens_PxSxT[place], (stop, second)))
            enders += free.tokens_PxSxT[place][found[:1]].tolist()
            length = found[0] + 1 if len(found) else NEW
            ends.append(length)
            np.testing.assert_array_equal(stopped.mask_PxSxT[place], np.arange(NEW) < length)
            np.testing.assert_array_equal(stopped.tokens_PxSxT[place][:length], free.tokens_PxSxT[place][:length])
            assert np.all(stopped.tokens_PxSxT[place][length:] == 17)
            np.testing.assert_allclose(
                stopped.log_probs_PxSxT[place][:length], free.log_probs_PxSxT[place][:length], atol=1e-5
            )
            assert not np.any(stopped.log_probs_PxSxT[place][length:])
    assert {1, NEW} < set(ends)  # at once, never, and in between
    assert {stop, second} == set(enders), "either ends a completion"
    # All stop at once: nothing more is written.
    tokens, lengths = np.repeat(TOKENS[:1], PROBLEMS, axis=0), np.repeat(LENGTHS[:1], PROBLEMS)
    out = draw(stack(OWN[:1] * PROBLEMS), tokens, lengths, stop_ids=(stop,), pad_id=17)
    assert np.all(out.tokens_PxSxT == [stop] + [17] * (NEW - 1))
    assert np.all(out.mask_PxSxT == (np.arange(NEW) < 1))


def first_tokens(temperature, count=4000, **options):
    """Counts of the first token after one prompt, and its log-probabilities at temperature 1."""
    fixed = {"samples": count, "max_new_tokens": 1, "adapter_per_problem": False}
    out = draw(None, TOKENS[1:2], LENGTHS[1:2], temperature, 1, **fixed | options)
    assert out.tokens_PxSxT.shape == (1, count, 1)
    log_p = np.asarray(log_probs(CONFIG, PARAMS, None, TOKENS[1:2]))[0, -1]
    return np.bincount(out.tokens_PxSxT.ravel(), minlength=CONFIG.vocab_size), log_p, out


def chi_square(counts, log_p, temperature):
    p = np.exp(log_p / temperature - np.logaddexp.reduce(log_p / temperature))
    expected = counts.sum() * p
    common = expected >= 5
    expected = np.append(expected[common], expected[~common].sum() + 1e-9)
    counts = np.append(counts[common], counts[~common].sum())
    return np.sum((counts - expected) ** 2 / expected)


LIMIT = 42.3  # chi-square at 18 degrees of freedom, p = 0.001; joining rare tokens only lowers the degrees


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_follow_the_tempered_distribution(temperature):
    counts, log_p, out = first_tokens(temperature)
    assert chi_square(counts, log_p, temperature) < LIMIT
    for other in {0.5, 1.0, 2.0} - {temperature}:
        assert chi_square(counts, log_p, other) > 2 * LIMIT
    # The log-probabilities are those that the tokens were drawn with.
    tempered = log_p / temperature - np.logaddexp.reduce(log_p / temperature)
    np.testing.assert_allclose(out.log_probs_PxSxT[0, :, 0], tempered[out.tokens_PxSxT[0, :, 0]], atol=1e-5)


def test_later_tokens_have_noise_of_their_own():
    drawn = [draw(None, temperature=1000.0, key=key, adapter_per_problem=False).tokens_PxSxT for key in range(60)]
    tokens = np.stack(drawn, axis=-1)  # [P, S, T, keys], nearly uniform
    for a, b in (
        (tokens[:, :, 0], tokens[:, :, 1]),
        (tokens[:, :, 1], tokens[:, :, 2]),
        (tokens[:, 0], tokens[:, 1]),
        (tokens[0], tokens[1]),
    ):
        assert abs(np.mean(a == b) - 1 / CONFIG.vocab_size) < 0.03


def test_the_key_decides_the_samples():
    once, again, other = (draw(stack(OWN), temperature=1.0, key=key) for key in (0, 0, 1))
    assert_equal(once, again, atol=0)
    assert np.any(once.tokens_PxSxT != other.tokens_PxSxT)
    assert np.any(once.tokens_PxSxT[:, 0] != once.tokens_PxSxT[:, 1])


def test_prompt_and_completion_must_fit_the_context():
    def trace(new):
        jax.eval_shape(
            lambda: sampling.sample(
                CONFIG,
                PARAMS,
                None,
                sampling.Prompts(TOKENS, LENGTHS),
                jax.random.key(0),
                sampling.SamplingSpec(samples=1, max_new_tokens=new, temperature=0.0),
                adapter_per_problem=False,
            )
        )

    trace(24)
    with pytest.raises(
        ValueError, match="a prompt of 8 tokens and a completion of 25 exceed the model's context of 32"
    ):
        trace(25)


def test_noise_does_not_depend_on_the_rest_of_the_batch():
    reference = draw(stack(OWN), temperature=1.0)
    order = np.array([2, 0, 3])
    again = draw(
        stack([OWN[p] for p in order]), TOKENS[order], LENGTHS[order], 1.0, identities_P=order, max_new_tokens=NEW
    )
    assert_equal(again, pick(reference, order))


@pytest.mark.parametrize("top_p", [0.6, 0.85])
def test_only_the_nucleus_is_drawn(top_p):
    counts, log_p, out = first_tokens(1.0, top_p=top_p)
    p = np.exp(log_p)
    order = np.argsort(-p)
    size = int(np.searchsorted(np.cumsum(p[order]), top_p)) + 1
    assert 1 < size < len(p) - 1
    assert set(np.flatnonzero(counts)) == set(order[:size])
    inside = np.where(np.isin(np.arange(len(p)), order[:size]), log_p, -np.inf)
    inside -= np.logaddexp.reduce(inside)
    assert chi_square(counts, inside, 1.0) < LIMIT
    # The log-probabilities are those within the nucleus.
    np.testing.assert_allclose(out.log_probs_PxSxT[0, :, 0], inside[out.tokens_PxSxT[0, :, 0]], atol=1e-5)


def assert_certain(found):
    """The likeliest tokens, which no others could have been."""
    greedy = draw(stack(OWN))
    assert_equal(found, greedy._replace(log_probs_PxSxT=np.zeros_like(greedy.log_probs_PxSxT)))


def test_a_tiny_nucleus_is_greedy():
    assert_certain(draw(stack(OWN), temperature=1.0, top_p=1e-6))


@pytest.mark.parametrize("every", [3, NEW])
def test_a_stop_string_cuts_where_it_is_complete(monkeypatch, every):
    monkeypatch.setattr(sampling, "STOP_EVERY", every)
    free = draw(stack(OWN), temperature=1.0)
    a, b = map(int, free.tokens_PxSxT[1, 2, 2:4])  # a stop of two tokens that occurs

    def stops(ids):
        return any(list(pair) == [a, b] for pair in zip(ids, ids[1:], strict=False))

    stopped = draw(stack(OWN), temperature=1.0, pad_id=17, stops=stops)
    ends = []
    for place in np.ndindex(PROBLEMS, SAMPLES):
        ids = free.tokens_PxSxT[place].tolist()
        end = next((n for n in range(1, NEW + 1) if stops(ids[:n])), NEW)
        ends.append(end)
        np.testing.assert_array_equal(stopped.tokens_PxSxT[place], ids[:end] + [17] * (NEW - end))
        np.testing.assert_array_equal(stopped.mask_PxSxT[place], np.arange(NEW) < end)
        assert not np.any(stopped.log_probs_PxSxT[place][end:])
    assert {4, NEW} <= set(ends)


def test_few_lengths_are_compiled():
    sizes = sorted({sampling.bucket(length) for length in range(1, 1000)})
    assert sizes[:6] == [16, 24, 32, 48, 64, 96]
    assert all(length <= sampling.bucket(length) <= max(16, 1.5 * length) for length in range(1, 1000))
    assert sampling.bucket(70, limit=80) == 80


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"top_p": 0.0}, "top_p = 0.0 is not a probability"),
        ({"top_p": 1.5}, "top_p = 1.5 is not a probability"),
        ({"top_p": np.nan}, "top_p = nan is not a probability"),
        ({"temperature": -1.0}, "temperature = -1.0 is out of its range: choose 0 for the likeliest tokens, or"),
        ({"temperature": np.nan}, "temperature = nan is out of its range"),
        ({"temperature": np.inf}, "temperature = inf is out of its range"),
        ({"temperature": 1e-12, "top_p": 0.9}, "temperature = 1e-12 is out of its range"),
        ({"max_new_tokens": 0}, "max_new_tokens = 0: choose a whole number of at least 1"),
        ({"max_new_tokens": -3}, "max_new_tokens = -3: choose"),
        ({"max_new_tokens": 2.0}, "max_new_tokens = 2.0: choose"),
        ({"samples": 0}, "samples = 0: choose"),
        ({"pad_id": CONFIG.vocab_size}, "pad_id = 19 is not a token: choose one from 0 to 18"),
        ({"lengths": np.array([3, 0, 1, 5])}, "prompt 1 has the length 0: give at least one token, and at most the 8"),
        ({"lengths": np.array([3, 8, 1, 9])}, "prompt 3 has the length 9: give at least one token, and at most the 8"),
        ({"lengths": LENGTHS[:3]}, "prompts of the shape .4, 8. and lengths of the shape .3,.: give tokens"),
        ({"tokens": TOKENS[0]}, "prompts of the shape .8,. and lengths of the shape .4,.: give tokens"),
        ({"tokens": TOKENS + CONFIG.vocab_size}, "prompt 0 holds the token .*, but the model has those from 0 to 18"),
        ({"tokens": TOKENS - CONFIG.vocab_size}, "prompt 0 holds the token -.*, but the model has those from 0 to 18"),
    ],
)
def test_what_cannot_be_sampled_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        draw(stack(OWN), **options)


def test_the_least_temperature_is_greedy():
    assert_certain(draw(stack(OWN), temperature=sampling.LEAST_TEMPERATURE, top_p=0.9))


def test_no_parameter_is_copied_for_writing():
    config = variant(CONFIG, width=64, head_dim=16, mlp_width=256, layers=4)
    params = make_params(config)
    apart, _ = sampling.unstack(config, params, None)
    for i, layer in enumerate(apart["layers"]):
        for view, whole in zip(jax.tree.leaves(layer), jax.tree.leaves(params["layers"]), strict=True):
            np.testing.assert_array_equal(view, whole[i])
            assert view.unsafe_buffer_pointer() == whole.unsafe_buffer_pointer() + i * view.nbytes
    prompts = sampling.Prompts(np.zeros((1, 8), np.int32), np.zeros(1, np.int32), np.zeros(1, np.int32))
    spec = sampling.SamplingSpec(samples=2, max_new_tokens=8, temperature=0.0)
    settings = (config, apart, None, np.float32(0))
    state = sampling.prefill.eval_shape(*settings, prompts, jax.random.key(0), spec)
    program = sampling.decode.lower(*settings, np.int32(0), state, spec).compile()
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
    assert program.memory_analysis().temp_size_in_bytes < 0.3 * size
