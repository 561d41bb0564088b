"""Reward models: balanced gradients in every parameterisation, fitting, agreement, DPO as one."""

import dataclasses
import functools

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings

import toymodel as tm
from tests import strategies as draws
from tests.strategies import POLICIES, SHAPE
from toymodel import exact, rewards, worlds
from toymodel._errors import InputError
from toymodel.losses import DPO
from toymodel.scenarios import build

tables = hnp.arrays(float, SHAPE, elements=st.floats(-20.0, 20.0))


# Identity 7: rewards are balanced ----------------------------------------------------------------


@draws.compiled
def in_rewards(table, pairs):
    return (
        rewards.table_gradient(table, pairs),
        jax.grad(rewards.objective)(table, pairs),
        *rewards.bradley_terry_slopes(*pairs.read(table)),
    )


@given(table=tables, world=draws.worlds())
def test_slopes_cancel_and_rows_of_the_gradient_sum_to_zero(table, world):
    ours, automatic, chosen, rejected = in_rewards(*draws.here((table, world.pairs)))
    np.testing.assert_array_equal(chosen, -rejected)
    assert np.all(chosen <= 0)
    np.testing.assert_allclose(ours.sum(axis=1), 0, atol=1e-14)
    np.testing.assert_allclose(ours, automatic, atol=1e-14)


@draws.compiled
def in_parameters(model, params, direction, pairs):
    def loss(params):
        return rewards.objective(model.logits(params), pairs)

    def along(step):
        return loss(jax.tree.map(lambda leaf, way: leaf + step * way, params, direction))

    ours = rewards.gradient(model, params, pairs)
    products = jax.tree.map(lambda one, other: jnp.sum(one * other), ours, direction)
    forward = jax.jvp(loss, (params,), (direction,))[1]
    size = 1e-4
    finite = (along(size) - along(-size)) / (2 * size)
    return sum(jax.tree.leaves(products)), forward, finite


#: One form of each kind; a plain `pytest` runs these.
FIRST = [forms[0] for forms in POLICIES.values()]
OTHERS = [form for forms in POLICIES.values() for form in forms[1:]]


@pytest.mark.parametrize(
    "model",
    [*FIRST, *(pytest.param(form, marks=pytest.mark.slow) for form in OTHERS)],
    ids=draws.name_of,
)
@settings(max_examples=10)
@given(data=st.data())
def test_the_gradient_in_parameters_is_forward_ad_and_a_difference(model, data):
    """Reverse AD is in test_identities."""
    ways = st.tuples(draws.params(model), draws.params(model), draws.worlds())
    params, direction, world = draws.here(data.draw(ways))
    norm = jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(direction)))
    direction = jax.tree.map(lambda leaf: leaf / norm, direction)
    found = in_parameters(model, params, direction, world.pairs)
    ours, forward, finite = found
    assert abs(ours - forward) < 1e-10 * max(1, abs(forward))
    # A step may cross a kink, and move parameters that are not trained.
    differs = "relu" in draws.name_of(model) or "unembedding" in draws.name_of(model)
    assert differs or abs(ours - finite) < 1e-5 * max(1, abs(forward))


# Agreement ---------------------------------------------------------------------------------------

accuracy, centred = draws.compiled(rewards.accuracy), draws.compiled(rewards.centred)


@given(table=tables, world=draws.worlds())
def test_accuracy_is_the_share_of_pairs_in_order_and_a_tie_is_half(table, world):
    table = np.round(table / 10)  # so that there are ties
    right, total = 0.0, 0.0
    for prompt, chosen, rejected, weight in zip(
        *(world.pairs.prompt, world.pairs.chosen, world.pairs.rejected, world.pairs.weight),
        strict=True,
    ):
        gap = table[prompt, chosen] - table[prompt, rejected]
        right, total = right + weight * (0.5 if gap == 0 else float(gap > 0)), total + weight
    assert accuracy(*draws.here((table, world.pairs))) == pytest.approx(right / total, abs=1e-12)


