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
@settings(max_examples=10)
def test_where_no_gradient_is_late_own_clocks_are_adams(slopes):
    early = {k: np.where(g == 0, 0.5, g) for k, g in slopes.items()}
    found = RUNS["adam_own_clock"](early, 0.9, 0.999, 1e-8)
    expected = ADAM(early)
    for ours, adams in zip(found, expected, strict=True):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), ours, adams)


#: Numbers of `adam_pooled` that make it another.
SAME = {
    "adam": {},
    "adam_row": {"row": 1.0},
    "adam_layer": {"layer": 1.0},
    "adam_global": {"everything": 1.0},
    "adam_own_clock": {"own_clock": 1.0},
    "adam_uncorrected": {"corrected": 0.0},
}
PLAIN = {"row": 0.0, "layer": 0.0, "everything": 0.0, "own_clock": 0.0}
PLAIN |= {"corrected": 1.0, "adaptive": 1.0, "b1": 0.9, "b2": 0.999, "eps": 1e-8}


@compiled
def pooled(slopes, numbers):
    return steps_of(optimisers.get("adam_pooled", RATE, **numbers).build(), slopes)


ADAM = compiled(lambda slopes: steps_of(optax.adam(RATE), slopes))


def assert_alike(found, expected, **tolerance):
    for ours, others in zip(found, expected, strict=True):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), ours, others)


@pytest.mark.parametrize("name", SAME)
@given(slopes=SLOPES)
@settings(max_examples=5)
def test_the_pooled_form_has_the_others_in_it(name, slopes):
    found = pooled(slopes, {**PLAIN, **SAME[name]})
    expected = ADAM(slopes) if name == "adam" else RUNS[name](slopes, 0.9, 0.999, 1e-8)
    assert_alike(found, expected, atol=1e-9)


@given(slopes=SLOPES, decay=st.floats(0.1, 0.99))
@settings(max_examples=5)
def test_the_pooled_form_has_rmsprop_and_descent_in_it(slopes, decay):
    numbers = {**PLAIN, "b1": 0.0, "b2": decay, "corrected": 0.0, "eps": 1e-3}
    assert_alike(pooled(slopes, numbers), RMSPROP(slopes, decay), atol=1e-9)
    descent = pooled(slopes, {**PLAIN, "b1": 0.0, "adaptive": 0.0})
    plain = [{k: -RATE * g[t] for k, g in slopes.items()} for t in range(STEPS)]
    assert_alike(descent, plain, atol=1e-12)
    mean = pooled(slopes, {**PLAIN, "b1": decay, "adaptive": 0.0, "corrected": 0.0})
    first = {k: np.zeros(shape) for k, shape in SHAPES.items()}
    for t, step in enumerate(mean):
        first = {k: decay * m + (1 - decay) * slopes[k][t] for k, m in first.items()}
        jax.tree.map(lambda a, m: np.testing.assert_allclose(a, -RATE * m, atol=1e-12), step, first)


RMSPROP = compiled(
    lambda slopes, decay: steps_of(
        optax.rmsprop(RATE, decay=decay, eps=1e-3, eps_in_sqrt=False), slopes
    )
)


@given(slopes=SLOPES, shares=st.lists(st.floats(0.0, 1.0), min_size=4, max_size=4))
@settings(max_examples=5)
def test_pools_mix_by_their_shares(slopes, shares):
    """The second moment's first value is the mixture of the squares that the docstring states."""
    own, row, layer, everything_ = np.array([0.1, 0.0, 0.0, 0.0]) + np.array(shares)
    row, layer, all_ = (
        share / (own + row + layer + everything_) for share in (row, layer, everything_)
    )
    numbers = {**PLAIN, "row": row, "layer": layer, "everything": all_, "eps": 1e-3}
    found = pooled(slopes, numbers)[0]
    squares = {k: g[0] ** 2 for k, g in slopes.items()}
    pools = [POOLS[name](squares) for name in ("adam_row", "adam_layer", "adam_global")]
    for k, square in squares.items():
        mixed = (1 - row - layer - all_) * square
        mixed = mixed + sum(s * pool[k] for s, pool in zip((row, layer, all_), pools, strict=True))
        expected = -RATE * slopes[k][0] / (np.sqrt(np.maximum(mixed, 0)) + 1e-3)
        np.testing.assert_allclose(found[k], expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    "shares", [{"row": 1.5}, {"layer": -0.1}, {"row": 0.6, "layer": 0.6}, {"everything": 2.0}]
)
def test_shares_outside_of_the_simplex_are_refused(shares):
    with pytest.raises(tm.InputError, match=r"adam_pooled, \(row, layer, everything\): got"):
        optimisers.get("adam_pooled", RATE, **shares)
    slopes = {k: np.ones((STEPS, *shape)) for k, shape in SHAPES.items()}
    assert np.isnan(pooled(slopes, {**PLAIN, **shares})[0]["bias"]).all()


