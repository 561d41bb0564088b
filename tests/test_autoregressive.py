"""Policies that write token by token: distributions, token gradients, fits, runs, refusals."""

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given

from tests import strategies as draws
from toymodel import InputError, gradients, load, simulate
from toymodel.losses import DPO, SFTDPO
from toymodel.policies import Autoregressive, PrefixTabular, get
from toymodel.sequences import Sequences, TokenKind, kinds, overlapping_pairs

SPACE = Sequences(3, 3)
SHAPE = (2, SPACE.size)
POLICIES = [
    PrefixTabular(3, 3),
    Autoregressive(3, 3, width=4),
    Autoregressive(3, 3, width=4, trained="unembedding"),
]
every_policy = pytest.mark.parametrize("policy", POLICIES, ids=draws.name_of)
seeds = st.integers(0, 2**31 - 1)


@draws.compiled
def read(policy, params):
    logits = policy.logits(params)
    tokens = policy.token_log_probs(params), policy.space.token_log_probs(logits)
    return logits, policy.log_probs(params), *tokens


@every_policy
@given(seed=seeds, size=st.sampled_from([0.1, 1.0, 30.0]))
def test_sequences_have_probability_one_together(policy, seed, size):
    params = jax.tree.map(lambda leaf: size * leaf, policy.init(jax.random.key(seed), SHAPE))
    logits, log_probs, tokens, marginal = read(policy, params)
    np.testing.assert_allclose(np.exp(logits).sum(axis=-1), 1.0, rtol=0, atol=1e-12)
    np.testing.assert_allclose(log_probs, logits, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(tokens.sum(axis=-1), logits, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(marginal, tokens, rtol=1e-9, atol=1e-9)


@draws.compiled
def gradients_of_a_response(policy, params, x, y):
    """Of log pi(y|x): by the policy; and of each of its tokens, by JAX, [position, ...]."""
    cotangent = jnp.zeros(SHAPE).at[x, y].set(1.0)
    return policy.vjp(params, cotangent), jax.jacrev(lambda p: policy.token_log_probs(p)[x, y])(
        params
    )


@every_policy
@given(seed=seeds)
def test_a_responses_gradient_is_the_sum_of_its_tokens(policy, seed):
    params = policy.init(jax.random.key(seed), SHAPE)
    x, y = np.random.default_rng(seed).integers(SHAPE)
    whole, tokens = gradients_of_a_response(policy, params, x, y)
    summed = jax.tree.map(lambda leaf: leaf.sum(axis=0), tokens)
    assert draws.relative_error(whole, summed, 1.0) < 1e-10


@draws.compiled
def pulls(loss, policy, params, reference, pairs):
    """The gradient in the parameters, and the slope of the chosen and the tokens' residuals."""
    gradient = gradients.parameters(loss, policy, params, reference, pairs)
    batch = gradients.pair_batch(policy.log_probs(params), reference, pairs)
    return gradient, loss.slopes(batch)[0], policy.residuals(params)[0]


@hypothesis.settings(max_examples=10)
@given(seed=seeds, beta=st.floats(0.01, 2.0))
def test_logit_gradients_of_chosen_and_rejected_tokens_have_one_scale(seed, beta):
    """The paper's token level: C (1 - p) at the token and C p at others, signs turned; no prefix.

    C is the same for both halves, since a+ = -a-.
    """
    policy, loss = PrefixTabular(3, 3), DPO(beta)
    world = overlapping_pairs(jax.random.key(seed), SPACE, prompts=1)
    params = policy.init(jax.random.key(seed + 1), (1, SPACE.size))
    pairs = world.pairs
    gradient, slope, residuals = pulls(loss, policy, params, world.log_table, pairs)
    prefix = SPACE.prefix
    for half, sign in ((int(pairs.chosen[0]), 1), (int(pairs.rejected[0]), -1)):
        for t in (1, 2):  # after the split nodes belong to one half only
            expected = sign * slope[0] * residuals[half, t]
            np.testing.assert_allclose(gradient[0, prefix[half, t]], expected, atol=1e-13)


@hypothesis.settings(max_examples=10)
@given(seed=seeds)
def test_a_margin_loss_does_not_touch_the_common_prefix(seed):
    """a+ + a- = 0 there; a loss with a pull of its own on the chosen does touch it."""
    policy = PrefixTabular(3, 3)
    world = overlapping_pairs(jax.random.key(seed), SPACE, prompts=1, prefix=2)
    params = policy.init(jax.random.key(seed), (1, SPACE.size))

    def on_prefix(loss):
        gradient, *_ = pulls(loss, policy, params, world.log_table, world.pairs)
        return np.asarray(gradient[0, SPACE.prefix[int(world.pairs.chosen[0]), :2]])

    assert np.all(on_prefix(DPO()) == 0)
    assert np.all(np.abs(on_prefix(SFTDPO(gamma=0.5))).max(axis=-1) > 0)


# Fits -------------------------------------------------------------------------------------------


@draws.compiled
def fit_exactly(table):
    policy = PrefixTabular(3, 3)
    params, fit = policy.fit(table)
    return policy.log_probs(params), fit


@hypothesis.settings(max_examples=10)
@given(seed=seeds)
def test_prefix_tabular_fits_any_table_exactly(seed):
    logits = 3 * np.random.default_rng(seed).normal(size=SHAPE)
    table = jax.nn.log_softmax(jnp.asarray(logits), axis=-1)
    log_probs, fit = fit_exactly(table)
    np.testing.assert_allclose(log_probs, table, atol=1e-12)
    assert fit.error < 1e-13


def test_autoregressive_fits_what_another_of_its_form_is():
    policy = Autoregressive(3, 3, width=8)

    @draws.compiled
    def fitted(one, other):
        return policy.fit(policy.log_probs(policy.init(one, SHAPE)), other)

    _, fit = fitted(jax.random.key(0), jax.random.key(10))
    assert fit.error < 1e-3
    assert np.all(np.abs(fit.divergence) < 1e-3)


def test_prefixes_of_the_same_tokens_share_a_hidden_state_and_others_do_not():
    policy = Autoregressive(3, 3, width=4)
    hidden = policy.hidden(policy.init(jax.random.key(0), SHAPE))
    one, other, third = (hidden[:, SPACE.index(y), 2] for y in ([0, 1, 2], [1, 0, 0], [1, 1, 2]))
    np.testing.assert_allclose(one, other, atol=1e-12)
    assert np.all(np.abs(one - third).max(axis=-1) > 1e-3)


# Runs -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["prefix_tabular", pytest.param("autoregressive", marks=pytest.mark.slow)]
)
def test_runs_train_save_and_load(name, tmp_path):
    world = overlapping_pairs(jax.random.key(0), SPACE, prompts=2, prefix=1)
    policy = get(name, vocabulary=3, length=3)
    run = simulate(world, policy, "dpo", "adam", learning_rate=0.02, steps=30, record=15)
    pairs = run.pair_log_probs()
    margin = (pairs["chosen"] - pairs["rejected"]).values
    assert np.all(margin[-1] > margin[0])
    again = load(run.save(tmp_path / "run.zarr"))
    assert again.policy == policy
    np.testing.assert_array_equal(again.log_probs, run.log_probs)
    tokens = SPACE.token_log_probs(run.log_probs)
    on_prefix = np.asarray(kinds(SPACE, world.pairs)) == TokenKind.SHARED_PREFIX
    moved = np.asarray(tokens[-1] - tokens[0])[np.arange(2), np.asarray(world.pairs.chosen)]
    stands_still = np.abs(moved[on_prefix]).max() < 1e-10
    assert stands_still == (name == "prefix_tabular")


def test_frozen_embeddings_stand_still():
    """In the fit, and in training: no gradient reaches them."""
    policy = POLICIES[2]
    table = jnp.log(jnp.full(SHAPE, 1 / SPACE.size)).at[:, 0].add(1.0)

    @draws.compiled
    def both(key):
        start, fitted = policy.init(key, SHAPE), policy.fit_params(key, table)
        return start, fitted, policy.vjp(start, jnp.exp(table))

    start, fitted, gradient = both(jax.random.key(0))
    assert np.abs(fitted.unembedding - start.unembedding).max() > 1e-3
    assert np.abs(gradient.unembedding).max() > 1e-3
    for name in ("prompt", "position", "token"):
        np.testing.assert_array_equal(getattr(fitted, name), getattr(start, name))
        assert not np.any(getattr(gradient, name))


# Refusals ---------------------------------------------------------------------------------------

REFUSED = {
    "Sequences.vocabulary": lambda: PrefixTabular(vocabulary=1),
    "Sequences.length": lambda: Autoregressive(length=0),
    "Autoregressive.width": lambda: Autoregressive(width=0),
    "Autoregressive.fit_steps": lambda: Autoregressive(fit_steps=0.5),
    "Autoregressive.trained": lambda: Autoregressive(trained="none"),
    "Autoregressive.scale": lambda: Autoregressive(scale=0.0),
}


@pytest.mark.parametrize("named", REFUSED)
def test_bad_settings_are_refused(named):
    with pytest.raises(InputError, match=rf"^{named}: got .*expected"):
        REFUSED[named]()


@pytest.mark.parametrize("policy", POLICIES, ids=draws.name_of)
def test_worlds_of_other_sizes_are_refused(policy):
    world = jnp.full((2, 10), -np.log(10.0))
    with pytest.raises(InputError, match=r"scenario: got '10 responses', expected 27"):
        policy.fit(world)