@given(table=tables, world=draws.worlds())
def test_centred_rewards_have_mean_zero_and_the_same_gaps(table, world):
    found = np.asarray(centred(jnp.asarray(table), world.reference))
    mean = (np.exp(world.reference) * found).sum(axis=1)
    np.testing.assert_allclose(mean, 0, atol=1e-12)
    np.testing.assert_allclose(np.diff(found), np.diff(table), atol=1e-12)


@pytest.mark.usefixtures("float32")
def test_centred_rewards_of_mapped_large_tables():
    """A sum and a subtraction in one fusion went wrong from the third table of this size on."""
    table = jax.random.normal(jax.random.key(0), (3, 192, 64))
    log_probs = jax.nn.log_softmax(table[0])
    found = jax.jit(jax.vmap(rewards.centred, in_axes=(0, None)))(table, log_probs)
    mean = np.einsum("xy,sxy->sx", np.exp(log_probs), found)
    np.testing.assert_allclose(mean, 0, atol=1e-6)


# Fitting -----------------------------------------------------------------------------------------

SIZES = {
    **{"prompts": 6, "responses": 5, "features": 2, "heldout_prompts": 2, "shifted_prompts": 0},
    **{"heldout_responses": 0, "pairs": 3},
}
WORLD = worlds.generate(jax.random.key(1), temperature=0.5, **SIZES)
PAIRS = WORLD.scenario.pairs
LINEAR = worlds.loglinear(WORLD)
fit = functools.partial(rewards.fit, learning_rate=0.1, steps=6, record=3)


def test_fitting_is_adam_on_the_gradient_by_hand():
    model, decay = worlds.mlp(WORLD, tm.MLP(hidden=(3,), activation="tanh")), 0.01
    found = fit(model, WORLD.scenario, jax.random.key(2), weight_decay=decay)
    params, adam = model.init(jax.random.key(2), WORLD.shape), optax.adam(0.1)

    @jax.jit
    def update(params, state):
        def penalised(params):
            squares = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params))
            return rewards.objective(model.logits(params), PAIRS) + decay / 2 * squares

        updates, state = adam.update(jax.grad(penalised)(params), state, params)
        return optax.apply_updates(params, updates), state

    state, seen = adam.init(params), []
    for number in range(7):
        if number % 3 == 0:
            seen.append(model.logits(params))
        if number < 6:
            params, state = update(params, state)
    np.testing.assert_array_equal(found.steps, [0, 3, 6])
    for index, logits in enumerate(seen):
        mine = rewards.centred(logits, WORLD.scenario.log_table)
        np.testing.assert_allclose(found.rewards[index], mine, atol=1e-10)
        assert found.loss[index] == pytest.approx(
            float(rewards.objective(logits, PAIRS)), abs=1e-10
        )
        assert found.accuracy[index] == pytest.approx(float(rewards.accuracy(logits, PAIRS)))
    assert draws.relative_error(found.params, params, 1.0) < 1e-10


def test_dpo_with_beta_1_is_a_reward_model():
    """From the reference, mini-batches included; its reward is the implicit one."""
    model, key = worlds.mlp(WORLD, tm.MLP(hidden=(3,), fit_steps=20)), jax.random.key(5)
    run = tm.simulate(
        *(WORLD.scenario, model, DPO(beta=1.0), "adam"),
        **{"learning_rate": 0.1, "steps": 6, "record": 3, "batch_size": 4, "seed": 5},
    )
    params, _ = model.fit(WORLD.scenario.log_table, key)
    found = fit(
        *(model, WORLD.scenario, key),
        batch_size=4,
        params=params,
        baseline=model.logits(params),
    )
    implied = exact.implied_reward(run.log_probs, run.reference[None], 1.0)
    mine = jax.vmap(rewards.centred, in_axes=(0, None))(implied, WORLD.scenario.log_table)
    np.testing.assert_allclose(found.rewards, mine, atol=1e-9)
    assert np.abs(found.rewards[-1]).max() > 0.1


