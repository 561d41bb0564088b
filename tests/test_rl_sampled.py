"""Sampled gradients, summed over every draw there is; runs that must agree; numbers at the edge."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import toymodel as tm
from tests.strategies import compiled, here, relative_error
from toymodel import InputError, preconditioners, rl
from toymodel.exact import rlhf_policy
from toymodel.rl.samples import Samples, clipped_weight, read

# The second prompt has no pair: it is held out.
PAIRS = [(0, 0, 1, 2.0), (2, 2, 0, 1.0)]
TABLE = jnp.log(jnp.asarray([[0.5, 0.3, 0.2], [0.2, 0.2, 0.6], [0.1, 0.7, 0.2]]))
REWARDS = np.array([[1.0, -0.5, 0.25], [9.0, 2.0, -7.0], [0.0, 0.3, 2.0]])
WORLD = tm.scenarios.build(log_table=TABLE, pairs=PAIRS, rewards=REWARDS)
SHARE = np.array([[2.0], [0.0], [1.0]]) / 3
DRAWN = 3  # samples
EVERY_DRAW = jnp.indices((3,) * DRAWN).reshape(DRAWN, -1).T  # [draw, sample]


def shaped(seed):
    """Policy and reference of a seed, rewards of size 1, a value of each prompt."""
    generator = np.random.default_rng(seed)
    logits = 1.5 * generator.normal(size=(2, 3, 3))
    policy, reference = jax.nn.log_softmax(logits)
    return policy, reference, generator.normal(size=(3, 3)), generator.normal(size=3)


@compiled
def _expected(method, log_probs, reference, value):
    """The mean of a method's gradient over all draws: a row depends on its own prompt's only."""
    worth = method.worth(log_probs, reference, method.table(WORLD))
    exact = jnp.sum(jnp.exp(log_probs) * worth, axis=-1, keepdims=True)
    share = rl.prompt_share(WORLD)

    def one(draw):
        response = jnp.broadcast_to(draw, (3, DRAWN))
        old, reward = read(log_probs, response), read(worth, response)
        fresh = Samples(response, old, reward, reward - exact, reference, value)
        memory = method.value(fresh, share)
        first = jnp.zeros((), int)
        gradient = method.logit_gradient(memory, WORLD, log_probs, jax.random.key(0), first)
        return jnp.exp(jnp.sum(old, axis=-1, keepdims=True)) * gradient

    return jnp.sum(jax.vmap(one)(EVERY_DRAW), axis=0)


def gradients(log_probs, reference, rewards, beta):
    """Upwards: of the reward, and of minus KL(pi || pi0), by automatic differentiation."""

    def gain(logits, price, table):
        now = jax.nn.log_softmax(logits)
        return jnp.sum(jnp.exp(now) * (table - price * (now - reference)))

    of = jax.grad(gain)
    return of(log_probs, 0.0, rewards), of(log_probs, beta, jnp.zeros_like(rewards))


EXACT = {  # method without numbers, the share of the reward's gradient, of the divergence's
    "none": (rl.Reinforce(baseline="none"), 1, 1),
    "running": (rl.Reinforce(baseline="running"), 1, 1),
    "exact": (rl.Reinforce(baseline="exact"), 1, 1),
    "mean": (rl.Reinforce(baseline="mean"), 1 - 1 / DRAWN, 1 - 1 / DRAWN),
    "rloo": (rl.RLOO(), 1, 1),
    "ppo": (rl.PPO(), 1, 1),
    "ppo penalty": (rl.PPO(price="penalty"), 1, 1),
    "grpo": (rl.GRPO(normalised=False), 1 - 1 / DRAWN, None),
}


@pytest.mark.parametrize(("method", "of_reward", "of_price"), EXACT.values(), ids=EXACT)
@given(seed=st.integers(0, 2**31), beta=st.floats(0, 3))
def test_the_mean_over_all_draws_is_the_gradient(method, of_reward, of_price, seed, beta):
    log_probs, reference, rewards, value = shaped(seed)
    method = dataclasses.replace(method, beta=beta, samples=DRAWN, rewards=rewards)
    up, price = gradients(log_probs, reference, rewards, beta)
    if of_price is None:  # k3 pays, on average, for KL(pi0 || pi)
        of_price, price = 1, -beta * (jnp.exp(log_probs) - jnp.exp(reference))
    expected = -SHARE * (of_reward * up + of_price * price)
    found = _expected(method, log_probs, reference, value)
    assert relative_error(found, expected, scale=1.0) < 1e-10


def test_the_groups_deviation_reweighs_prompts():
    """Rewards a hundred times smaller give the same gradient: no objective's derivative does."""
    log_probs, reference, rewards, value = shaped(3)

    def mean(scale, normalised):
        method = rl.GRPO(beta=0.0, samples=DRAWN, rewards=scale * rewards, normalised=normalised)
        return _expected(method, log_probs, reference, value)

    np.testing.assert_allclose(mean(0.01, True), mean(1.0, True), rtol=1e-9)
    np.testing.assert_allclose(mean(0.01, False), 0.01 * mean(1.0, False), rtol=1e-9)
    plain = -SHARE * gradients(log_probs, reference, rewards, 0.0)[0]
    ratio = np.asarray(mean(1.0, True) / np.where(SHARE > 0, plain, 1))[[0, 2]]
    assert np.ptp(ratio) > 0.1, "a factor for all, not a bias"


