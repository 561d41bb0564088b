"""What a policy is worth: against enumeration, against samples, and at the ends of the ranges."""

import itertools

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given

from tests import strategies as draws
from toymodel import InputError, exact, values
from toymodel.sampling import BradleyTerry, Noisy

SHAPE = (2, 4)
tables = hnp.arrays(float, SHAPE, elements=st.floats(-5.0, 0.0)).map(
    lambda logits: jnp.asarray(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
)
# whole numbers tie, the others seldom do
rewards = hnp.arrays(float, SHAPE, elements=st.integers(-1, 1).map(float) | st.floats(-3.0, 3.0))
betas = draws.positive(0.01, 100.0)


@draws.compiled
def measured(policy, other, reward, beta):
    return {
        "reward": values.expected_reward(policy, reward),
        "divergence": values.divergence(policy, other),
        "regret": values.regret(policy, reward, other, beta),
        "lost": exact.rlhf_value(reward, other, beta)
        - exact.rlhf_objective(policy, reward, other, beta),
        "ideal": values.win_rate(policy, other, reward),
        "mirrored": values.win_rate(other, policy, reward),
        "coin": values.win_rate(policy, other, reward, BradleyTerry(beta)),
        "noisy": values.win_rate(policy, other, reward, Noisy(BradleyTerry(beta), 0.2)),
    }


@given(policy=tables, other=tables, reward=rewards, beta=betas)
def test_values_by_enumeration(policy, other, reward, beta):
    found = measured(policy, other, reward, beta)
    p, q = np.exp(policy), np.exp(other)
    expected = {name: np.zeros(SHAPE[0]) for name in ("reward", "divergence", "ideal", "coin")}
    for x, y in np.ndindex(SHAPE):
        expected["reward"][x] += p[x, y] * reward[x, y]
        expected["divergence"][x] += p[x, y] * np.log(p[x, y] / q[x, y])
        for z in range(SHAPE[1]):
            gap = reward[x, y] - reward[x, z]
            expected["ideal"][x] += p[x, y] * q[x, z] * (0.5 if gap == 0 else float(gap > 0))
            expected["coin"][x] += p[x, y] * q[x, z] / (1 + np.exp(np.clip(-gap / beta, None, 700)))
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-10, err_msg=name)
    np.testing.assert_allclose(found["ideal"] + found["mirrored"], 1, atol=1e-10)
    np.testing.assert_allclose(found["noisy"], 0.8 * found["coin"] + 0.2 * (1 - found["coin"]))
    scale = 1 + beta * np.abs(policy - other).max()
    np.testing.assert_allclose(found["regret"] / scale, found["lost"] / scale, atol=1e-10)


@given(other=tables, reward=rewards, beta=betas)
def test_only_the_optimum_has_no_regret(other, reward, beta):
    best = exact.rlhf_policy(reward, other, beta)
    np.testing.assert_allclose(measured(best, other, reward, beta)["regret"], 0, atol=1e-12)
    push = 1e-3 * np.asarray([[0.0, 1.0, 0.0, 3.0]])
    p, moved = np.exp(best), jax.nn.log_softmax(best + push, axis=-1)
    variance = (p * push**2).sum(-1) - (p * push).sum(-1) ** 2
    found = np.asarray(measured(moved, other, reward, beta)["regret"]) / beta
    np.testing.assert_allclose(found, variance / 2, rtol=5e-3, atol=1e-15)  # to second order


best_of = draws.compiled(values.best_of_n)


@given(policy=tables, reward=rewards, n=st.integers(1, 4))
def test_best_of_n_by_enumeration(policy, reward, n):
    """Every n-tuple of samples; one of its best is taken at random."""
    p, expected = np.exp(policy), np.zeros(SHAPE)
    for x in range(SHAPE[0]):
        for samples in itertools.product(range(SHAPE[1]), repeat=n):
            seen = reward[x, list(samples)]
            winners = [y for y, r in zip(samples, seen, strict=True) if r == seen.max()]
            for y in winners:
                expected[x, y] += p[x, list(samples)].prod() / len(winners)
    np.testing.assert_allclose(np.exp(best_of(policy, reward, float(n))), expected, atol=1e-12)


numbers = st.just(1.0) | draws.positive(1.0, 1e6)