def test_it_maps_over_seeds_worlds_and_numbers():
    keys = jax.random.split(jax.random.key(3), 2)
    scenarios = [WORLD.scenario, dataclasses.replace(WORLD.scenario, pairs=WORLD.evaluation.pairs)]
    scenarios[0] = dataclasses.replace(scenarios[0], pairs=jax.tree.map(lambda p: p[:6], PAIRS))
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *scenarios)

    def one(scenario, key, decay):
        return fit(LINEAR, scenario, key, batch_size=2, weight_decay=decay).rewards

    decays = jnp.asarray([0.1, 0.0])
    together = jax.vmap(one)(stacked, keys, decays)
    for index, scenario in enumerate(scenarios):
        alone = one(scenario, keys[index], float(decays[index]))
        np.testing.assert_allclose(together[index], alone, atol=1e-10)


def test_numbers_do_not_compile_anew():
    for number in (0.1, 0.2):
        rewards.fit(
            *(LINEAR, WORLD.scenario, jax.random.key(7)),
            **{"learning_rate": number, "weight_decay": number, "steps": 7, "record": 7},
        )
        size = rewards.trace._cache_size()
        if number == 0.1:
            before = size
    assert size == before


def test_the_population_fit_recovers_the_true_rewards():
    """On Bradley-Terry's own weights every pair's gap is learnt; the constant by the convention."""
    truth = jnp.asarray([[1.0, -0.5, 0.2], [0.3, 0.1, -1.0]])
    table = jnp.log(jnp.asarray([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]]))
    world = build(log_table=table, pairs=[(0, 0, 1), (1, 1, 2)])
    world = dataclasses.replace(world, pairs=exact.population_pairs(truth))
    found = rewards.fit(
        *("tabular", world, jax.random.key(0)), optimiser="sgd", learning_rate=10.0, steps=400
    )
    np.testing.assert_allclose(found.rewards[-1], rewards.centred(truth, table), atol=1e-10)


def test_separable_pairs_diverge_unless_something_holds_them():
    clean = build(log_table=WORLD.scenario.log_table, pairs=[(0, 0, 1), (1, 2, 3)])
    run = functools.partial(
        rewards.fit, LINEAR, clean, jax.random.key(0), optimiser="sgd", learning_rate=1.0
    )
    steps = {"steps": 4000, "record": [1000, 2000, 4000]}
    free, held = run(**steps), run(**steps, weight_decay=0.1)
    grown = np.diff(np.abs(free.rewards).max(axis=(1, 2)))
    assert np.all(grown > 0.1), "like log t: as much in each doubling"
    np.testing.assert_allclose(held.rewards[1], held.rewards[2], atol=1e-9)


def test_early_stopping_takes_the_record_with_the_least_validation_loss():
    found = fit(LINEAR, WORLD.scenario, jax.random.key(0), validation=WORLD.evaluation.pairs)
    losses = [rewards.objective(table, WORLD.evaluation.pairs) for table in found.rewards]
    np.testing.assert_allclose(found.validation_loss, losses, atol=1e-12)
    np.testing.assert_array_equal(found.best(), found.rewards[int(np.argmin(losses))])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 0}, "steps: got 0"),
        ({"batch_size": 99}, "batch_size: got 99, expected a whole number from 1 to 18"),
        ({"record": [3, 1]}, "record: got"),
        ({"record": [1, 3]}, "end at steps = 6"),
        ({"record": 0}, "record: got 0"),
        ({"weight_decay": -0.1}, "weight_decay: got -0.1"),
        ({"weight_decay": float("nan")}, "weight_decay"),
        ({"baseline": jnp.zeros((2, 2))}, "baseline: got 'shape"),
        ({"learning_rate": None}, "learning_rate"),
        ({"optimiser": "adma"}, "did you mean"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        fit(LINEAR, WORLD.scenario, jax.random.key(0), **arguments)


def test_the_best_record_needs_validation_pairs():
    found = fit(LINEAR, WORLD.scenario, jax.random.key(0))
    with pytest.raises(InputError, match="validation"):
        found.best()
