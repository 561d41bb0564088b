"""Adam taken apart equals plain loops; what is pooled, uncorrected or late differs as stated; the
natural gradient solves its linear system and does not care how logits are scaled."""

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from jax.flatten_util import ravel_pytree

import toymodel as tm
from tests.strategies import POLICY_CASES, SHAPE, compiled, name_of, params
from toymodel import optimisers, preconditioners

STEPS = 6
SHAPES = {"matrix": (3, 4), "bias": (4,)}
SLOPES = st.fixed_dictionaries(
    {
        name: hnp.arrays(int, (STEPS, *shape), elements=st.integers(-16, 16)).map(lambda n: n / 8)
        for name, shape in SHAPES.items()
    }
)
NUMBERS = st.tuples(st.floats(0.0, 0.95), st.floats(0.1, 0.999), st.floats(1e-6, 1e-2))
RATE = 0.1


def spread(pool):
    """One array's pooled squares, spread over it again; vectors are left alone if `pool` says."""
    return lambda squares: {k: np.broadcast_to(pool(s), s.shape) for k, s in squares.items()}


def everything(squares):
    mean = np.mean(np.concatenate([s.ravel() for s in squares.values()]))
    return {k: np.full_like(s, mean) for k, s in squares.items()}


POOLS = {
    "adam_global": everything,
    "adam_layer": spread(np.mean),
    "adam_row": spread(lambda s: s.mean(axis=1, keepdims=True) if s.ndim == 2 else s),
    "adam_column": spread(lambda s: s.mean(axis=0, keepdims=True) if s.ndim == 2 else s),
    "adam_uncorrected": dict,
    "adam_own_clock": dict,
}


def by_hand(name, slopes, b1, b2, eps):
    """All steps of an optimiser, each moment written as the sum that it is."""
    found = []
    squares = [POOLS[name]({k: g[t] ** 2 for k, g in slopes.items()}) for t in range(STEPS)]
    for t in range(STEPS):
        weights = lambda decay, t=t: (1 - decay) * decay ** np.arange(t, -1.0, -1.0)  # noqa: E731
        step = {}
        for k, g in slopes.items():
            first = np.tensordot(weights(b1), g[: t + 1], 1)
            seen = np.stack([s[k] for s in squares[: t + 1]])
            second = np.tensordot(weights(b2), seen, 1)
            updates = np.full(g.shape[1:], t + 1.0)
            if name == "adam_own_clock":
                updates = (np.cumsum(seen > 0, axis=0) > 0).sum(axis=0).astype(float)
            if name != "adam_uncorrected":
                first = first / (1 - b1 ** (t + 1))
                second = np.where(
                    updates > 0, second / np.where(updates > 0, 1 - b2**updates, 1), 0
                )
            step[k] = -RATE * first / (np.sqrt(second) + eps)
        found.append(step)
    return found


def steps_of(method, slopes):
    state = method.init({k: jnp.zeros(shape) for k, shape in SHAPES.items()})
    found = []
    for t in range(STEPS):
        step, state = method.update({k: jnp.asarray(g[t]) for k, g in slopes.items()}, state)
        found.append(step)
    return found


def run(name):
    return compiled(
        lambda slopes, b1, b2, eps: steps_of(
            optimisers.get(name, RATE, b1=b1, b2=b2, eps=eps).build(), slopes
        )
    )


RUNS = {name: run(name) for name in POOLS}


@pytest.mark.parametrize("name", POOLS)
@given(slopes=SLOPES, numbers=NUMBERS)
def test_it_equals_sums_by_hand(name, slopes, numbers):
    for ours, expected in zip(
        RUNS[name](slopes, *numbers), by_hand(name, slopes, *numbers), strict=True
    ):
        for k in SHAPES:
            np.testing.assert_allclose(ours[k], expected[k], rtol=1e-9, atol=1e-12)


@given(slopes=SLOPES)
def test_where_no_gradient_is_late_own_clocks_are_adams(slopes):
    early = {k: np.where(g == 0, 0.5, g) for k, g in slopes.items()}
    found = RUNS["adam_own_clock"](early, 0.9, 0.999, 1e-8)
    expected = steps_of(optax.adam(RATE), early)
    for ours, adams in zip(found, expected, strict=True):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), ours, adams)