@given(policy=tables, reward=rewards, n=numbers)
def test_best_of_any_number(policy, reward, n):
    """For whole numbers and others: F^n, the bound, tied responses by their probabilities."""
    found = np.asarray(best_of(policy, reward, n))
    for x in range(SHAPE[0]):
        for y in range(SHAPE[1]):
            is_up_to, tied = reward[x] <= reward[x, y], reward[x] == reward[x, y]
            whole = np.exp(np.logaddexp.reduce(policy[x, is_up_to])) ** n
            np.testing.assert_allclose(np.exp(found[x, is_up_to]).sum(), whole, atol=1e-9)
            shares = found[x, tied] - np.asarray(policy)[x, tied]
            np.testing.assert_allclose(shares, shares[0], atol=1e-9)
    bound = values.best_of_n_bound(n)
    kl = np.sum(np.exp(found) * (found - policy), axis=-1)
    assert np.all(kl <= bound + 1e-10)
    if n == 1:
        np.testing.assert_allclose(found, policy, atol=1e-10)


@pytest.mark.parametrize("bits", [32, 64])
def test_nothing_is_lost_in_tiny_probabilities(bits):
    """log(n pi) of an unlikely best response, and n log F of an unlikely set below the best."""
    with draws.precision(bits) as tolerance:
        policy = jax.nn.log_softmax(jnp.asarray([[0.0, -1e4, -50.0], [-1e4, 0.0, -1e3]]), axis=-1)
        reward = jnp.asarray([[0.0, 2.0, 1.0], [0.0, 2.0, 1.0]])
        found = best_of(policy, reward, 1000.0)
        assert np.isfinite(found).all()
        best, second = np.log(1000.0) - 1e4, np.log(1000.0) - 50.0
        np.testing.assert_allclose(found[0], [0.0, best, second], rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(found[1], [-1e7, 0.0, -1e6], rtol=tolerance, atol=tolerance)
        one = best_of(policy, reward, 1.0)
        np.testing.assert_allclose(one, policy, rtol=tolerance, atol=tolerance)


def test_many_small_responses_reach_the_bound():
    responses = 1000
    policy = jnp.full((1, responses), -np.log(responses))
    reward = jnp.asarray([np.random.default_rng(0).permutation(responses)], float)
    for n in (2.0, 5.0):
        kl = values.divergence(best_of(policy, reward, n), policy)[0]
        bound = values.best_of_n_bound(n)
        assert bound - 5e-3 < kl <= bound


def test_values_by_samples():
    """Within five standard errors of 20,000 samples."""
    count, n = 20_000, 3
    keys = jax.random.split(jax.random.key(0), 2)
    policy = jax.nn.log_softmax(jnp.asarray([[0.3, -1.0, 0.8, 0.0]]), axis=-1)
    other = jax.nn.log_softmax(jnp.asarray([[0.0, 1.0, 0.2, -0.3]]), axis=-1)
    reward = np.asarray([1.0, 0.0, -0.5, 1.0])
    own = np.asarray(jax.random.categorical(keys[0], policy[0], shape=(count, n)))
    others = np.asarray(jax.random.categorical(keys[1], other[0], shape=(count,)))
    best = own[np.arange(count), reward[own].argmax(1)]  # the first of the best: samples are alike
    samples = {
        "reward": reward[own[:, 0]],
        "win": (1 + np.sign(reward[own[:, 0]] - reward[others])) / 2,
        **{f"best {y}": (best == y).astype(float) for y in range(4)},
    }
    table = jnp.asarray(reward)[None]
    found = {
        "reward": values.expected_reward(policy, table)[0],
        "win": values.win_rate(policy, other, table)[0],
        **{f"best {y}": p for y, p in enumerate(np.exp(values.best_of_n(policy, table, n)[0]))},
    }
    for name, drawn in samples.items():
        error = drawn.std() / np.sqrt(count)
        assert abs(drawn.mean() - found[name]) < 5 * error, name


FAIR = np.log(np.full((1, 2), 0.5))
WIDE = np.zeros((1, 3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: values.expected_reward(FAIR, WIDE), r"^rewards: got 'shape \(1, 3\)'"),
        (lambda: values.expected_reward(FAIR[0], WIDE), r"^log_probs: got 'shape \(2,\)'"),
        (lambda: values.divergence(FAIR, WIDE), "^reference: got"),
        (lambda: values.regret(FAIR, FAIR, WIDE, 0.1), "^reference: got"),
        (lambda: values.regret(FAIR, FAIR, FAIR, 0.0), "^beta: got 0.0"),
        (lambda: values.win_rate(FAIR, WIDE, FAIR), "^other: got"),
        (lambda: values.win_rate(FAIR, FAIR, FAIR, "ideel"), "did you mean 'ideal'"),
        (lambda: values.win_rate(FAIR, FAIR, FAIR, 0.5), "^annotator: got 0.5"),
        (lambda: values.best_of_n(FAIR, WIDE, 2), "^rewards: got"),
        (lambda: values.best_of_n(FAIR, FAIR, 0.5), "^n: got 0.5"),
        (lambda: values.best_of_n_bound(np.nan), "^n: got nan"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