# Runs that must agree ---------------------------------------------------------------------------


def run(method, optimiser="sgd", policy="tabular", steps=30, scenario=WORLD, seed=5, rate=0.3):
    rates = {"learning_rate": rate} if isinstance(optimiser, str) else {}
    return tm.simulate(scenario, policy, method, optimiser, steps=steps, seed=seed, **rates)


def test_one_pass_of_ppo_is_reinforce_throughout_a_run():
    one = run(rl.PPO(beta=0.2, epochs=1, value_rate=0.25, clip=0.01))
    other = run(rl.Reinforce(beta=0.2, baseline="running", decay=0.75))
    np.testing.assert_allclose(one.log_probs, other.log_probs, rtol=1e-10)
    assert np.abs(one.log_probs[-1] - one.log_probs[0]).max() > 0.1


@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_the_natural_gradient_walks_along_the_optima(beta):
    found = run(rl.NaturalGradient(beta=beta), scenario=WORLD, rate=0.4, steps=12)
    for step in (1, 5, 12):
        inverse = 0.4 * sum((1 - 0.4 * beta) ** s for s in range(step))
        best = rlhf_policy(WORLD.rewards, found.reference, 1 / inverse)
        trained = np.array([0, 2])
        np.testing.assert_allclose(found.log_probs[step][trained], best[trained], atol=1e-10)
    np.testing.assert_allclose(found.log_probs[-1][1], found.reference[1], atol=1e-12)


def test_the_natural_optimiser_of_a_table_takes_the_closed_form():
    """It weighs prompts alike, so with three prompts a step is 3 rho A."""
    reference = run(rl.NaturalGradient(beta=0.5), steps=1).reference
    optimiser = preconditioners.natural(tm.Tabular(), 0.1, damping=1e-10)
    found = run(rl.ExactGradient(beta=0.5), optimiser, steps=1).log_probs[-1]
    step = 0.1 * 3 * SHARE * rl.advantage(reference, WORLD.rewards, reference, 0.5)
    expected = jax.nn.log_softmax(reference + step)
    np.testing.assert_allclose(found, expected, atol=1e-7)


def test_held_out_prompts_set_no_scale():
    """Normalised advantages have mean 0 and deviation 1 over what is trained, and only that."""
    key, first = jax.random.key(2), jnp.zeros((), int)

    @compiled
    def memory(rewards):
        method = rl.PPO(normalised=True, beta=0.0, samples=16, rewards=rewards)
        start = method.begin(WORLD, TABLE, key)
        return method.refresh(start, WORLD, TABLE, key, first)

    wild = REWARDS.copy()
    wild[1] *= 1e3
    usual, changed = (np.asarray(memory(rewards).advantage) for rewards in (REWARDS, wild))
    np.testing.assert_allclose(changed[[0, 2]], usual[[0, 2]], rtol=1e-12)
    np.testing.assert_allclose((SHARE / 16 * usual).sum(), 0, atol=1e-12)
    np.testing.assert_allclose((SHARE / 16 * usual**2).sum(), 1, rtol=1e-12)


