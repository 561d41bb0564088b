"""A run equals plain training loops by autodiff, records what it was asked for, compiles once."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import toymodel as tm
from toymodel import optimisers, sampling, simulation
from toymodel.scenarios import build


def world(*weights):
    """Two prompts with two pairs each, one without."""
    table = [[0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4], [0.25, 0.25, 0.25, 0.25]]
    pairs = ((0, 0, 1), (0, 2, 3), (1, 3, 0), (1, 3, 1))
    return build(table, [(*pair, weight) for pair, weight in zip(pairs, weights, strict=True)])


WORLD = world(2.0, 0.5, 1.0, 3.0)
MLP = tm.MLP(hidden=(4,), activation="tanh", fit_steps=5)
DPO, FLEX = tm.losses.DPO(beta=0.5), tm.losses.FlexSFTDPO(beta_chosen=0.3, beta_rejected=0.1)


def run(policy="tabular", loss=DPO, optimiser="sgd", scenario=WORLD, **settings):
    if isinstance(optimiser, str):
        settings = {"learning_rate": 0.5} | settings
    return tm.simulate(scenario, policy, loss, optimiser, **{"steps": 50} | settings)


# Against a plain loop ---------------------------------------------------------------------------


def descend(objective, params, optimiser, steps):
    """Parameters after 0, 1, ..., `steps` updates, by automatic differentiation."""
    memory, visited = optimiser.init(params), [params]

    @jax.jit
    def step(params, memory):
        updates, memory = optimiser.update(jax.grad(objective)(params), memory, params)
        return optax.apply_updates(params, updates), memory

    for _ in range(steps):
        params, memory = step(params, memory)
        visited.append(params)
    return visited


def fitted(policy, key):
    """Supervised training on the table: log-probabilities for a table, Adam for a perceptron."""
    if policy == tm.Tabular():
        return WORLD.log_table
    return descend(
        lambda params: -jnp.sum(WORLD.table * policy.log_probs(params)),
        policy.init(key, WORLD.shape),
        optax.adam(policy.fit_learning_rate),
        policy.fit_steps,
    )[-1]


def plain_loop(policy, loss, optimiser, steps):
    start, pairs = fitted(policy, jax.random.key(0)), WORLD.pairs
    at_chosen, at_rejected = (pairs.prompt, pairs.chosen), (pairs.prompt, pairs.rejected)
    reference = policy.log_probs(start)

    def objective(params):
        now = policy.log_probs(params)
        tables = (now, at_chosen), (now, at_rejected), (reference, at_chosen)
        columns = [table[at] for table, at in (*tables, (reference, at_rejected))]
        values = loss.value(tm.losses.PairBatch(*columns))
        return jnp.sum(pairs.weight * values) / 6.5

    visited = descend(objective, start, optimiser, steps)
    return np.stack([policy.log_probs(params) for params in visited])


MOMENTUM = {"momentum": 0.9, "nesterov": True}
CHAIN = optax.chain(optax.clip(0.1), optax.rmsprop(optax.cosine_decay_schedule(0.1, 40)))
LOOPS = {  # policy, loss, the optimiser for `simulate`, the same by hand
    "tabular-sgd": (tm.Tabular(), DPO, optimisers.get("sgd", 0.5), optax.sgd(0.5)),
    "tabular-nesterov": (
        tm.Tabular(),
        tm.losses.IPO(eta=0.5),
        optimisers.get("sgd", 0.1, **MOMENTUM),
        optax.sgd(0.1, **MOMENTUM),
    ),
    "tabular-adam": (
        tm.Tabular(),
        FLEX,
        optimisers.get("adam", 0.5, b2=0.9),
        optax.adam(0.5, b2=0.9),
    ),
    "tabular-optax object": (tm.Tabular(), tm.losses.SLiC(), CHAIN, CHAIN),
    "mlp-adam": (MLP, DPO, optimisers.get("adam", 0.5), optax.adam(0.5)),
}


@pytest.mark.parametrize(("policy", "loss", "optimiser", "by_hand"), LOOPS.values(), ids=LOOPS)
def test_equals_plain_loop(policy, loss, optimiser, by_hand):
    actual = run(policy, loss, optimiser)
    expected = plain_loop(policy, loss, by_hand, 50)
    np.testing.assert_allclose(actual.log_probs, expected, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(actual.reference, expected[0], rtol=1e-12)
    np.testing.assert_allclose(policy.log_probs(actual.params), expected[-1], rtol=1e-11)
    assert np.abs(expected[-1] - expected[0]).max() > 0.1  # there was something to get wrong


# What is recorded -------------------------------------------------------------------------------

SCHEDULES = {  # steps, record, expected
    "default, short": (50, None, range(51)),
    "default, long": (450, None, range(0, 451, 2)),
    "every": (50, 10, range(0, 51, 10)),
    "every, and the last": (50, 20, [0, 20, 40, 50]),
    "a list": (50, [3, 10, 50], [3, 10, 50]),
    "an array": (50, np.array([0, 49]), [0, 49]),
    **{
        f"{length} records": (250, np.arange(250 - length, 250), range(250 - length, 250))
        for length in (1, 2, 7, 8, 9, 49, 50, 51, 201)
    },
}


@pytest.fixture(scope="module")
def dense():
    """Every step of a run of 450."""
    return run(steps=450, record=1)


@pytest.mark.parametrize(("steps", "record", "expected"), SCHEDULES.values(), ids=SCHEDULES)
def test_schedule(dense, steps, record, expected):
    sparse = run(steps=steps, record=record)
    assert sparse.steps.tolist() == list(expected)
    np.testing.assert_allclose(sparse.log_probs, dense.log_probs[sparse.steps], rtol=1e-13)
    final = jax.nn.log_softmax(sparse.params)  # trained to the end, though it be not recorded
    np.testing.assert_allclose(final, dense.log_probs[steps], rtol=1e-13)


# Seeds and mini-batches -------------------------------------------------------------------------


SHORT = {"policy": tm.MLP(hidden=(), fit_steps=5), "steps": 10, "batch_size": 2}


def test_seeds_are_single_runs():
    several = run(**SHORT, seed=[3, 1])
    assert (several.seed, several.log_probs.shape) == ((3, 1), (2, 11, 3, 4))
    for index, seed in enumerate([3, np.int64(1)]):
        single = run(**SHORT, seed=seed)
        assert (single.seed, single.log_probs.shape) == (int(seed), (11, 3, 4))
        for field in ("log_probs", "reference", "fit", "params"):
            ours, theirs = (jax.tree.leaves(getattr(one, field)) for one in (single, several))
            for one, both in zip(ours, theirs, strict=True):
                np.testing.assert_allclose(one, both[index], rtol=1e-9, atol=1e-14)
    assert not np.allclose(several.log_probs[0], several.log_probs[1])


def test_deterministic():
    first, again = (run(**SHORT, seed=5) for _ in range(2))
    np.testing.assert_array_equal(first.log_probs, again.log_probs)


def test_the_whole_data_as_a_batch():
    full, batch = run(), run(batch_size=np.int64(4))
    assert full.batch_size is batch.batch_size is None
    np.testing.assert_array_equal(full.log_probs, batch.log_probs)


def test_a_batch_without_weight_changes_nothing():
    epoch = run(scenario=world(1.0, 0.0, 0.0, 0.0), batch_size=1, steps=4)
    moved = np.any(np.diff(epoch.log_probs, axis=0) != 0, axis=(1, 2))
    assert sorted(moved.tolist()) == [False, False, False, True]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 6])
def test_an_epoch_visits_each_pair_once(size):
    data = build(np.full((6, 2), 0.5), [(x, x % 2, 1 - x % 2) for x in range(6)]).pairs
    epochs = []
    for epoch in range(4):
        steps = range(epoch * (6 // size), (epoch + 1) * (6 // size))
        batches = [sampling.minibatch(data, size, jax.random.key(1), step) for step in steps]
        for batch in batches:  # the fields of a pair stay together
            np.testing.assert_array_equal(batch.chosen, batch.prompt % 2)
        epochs.append([int(x) for batch in batches for x in batch.prompt])
    assert all(len(set(epoch)) == len(epoch) == 6 // size * size for epoch in epochs)
    assert len(set(map(tuple, epochs))) > 1  # a fresh order each time


def test_batch_gradients_average_to_the_full_gradient():
    equal, tiny = world(1.0, 1.0, 1.0, 1.0), 1e-7  # a step so small that the policy stands still
    full = run(scenario=equal, learning_rate=tiny, steps=1)
    epoch = run(scenario=equal, learning_rate=tiny / 4, steps=4, batch_size=1)
    moved, expected = (one.log_probs[-1] - one.log_probs[0] for one in (epoch, full))
    np.testing.assert_allclose(moved, expected, rtol=1e-5, atol=1e-14)
    assert np.abs(expected).max() > 1e-9


# Compilation ------------------------------------------------------------------------------------

BASE = {"scenario": "both_on_policy", "optimiser": "adam", "record": [0, 5, 50]}
CHANGED_NUMBERS = {
    "beta": {"loss": tm.losses.DPO(beta=0.9)},
    "learning rate": {"learning_rate": 0.01},
    "seed": {"seed": 7},
    "scenario": {"scenario": "both_off_policy"},
    "table, pairs, weights": {
        "scenario": build(np.full((4, 10), 0.1), [(0, 1, 2, 0.5), (0, 2, 1), (1, 4, 3), (3, 0, 9)])
    },
    "schedule": {"record": [2, 3, 4]},
    "number of records": {"record": 1},
    "steps": {"steps": 450},
}
CHANGED_STRUCTURE = {
    "loss": {"loss": tm.losses.IPO()},
    "batch size": {"batch_size": 3},
}


def compilations_of(change):
    """How often JAX compiles when one thing changes."""

    def compiled():
        return simulation._start._cache_size() + simulation._advance._cache_size()

    run(**BASE)
    before = compiled()
    run(**BASE | change)
    return compiled() - before


@pytest.mark.parametrize("change", CHANGED_NUMBERS.values(), ids=CHANGED_NUMBERS)
def test_other_numbers_compile_once(change):
    assert compilations_of(change) == 0


@pytest.mark.parametrize("change", CHANGED_STRUCTURE.values(), ids=CHANGED_STRUCTURE)
def test_other_structure_compiles_anew(change):
    assert compilations_of(change) > 0


def test_numbers_of_a_named_optimiser_are_leaves():
    method = optimisers.get("sgd", 0.5, **MOMENTUM)
    assert sorted(jax.tree.leaves(method)) == [0.5, 0.9]
    assert optimisers.describe(method) == {"name": "sgd", "learning_rate": 0.5} | MOMENTUM


# Precision --------------------------------------------------------------------------------------


def dtypes(arrays):
    return {str(leaf.dtype) for leaf in jax.tree.leaves(arrays)}


def test_float32_by_default(float32):
    result = run(scenario="both_on_policy", steps=3)
    assert dtypes((result.log_probs, result.reference, result.fit, result.params)) == {"float32"}
    perceptron = jax.eval_shape(MLP.fit, result.scenario.log_table, jax.random.key(0))
    assert dtypes(perceptron) == {"float32"}
