"""The row form of a policy is the policy: the same logits and derivative, many cells at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import toymodel as tm
from tests.strategies import relative_error
from toymodel.policies import rows

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


@pytest.mark.parametrize("tables", [False, True], ids=["pairs", "tables"])
@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_logits_and_derivative_are_the_policys(policy, tables):
    params, cotangent = drawn(policy)
    form = rows.by_rows(policy, SHAPE, tables=tables)
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


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_only_the_rows_of_the_pairs_are_reached(policy):
    params, cotangent = drawn(policy)
    form = rows.by_rows(policy, SHAPE, tables=False)
    split = form.split(last(params))
    pair = [(0, 1), (0, 3)]
    logits, tape = form.logits(split, pair)
    assert set(logits) == set(pair)
    found = form.vjp(split, tape, {(x, y): cotangent[:, x, y] for x, y in pair})
    masked = np.zeros_like(cotangent)
    for x, y in pair:
        masked[:, x, y] = cotangent[:, x, y]
    gradient = form.split(last(jax.vmap(policy.vjp)(params, jnp.asarray(masked))))
    for name, value in gradient.items():
        if name in found:
            assert relative_error(found[name], value, scale=1.0).max() < 1e-13
        else:
            assert not value.any()
    assert len(found) < len(gradient)


def test_what_has_no_row_form():
    features = tm.LogLinear(np.ones((3, 5, 2)))
    assert rows.by_rows(features, SHAPE, tables=True) is None
    assert rows.by_rows(tm.MLP(), (50, 100), tables=True) is None