# Numbers at the edge ----------------------------------------------------------------------------


@pytest.mark.parametrize("samples", [3, 7])
def test_rewards_all_alike_teach_grpo_nothing(float32, samples):
    """A mean of equal numbers is rounded: divided by a tiny deviation it would be an advantage."""
    reward = jnp.broadcast_to(jnp.linspace(0.1, 20.0, 200)[:, None], (200, samples))
    rounding = reward - jnp.mean(reward, axis=-1, keepdims=True)
    assert (rounding != 0).any(), "there was something to get wrong"
    drawn = jnp.zeros(reward.shape, int)
    fresh = Samples(drawn, reward, reward, reward, here(TABLE), reward[:, 0])
    valued = rl.GRPO(samples=samples).value(fresh, reward[:, 0])
    assert (valued.advantage == 0).all()


@pytest.mark.parametrize("method", [rl.GRPO(samples=4), rl.PPO(samples=4)], ids=["grpo", "ppo"])
def test_nothing_overflows(float32, method):
    """Responses that are likely now and were not, and the reverse, with advantages of any sign."""
    now = jax.nn.log_softmax(jnp.asarray([[0.0, -200.0, -1e4]] * 3))
    response = jnp.broadcast_to(jnp.asarray([0, 0, 1, 2]), (3, 4))
    old = jnp.broadcast_to(jnp.asarray([-1e4, -1e4, -1.0, -1.0]), (3, 4))
    advantage = jnp.broadcast_to(jnp.asarray([-1.0, 0.0, 1.0, -1.0]), (3, 4))
    memory = Samples(response, old, advantage, advantage, here(TABLE), jnp.zeros(3))
    gradient = method.logit_gradient(
        memory, here(WORLD), now, jax.random.key(0), jnp.zeros((), int)
    )
    assert jnp.isfinite(gradient).all()


@given(st.floats(-1e4, 0), st.floats(-1e4, 0), st.floats(-5, 5), st.floats(1e-3, 1e3))
def test_a_clipped_weight_is_finite_and_pulls_with_its_advantage(now, old, worth, clip):
    now, old, worth = (jnp.full((1, 1), number) for number in (now, old, worth))
    weight = clipped_weight(now, jnp.zeros((1, 1), int), old, worth, clip)
    assert jnp.isfinite(weight).all()
    assert (weight * worth >= 0).all()


def test_whole_rewards_are_numbers():
    """Else a run stops: what an update remembers must keep its types."""
    method, key = rl.GRPO(epochs=2, rewards=np.arange(9).reshape(3, 3)), jax.random.key(0)
    start = method.begin(WORLD, TABLE, key)
    after = jax.eval_shape(method.refresh, start, WORLD, TABLE, key, jnp.zeros((), int))
    types = [[leaf.dtype for leaf in jax.tree.leaves(memory)] for memory in (start, after)]
    assert types[0] == types[1]


REFUSED = {
    "not finite": (rl.RLOO(rewards=np.full((3, 3), np.nan)), 10, r"^RLOO.rewards: got .*finite"),
    "words": (rl.RLOO(rewards=np.full((3, 3), "good")), 10, r"^RLOO.rewards: got"),
    "shape": (rl.RLOO(rewards=np.zeros((3, 2))), 10, r"^RLOO.rewards: got 'shape \(3, 2\)'"),
    "one sample": (rl.RLOO(samples=1), 10, r"^RLOO.samples: got 1"),
    "one draw": (rl.RLOO(), 1, r"^draws: got 1, expected a whole number >= 2"),
}


@pytest.mark.parametrize(("method", "draws", "message"), REFUSED.values(), ids=REFUSED)
def test_moments_refuse_what_a_run_refuses(method, draws, message):
    with pytest.raises(InputError, match=message):
        rl.gradient_moments(method, WORLD, TABLE, TABLE, jax.random.key(0), draws=draws)