@pytest.mark.parametrize(
    ("shares", "same"),
    [
        ({"row": 1.0}, "adam_row"),
        ({"layer": 1.0}, "adam_layer"),
        ({"own_clock": 1.0}, "adam_own_clock"),
        ({}, "adam"),
    ],
)
@given(slopes=SLOPES)
@settings(max_examples=5)
def test_the_pooled_form_has_the_others_in_it(shares, same, slopes):
    found = steps_of(optimisers.get("adam_pooled", RATE, **shares).build(), slopes)
    expected = steps_of(optimisers.get(same, RATE).build(), slopes)
    for ours, others in zip(found, expected, strict=True):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-9), ours, others)


def test_a_late_gradient_steps_too_far_under_adam_alone():
    zero, one = {"w": jnp.zeros(1)}, {"w": jnp.ones(1)}

    def last(method):
        state = method.init(zero)
        for slope in [zero] * 500 + [one] * 12:
            step, state = method.update(slope, state)
        return -step["w"].item()

    found = {name: last(optimisers.get(name, 1.0).build()) for name in ("adam", "adam_own_clock")}
    assert found["adam"] > 4
    assert found["adam_own_clock"] < 1


# The natural gradient ---------------------------------------------------------------------------


def dense(policy, where, slope, rate, damping):
    """The same by F itself, parameters by parameters, from automatic differentiation."""
    flat, unravel = ravel_pytree(where)
    jacobian = jax.jacobian(lambda p: policy.log_probs(unravel(p)))(flat)
    probs = jnp.exp(policy.log_probs(where))
    fisher = jnp.einsum("xy,xyp,xyq->pq", probs, jacobian, jacobian) / len(probs)
    return -rate * jnp.linalg.solve(fisher + damping * jnp.eye(len(flat)), slope)


def natural_of(policy):
    @compiled
    def both(where, slope, rate, damping):
        unravel = ravel_pytree(where)[1]
        method = preconditioners.natural(policy, rate, damping)
        step, _ = method.update(unravel(slope), method.init(where), where)
        return ravel_pytree(step)[0], dense(policy, where, slope, rate, damping)

    return both


NATURALS = {policy: natural_of(policy) for policy in (POLICY_CASES[0], POLICY_CASES[3])}


@pytest.mark.parametrize("policy", NATURALS, ids=name_of)
@given(data=st.data())
def test_natural_solves_with_the_fisher_matrix(policy, data):
    where = jax.tree.map(jnp.asarray, data.draw(params(policy)))
    size = ravel_pytree(where)[0].size
    slope = data.draw(hnp.arrays(float, size, elements=st.floats(-1.0, 1.0)))
    rate, damping = data.draw(st.floats(0.01, 1.0)), data.draw(st.floats(1e-3, 1.0))
    ours, expected = NATURALS[policy](where, slope, rate, damping)
    np.testing.assert_allclose(ours, expected, rtol=1e-6, atol=1e-8 / damping)


def test_natural_steps_alike_however_logits_are_scaled():
    """Logits that are s times a parameter: descent moves the policy s^2 as fast, natural alike."""
    world = tm.scenarios.both_on_policy()
    features = np.eye(40).reshape(4, 10, 40)

    def moved(scale, optimiser):
        policy = tm.LogLinear(scale * features)
        run = tm.simulate(world, policy, "dpo", optimiser(policy), steps=3, record=[3])
        return np.asarray(run.log_probs)

    damped = lambda policy: preconditioners.natural(policy, 0.01, 1e-6)  # noqa: E731
    np.testing.assert_allclose(moved(1.0, damped), moved(2.0, damped), atol=1e-4)
    plain = lambda policy: optax.sgd(1.0)  # noqa: E731
    assert np.abs(moved(1.0, plain) - moved(2.0, plain)).max() > 1e-2


def test_natural_steps_stay_finite_where_the_policy_is_certain():
    where = jnp.zeros(SHAPE).at[:, 0].set(1e4)
    method = preconditioners.natural(tm.Tabular(), 0.1)
    step, _ = method.update(jnp.ones(SHAPE), method.init(where), where)
    assert jnp.isfinite(step).all()


@pytest.mark.parametrize(("rate", "damping"), [(0.0, 1.0), (-1.0, 1.0), (1.0, 0.0), (1.0, -1e-3)])
def test_natural_refuses_what_is_not_positive(rate, damping):
    with pytest.raises(tm.InputError, match=r"natural, (learning_rate|damping): got"):
        preconditioners.natural(tm.Tabular(), rate, damping)


def test_natural_needs_the_parameters():
    method = preconditioners.natural(tm.Tabular(), 0.1)
    with pytest.raises(tm.InputError, match="params"):
        method.update(jnp.ones(SHAPE), method.init(None))