# The diagonal of a step -------------------------------------------------------------------------

READ = {
    "sgd": {},
    "rmsprop": {"eps": 1e-3},
    "rmsprop, corrected": {"bias_correction": True, "eps_in_sqrt": False},
    "rmsprop, centred": {"centered": True, "eps": 1e-3},
    "adam": {"b1": 0.0, "b2": 0.9, "eps_root": 1e-4},
    **{name: {"b1": 0.0, "b2": 0.9, "eps": 1e-4} for name in POOLS},
    "adam_pooled": {
        **{"b1": 0.0, "row": 0.2, "layer": 0.3, "everything": 0.4, "own_clock": 0.5},
        **{"corrected": 0.3, "adaptive": 0.7},
    },
}


def test_steps_without_momentum_are_the_diagonal_times_the_gradient():
    generator = np.random.default_rng(0)
    slopes = {k: jnp.asarray(generator.normal(size=(4, *shape))) for k, shape in SHAPES.items()}

    @compiled
    def both():
        found = {}
        for case, options in READ.items():
            name = case.partition(",")[0]
            method = optimisers.get(name, RATE, **options).build()
            state = method.init({k: jnp.zeros(shape) for k, shape in SHAPES.items()})
            for t in range(4):
                slope = {k: of[t] for k, of in slopes.items()}
                step, state = method.update(slope, state)
            sizes = preconditioners.diagonal(name, RATE, options, state, slope)
            found[case] = step, jax.tree.map(lambda d, g: -d * g, sizes, slope)
        return found

    for step, expected in both().values():
        assert_alike([step], [expected], rtol=1e-9)
    assert preconditioners.diagonal("lion", RATE, {}, None, None) is None


def test_a_late_gradient_steps_too_far_under_adam_alone():
    def last(name):
        @compiled
        def run():
            method = optimisers.get(name, 1.0).build()

            def step(t, both):
                slope = {"w": jnp.where(t < 500, jnp.zeros(1), jnp.ones(1))}
                return method.update(slope, both[1])

            start = {"w": jnp.zeros(1)}
            return jax.lax.fori_loop(0, 512, step, (start, method.init(start)))[0]["w"]

        return -run().item()

    assert last("adam") > 4
    assert last("adam_own_clock") < 1


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

    @compiled
    def moved(scale):
        policy = tm.LogLinear(scale * features)
        params = world.log_table.ravel() / scale
        slope = tm.gradients.parameters(
            tm.losses.DPO(), policy, params, world.log_table, world.pairs
        )

        def after(method):
            step, _ = method.update(slope, method.init(params), params)
            return policy.log_probs(params + step) - world.log_table

        return after(preconditioners.natural(policy, 0.01, 1e-6)), after(optax.sgd(1.0))

    (one, plain), (other, faster) = moved(1.0), moved(2.0)
    assert np.abs(one).max() > 1e-3
    np.testing.assert_allclose(one, other, atol=1e-4 * float(np.abs(one).max()) + 1e-6)
    np.testing.assert_allclose(faster, 4 * plain, atol=0.05 * float(np.abs(faster).max()))


def test_natural_steps_stay_finite_where_the_policy_is_certain():
    where = jnp.zeros(SHAPE).at[:, 0].set(1e4)
    method = preconditioners.natural(tm.Tabular(), 0.1)
    step, _ = compiled(lambda p: method.update(jnp.ones(SHAPE), method.init(p), p))(where)
    assert jnp.isfinite(step).all()


@pytest.mark.parametrize(("rate", "damping"), [(0.0, 1.0), (-1.0, 1.0), (1.0, 0.0), (1.0, -1e-3)])
def test_natural_refuses_what_is_not_positive(rate, damping):
    with pytest.raises(tm.InputError, match=r"natural, (learning_rate|damping): got"):
        preconditioners.natural(tm.Tabular(), rate, damping)


def test_natural_needs_the_parameters():
    method = preconditioners.natural(tm.Tabular(), 0.1)
    with pytest.raises(tm.InputError, match="params"):
        method.update(jnp.ones(SHAPE), method.init(None))


@pytest.mark.parametrize("policies", [("mlp", "tabular"), ("tabular", "mlp")])
def test_natural_refuses_another_policys_parameters(policies):
    given, trained = (tm.policies.get(name) for name in policies)
    method = preconditioners.natural(given, 0.1)
    where = trained.init(jax.random.key(0), SHAPE)
    with pytest.raises(tm.InputError, match="natural, parameters: got"):
        method.update(where, method.init(where), where)
