"""Policy optimisation: exact gradients are derivatives, sampled ones are right on average."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import toymodel as tm
from tests.strategies import SHAPE, compiled, relative_error
from toymodel import InputError, rl
from toymodel.exact import rlhf_objective, rlhf_policy, rlhf_value
from toymodel.objectives import REGISTRY
from toymodel.rl.samples import clipped_weight, read
from toymodel.simulation import _advance

WORLD = tm.scenarios.random_rewards(jax.random.key(0), tm.scenarios.both_on_policy())
METHODS = {
    "exact_gradient": rl.ExactGradient(beta=0.3),
    "natural_gradient": rl.NaturalGradient(beta=0.3),
    "reinforce": rl.Reinforce(beta=0.3),
    "rloo": rl.RLOO(beta=0.3),
    "grpo": rl.GRPO(beta=0.3, epochs=2),
    "ppo": rl.PPO(beta=0.3, epochs=2, minibatches=2),
}


def test_every_method_is_in_the_table():
    found = {name for name in REGISTRY if issubclass(REGISTRY[name], rl.RewardObjective)}
    assert found == set(METHODS)


# Exact ------------------------------------------------------------------------------------------


def tables(seed):
    """Log-probabilities of a policy and of a reference, and rewards, some of them extreme."""
    generator = np.random.default_rng(seed)
    spread = generator.choice([0.1, 1.0, 30.0])
    logits, reference = spread * generator.normal(size=(2, *SHAPE))
    rewards = generator.normal(size=SHAPE)
    return jax.nn.log_softmax(logits), jax.nn.log_softmax(reference), jnp.asarray(rewards)


@compiled
def _derivatives(log_probs, rewards, reference, beta):
    def value(logits):
        return rlhf_objective(jax.nn.log_softmax(logits), rewards, reference, beta).sum()

    return (
        rl.reward_gradient(log_probs, rewards, reference, beta),
        jax.grad(value)(log_probs),
        jax.jacfwd(value)(log_probs),
    )


@given(st.integers(0, 2**31), st.floats(0, 5))
def test_the_exact_gradient_is_the_derivative(seed, beta):
    log_probs, reference, rewards = tables(seed)
    ours, reverse, forward = _derivatives(log_probs, rewards, reference, beta)
    assert relative_error(ours, reverse, scale=1.0) < 1e-10
    assert relative_error(ours, forward, scale=1.0) < 1e-10
    np.testing.assert_allclose(ours.sum(-1), 0, atol=1e-12)


@given(st.integers(0, 2**31), st.floats(0.05, 5))
def test_no_response_has_an_advantage_at_the_optimum(seed, beta):
    _, reference, rewards = tables(seed)
    best = rlhf_policy(rewards, reference, beta)
    np.testing.assert_allclose(rl.advantage(best, rewards, reference, beta), 0, atol=1e-9)


@pytest.mark.parametrize(
    ("method", "rate", "steps"),
    [(rl.ExactGradient(beta=2.0), 3.0, 8000), (rl.NaturalGradient(beta=2.0), 0.1, 200)],
    ids=["gradient", "natural"],
)
def test_ascent_converges_to_the_optimum(method, rate, steps):
    run = tm.simulate(
        WORLD, "tabular", method, "sgd", learning_rate=rate, steps=steps, record=steps
    )
    best = rlhf_policy(WORLD.rewards, run.reference, 2.0)
    apart = jnp.abs(jnp.exp(run.log_probs[-1]) - jnp.exp(best)).sum(-1) / 2
    assert apart.max() < 1e-6
    reached = rlhf_objective(run.log_probs[-1], WORLD.rewards, run.reference, 2.0)
    np.testing.assert_allclose(reached, rlhf_value(WORLD.rewards, run.reference, 2.0), atol=1e-6)


def test_the_natural_gradient_contracts_by_one_factor():
    """log pi - log pi*, up to a constant, shrinks by 1 - rate * beta a step."""
    run = tm.simulate(
        WORLD, "tabular", rl.NaturalGradient(beta=0.5), "sgd", learning_rate=0.4, steps=9
    )
    away = run.log_probs - rlhf_policy(WORLD.rewards, run.reference, 0.5)[None]
    away = away - away.mean(-1, keepdims=True)
    for before, after in itertools.pairwise(away):
        np.testing.assert_allclose(after, 0.8 * before, atol=1e-10)


# Sampled ----------------------------------------------------------------------------------------

AT = jax.nn.log_softmax(jnp.asarray(np.random.default_rng(1).normal(size=WORLD.shape)))
DRAWS = 2000
EXPECTED = -rl.prompt_share(WORLD)[:, None] * rl.reward_gradient(
    AT, WORLD.rewards, WORLD.log_table, 0.3
)


def moments(method):
    key = jax.random.key(7)
    mean, variance = rl.gradient_moments(method, WORLD, AT, WORLD.log_table, key, draws=DRAWS)
    return np.asarray(mean), np.sqrt(np.asarray(variance) / DRAWS)


UNBIASED = {
    "none": rl.Reinforce(beta=0.3, samples=4, baseline="none"),
    "running": rl.Reinforce(beta=0.3, samples=4, baseline="running"),
    "exact": rl.Reinforce(beta=0.3, samples=4, baseline="exact"),
    "rloo": rl.RLOO(beta=0.3, samples=4),
    "ppo": rl.PPO(beta=0.3, samples=4, epochs=1),
    "ppo penalty": rl.PPO(beta=0.3, samples=4, epochs=1, price="penalty"),
}


@pytest.mark.parametrize("method", UNBIASED.values(), ids=UNBIASED)
def test_estimators_are_right_on_average(method):
    """Forty entries within 4.5 standard errors: chance alone fails once in 4,000 such tests."""
    mean, error = moments(method)
    assert (np.abs(mean - EXPECTED) < 4.5 * error).all()
    assert error.max() < 0.1 * np.abs(EXPECTED).max(), "errors small enough to show a bias"


def test_a_mean_with_ones_own_reward_shrinks_the_gradient():
    mean, error = moments(rl.Reinforce(beta=0.3, samples=2, baseline="mean"))
    assert (np.abs(mean - EXPECTED / 2) < 4.5 * error).all()
    assert not (np.abs(mean - EXPECTED) < 4.5 * error).all()


def test_baselines_lower_the_variance():
    noise = {
        name: float((moments(rl.Reinforce(beta=0.3, samples=4, baseline=name))[1] ** 2).sum())
        for name in ("none", "exact")
    }
    noise["rloo"] = float((moments(rl.RLOO(beta=0.3, samples=4))[1] ** 2).sum())
    assert noise["exact"] < noise["rloo"] < noise["none"]


def test_the_loss_of_grpo_pays_for_the_other_divergence():
    """With rewards alike only k3 is left: its mean gradient is that of KL(pi0 || pi)."""
    flat = jnp.zeros(WORLD.shape)
    mean, error = moments(rl.GRPO(beta=0.3, samples=4, rewards=flat))
    share = rl.prompt_share(WORLD)[:, None]
    other = 0.3 * share * (jnp.exp(AT) - jnp.exp(WORLD.log_table))
    assert (np.abs(mean - other) < 4.5 * error).all()
    usual = -share * rl.reward_gradient(AT, flat, WORLD.log_table, 0.3)
    assert not (np.abs(mean - usual) < 4.5 * error).all()


def test_grpo_without_deviation_is_the_shrunk_gradient():
    mean, error = moments(rl.GRPO(beta=0.0, samples=4, normalised=False))
    share = rl.prompt_share(WORLD)[:, None]
    plain = -share * rl.reward_gradient(AT, WORLD.rewards, WORLD.log_table, 0.0)
    assert (np.abs(mean - 0.75 * plain) < 4.5 * error).all()


def test_ppo_of_one_pass_is_the_policy_gradient():
    """The same samples, the same baseline: the same gradient to the last digits."""
    key, first = jax.random.key(3), jnp.zeros((), int)

    def gradient(method):
        memory = method.begin(WORLD, WORLD.log_table, key)
        memory = method.refresh(memory, WORLD, AT, key, first)
        return method.logit_gradient(memory, WORLD, AT, key, first)

    ppo = gradient(rl.PPO(beta=0.3, epochs=1, minibatches=1, value_rate=0.1))
    plain = gradient(rl.Reinforce(beta=0.3, baseline="running", decay=0.9))
    np.testing.assert_allclose(ppo, plain, rtol=1e-12)


def test_the_clipped_weight_is_the_surrogates_derivative():
    generator = np.random.default_rng(0)
    old = jnp.asarray(generator.normal(size=(4, 6)) - 2)
    worth = jnp.asarray(generator.normal(size=(4, 6)))
    drawn = jnp.asarray(generator.integers(10, size=(4, 6)))

    def surrogate(log_prob):
        ratio = jnp.exp(log_prob - old)
        return jnp.minimum(ratio * worth, jnp.clip(ratio, 0.8, 1.2) * worth).sum()

    expected = jax.grad(surrogate)(read(AT, drawn))
    found = clipped_weight(AT, drawn, old, worth, 0.2)
    assert (found == 0).any()
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_samples_are_kept_for_as_many_updates_as_they_serve():
    method, key = rl.PPO(epochs=2, minibatches=2, samples=4), jax.random.key(0)
    memory, seen = method.begin(WORLD, WORLD.log_table, key), []
    for number in range(6):
        memory = method.refresh(memory, WORLD, AT, key, jnp.asarray(number))
        seen.append(np.asarray(memory.response))
    assert all((one == seen[0]).all() for one in seen[1:4])
    assert (seen[4] != seen[0]).any()
    assert (seen[5] == seen[4]).all()


# Runs -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_every_method_learns_and_is_saved(name, tmp_path):
    method = METHODS[name]
    run = tm.simulate(WORLD, "tabular", method, "sgd", learning_rate=0.5, steps=200, seed=[0, 1])
    first, last = (
        rlhf_objective(run.log_probs[seed, t], WORLD.rewards, run.reference[seed], 0.3).mean()
        for seed, t in ((1, 0), (1, -1))
    )
    assert last > first + 0.05
    again = tm.load(run.save(tmp_path / "run.zarr"))
    assert repr(again.loss) == repr(method)
    np.testing.assert_array_equal(again.log_probs, run.log_probs)
    np.testing.assert_array_equal(again.scenario.rewards, WORLD.rewards)


def test_other_numbers_do_not_compile_again():
    def run(beta, clip):
        method = rl.PPO(beta=beta, clip=clip, rewards=WORLD.rewards)
        return tm.simulate(WORLD, "tabular", method, "sgd", learning_rate=0.1, steps=5)

    run(0.1, 0.2)
    before = _advance._cache_size()
    run(0.7, 0.3)
    assert _advance._cache_size() == before


def test_only_prompts_with_pairs_are_trained():
    world = tm.scenarios.build(
        log_table=WORLD.log_table, pairs=[(0, 0, 4), (2, 2, 7)], rewards=WORLD.rewards
    )
    run = tm.simulate(world, "tabular", rl.ExactGradient(), "sgd", learning_rate=1.0, steps=3)
    moved = np.abs(run.log_probs[-1] - run.reference).max(-1) > 1e-6
    assert moved.tolist() == [True, False, True, False]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: rl.RLOO(samples=1), r"^RLOO.samples: got 1, expected a whole number >= 2"),
        (lambda: rl.GRPO(epochs=0), r"^GRPO.epochs: got 0"),
        (lambda: rl.PPO(samples=6, minibatches=4), r"^PPO.minibatches: got 4, expected a divisor"),
        (lambda: rl.PPO(price="tax"), r"^PPO.price: got 'tax'"),
        (lambda: rl.PPO(clip=0.0), r"^PPO.clip: got 0.0"),
        (lambda: rl.Reinforce(baseline="mena"), r"did you mean 'mean'"),
        (lambda: rl.ExactGradient(beta=-1.0), r"^ExactGradient.beta: got -1.0"),
        (lambda: rl.ExactGradient(rewards=jnp.zeros((2, 2))), r"^ExactGradient.rewards: got"),
    ],
)
def test_bad_numbers_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        tm.simulate(WORLD, "tabular", make(), "sgd", learning_rate=0.1, steps=2)


def test_a_world_without_rewards_is_refused():
    with pytest.raises(InputError, match=r"^scenario.rewards: got None.*with_rewards"):
        tm.simulate("both_on_policy", "tabular", "ppo", "sgd", learning_rate=0.1, steps=2)


def test_what_needs_a_loss_on_pairs_is_refused():
    run = tm.simulate(WORLD, "tabular", "exact_gradient", "sgd", learning_rate=0.1, steps=2)
    for view in (run.training_curves, run.probability_gradients, run.decompose):
        with pytest.raises(InputError, match=r"^loss: got 'ExactGradient'"):
            view()
    with pytest.raises(InputError, match=r"^batch_size: got 2"):
        tm.simulate(WORLD, "tabular", "ppo", "sgd", learning_rate=0.1, steps=2, batch_size=2)
