"""The row form of a policy is the policy: the same logits and derivative, many cells at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import toymodel as tm
from tests.strategies import relative_error
from toymodel.policies import rows
from toymodel.sweeps import fused, steppers

SHAPE, CELLS = (3, 5), 4
ENTRIES = [(x, y) for x in range(SHAPE[0]) for y in range(SHAPE[1])]
POLICIES = [
    tm.Tabular(),
    tm.MLP(hidden=(6,)),
    tm.MLP(hidden=(7, 4), activation="tanh"),
    tm.MLP(hidden=(5, 3, 2), activation="gelu"),
]


@pytest.fixture(autouse=True)
def _rows_broadcast():
    with jax.numpy_rank_promotion("allow"):
        yield


def drawn(policy):
    """Parameters of some cells, with the cells first, and a cotangent, [cell, prompt, response]."""
    keys = jax.random.split(jax.random.key(1), CELLS)
    params = jax.vmap(lambda key: policy.init(key, SHAPE))(keys)
    return params, jax.random.normal(jax.random.key(2), (CELLS, *SHAPE))


def last(tree):
    return jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, -1), tree)


#: Response 1 is in two couples; in the other worlds each is in one, or the same couple twice.
PAIRS = {
    "apart": ((0, 1, 3), (2, 0, 4)),
    "shared": ((0, 1, 3), (1, 2, 1), (2, 0, 4)),
    "twice": ((0, 1, 3), (1, 1, 3)),
}


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_tables_and_their_derivative_are_the_policys(policy):
    params, cotangent = drawn(policy)
    form = rows.tables(policy, SHAPE)
    split = form.split(last(params))
    logits, tape = form.logits(split, ENTRIES)
    expected = jax.vmap(policy.logits)(params)
    for x, y in ENTRIES:
        assert relative_error(logits[x, y], expected[:, x, y], scale=1.0).max() < 1e-13
    found = form.vjp(split, tape, {(x, y): cotangent[:, x, y] for x, y in ENTRIES})
    # splitting is linear and keeps every number once, so it carries gradients over as well
    gradient = form.split(last(jax.vmap(policy.vjp)(params, cotangent)))
    assert found.keys() == gradient.keys()
    for name in found:
        assert relative_error(found[name], gradient[name], scale=1.0).max() < 1e-13


@pytest.mark.parametrize("pairs", PAIRS.values(), ids=PAIRS)
@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_gaps_and_their_derivative_are_the_policys(policy, pairs):
    params, cotangent = drawn(policy)
    form = rows.gaps(policy, SHAPE, pairs)
    split = form.split(last(params))
    logits, _ = form.logits(split, ENTRIES)
    expected = jax.vmap(policy.logits)(params)
    for x, y in ENTRIES:
        assert relative_error(logits[x, y], expected[:, x, y], scale=1.0).max() < 1e-13
    gaps, tape = form.gaps(split)
    slopes = [cotangent[:, x, y] for x, y, _ in pairs]
    table = jnp.zeros_like(cotangent)
    for (x, chosen, rejected), gap, slope in zip(pairs, gaps, slopes, strict=True):
        difference = expected[:, x, chosen] - expected[:, x, rejected]
        assert relative_error(gap, difference, scale=1.0).max() < 1e-13
        table = table.at[:, x, chosen].add(slope).at[:, x, rejected].add(-slope)
    found = form.gaps_vjp(split, tape, slopes)
    # of a couple with opposite gradients, half the difference of the two is the first one's
    gradient = form.split(last(jax.vmap(policy.vjp)(params, table)))
    for name, value in gradient.items():
        if name in found:
            assert relative_error(found[name], value, scale=1.0).max() < 1e-13
        else:
            assert jnp.abs(value).max() < 1e-13
    assert len(found) < len(gradient)


@pytest.mark.parametrize("name", sorted(steppers._BY_ELEMENT))
def test_optimisers_that_train_rows_are_odd(name):
    """What lets one row stand for two: opposite gradients make opposite updates, bit for bit."""
    method = fused.build(tm.optimisers.get(name, 0.1))
    state, mirrored = method.init(jnp.ones(5)), method.init(jnp.ones(5))
    moved = False
    for seed in range(4):
        gradient = jax.random.normal(jax.random.key(seed), (5,))
        update, state = method.update(gradient, state, jnp.ones(5))
        opposite, mirrored = method.update(-gradient, mirrored, jnp.ones(5))
        assert np.array_equal(update, -opposite)
        moved = moved or np.any(update)
    assert moved


def test_what_has_no_row_form():
    features = tm.LogLinear(np.ones((3, 5, 2)))
    assert rows.tables(features, SHAPE) is None
    assert rows.gaps(features, SHAPE, PAIRS["apart"]) is None
    assert rows.tables(tm.MLP(), (50, 100)) is None
    assert rows.gaps(tm.MLP(), (50, 100), PAIRS["apart"]) is None


def test_a_network_without_hidden_layers_has_no_rows():
    policy = tm.MLP(hidden=())
    assert rows.tables(policy, SHAPE) is None
    assert rows.gaps(policy, SHAPE, ((0, 0, 1),)) is None
