"""Every policy: its derivative, its distribution, its fit, its initialisation, its refusals."""

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from scipy.special import kl_div, log_softmax

from tests import strategies as draws
from tests.strategies import POLICIES, POLICY_CASES, SHAPE
from toymodel import InputError, policies, scenarios
from toymodel.policies import MLP, FeatureMLP, LogLinear, Tabular
from toymodel.policies.layers import ACTIVATIONS, INITIALISERS, Layer

REGISTERED = policies.names()
KEY = jax.random.key(0)

every_policy = pytest.mark.parametrize("policy", POLICY_CASES, ids=draws.name_of)
tables = hnp.arrays(float, SHAPE, elements=st.floats(-5.0, 5.0)).map(lambda z: log_softmax(z, -1))


def test_everything_registered_has_a_case():
    assert set(REGISTERED) == set(POLICIES)
    for name, forms in POLICIES.items():
        assert all(type(policy) is policies.REGISTRY[name] for policy in forms)
    assert {policy.activation for policy in POLICIES["mlp"]} == set(ACTIVATIONS)
    assert set(VARIANCE) == set(INITIALISERS)


# Derivatives ------------------------------------------------------------------------------------


@draws.compiled
def pulled_back(policy, params, cotangent):
    """A gradient in logits, pulled back by hand and by JAX; and the policy's log-probabilities."""
    _, vjp = jax.vjp(policy.logits, params)
    return policy.vjp(params, cotangent), vjp(cotangent)[0], policy.log_probs(params)


@every_policy
@given(data=st.data())
def test_vjp_is_the_transposed_derivative(policy, data):
    params, cotangent = data.draw(draws.params(policy)), data.draw(tables)
    by_hand, automatic, log_probs = pulled_back(policy, params, cotangent)
    scale = max(1.0, *(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(automatic)))
    assert draws.relative_error(by_hand, automatic, scale) < 1e-10
    np.testing.assert_allclose(np.exp(log_probs).sum(axis=-1), 1.0, rtol=1e-12)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name):
    """Their derivatives agree with JAX's; ReLU's is 0 at 0."""
    x = jnp.concatenate([jnp.linspace(-40.0, 40.0, 801), jnp.linspace(-1.0, 1.0, 201)])
    function, derivative = ACTIVATIONS[name]
    automatic = jax.vmap(jax.grad(function))(x)
    np.testing.assert_allclose(derivative(x), automatic, rtol=1e-10, atol=1e-14)


def test_relu_rests_at_exactly_zero():
    """No gradient passes a unit whose pre-activation is 0."""
    policy = MLP(hidden=(3,))
    first, last = policy.init(KEY, SHAPE)
    params = (jax.tree.map(jnp.zeros_like, first), last)
    by_hand, automatic, _ = pulled_back(policy, params, jnp.ones(SHAPE))
    for result in (by_hand, automatic):
        assert not np.any(result[0].weight)
        assert np.any(result[1].bias)


# Fits -------------------------------------------------------------------------------------------


@draws.compiled
def fitted(policy, table):
    params, fit = policy.fit(table)
    return policy.log_probs(params), fit, params


@given(table=tables)
def test_tabular_fits_exactly_and_loglinear_as_well_as_it_can(table):
    log_probs, fit, _ = fitted(Tabular(), table)
    np.testing.assert_allclose(log_probs, table, rtol=0, atol=1e-14)
    assert fit.error < 1e-14

    policy = POLICIES["loglinear"][0]
    log_probs, fit, params = fitted(policy, table)
    wrong = np.exp(log_probs) - np.exp(table)
    assert np.abs(policy.vjp(params, wrong)).max() < 1e-8  # the first-order condition
    assert fit.error == pytest.approx(np.abs(wrong).max())
    divergence = kl_div(np.exp(table), np.exp(log_probs)).sum(axis=-1)
    np.testing.assert_allclose(fit.divergence, divergence, atol=1e-12)


@given(params=draws.params(POLICIES["loglinear"][0]))
def test_loglinear_finds_a_table_that_it_can_represent(params):
    policy = POLICIES["loglinear"][0]
    table = policy.log_probs(params)
    log_probs, fit, _ = fitted(policy, table)
    np.testing.assert_allclose(log_probs, table, rtol=0, atol=1e-8)
    assert fit.error < 1e-12


def test_loglinear_with_many_features_represents_any_table():
    table = log_softmax(3 * np.random.default_rng(0).normal(size=SHAPE), axis=-1)
    features = jax.random.normal(KEY, (*SHAPE, 40))
    np.testing.assert_allclose(fitted(LogLinear(features), table)[0], table, rtol=0, atol=1e-8)


@pytest.mark.parametrize("bits", [64, 32])
def test_mlp_fits_the_papers_tables(bits):
    with draws.precision(bits):
        worlds = jnp.stack([scenarios.get(name).log_table for name in scenarios.names()])
        keys = jax.random.split(KEY, len(worlds))
        _, fit = draws.compiled(jax.vmap(MLP().fit))(worlds, keys)
        assert np.all(fit.error < 1e-3)
        assert np.all(np.abs(fit.divergence) < 1e-3)


def test_feature_mlp_with_one_hot_features_is_the_mlp():
    network = MLP(hidden=(5,))
    one_hot, table = FeatureMLP(np.eye(SHAPE[0]), network), jnp.log(jnp.full(SHAPE, 1 / SHAPE[1]))
    for ours, theirs in zip(fitted(one_hot, table), fitted(network, table), strict=True):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-9), ours, theirs)


# Initialisation ---------------------------------------------------------------------------------

VARIANCE = {
    "pytorch": lambda inputs, outputs: 1 / (3 * inputs),
    "lecun_normal": lambda inputs, outputs: 1 / inputs,
    "glorot_uniform": lambda inputs, outputs: 2 / (inputs + outputs),
    "he_normal": lambda inputs, outputs: 2 / inputs,
}


@pytest.mark.parametrize("name", VARIANCE)
def test_initialisers(name):
    """Zero mean and the variance of their definition; PyTorch's also within its bound."""
    inputs, outputs = 100, 400
    weight, bias = INITIALISERS[name](KEY, inputs, outputs)
    assert np.mean(weight) == pytest.approx(0.0, abs=0.003)
    assert np.var(weight) == pytest.approx(VARIANCE[name](inputs, outputs), rel=0.03)
    if name == "pytorch":
        assert 0.999 < np.abs(weight).max() * inputs**0.5 <= 1
        assert 0.98 < np.abs(bias).max() * inputs**0.5 <= 1
        assert np.var(bias) == pytest.approx(1 / (3 * inputs), rel=0.15)
    else:
        assert not np.any(bias)


def test_init_scales_and_chooses_the_initialiser():
    plain, scaled = (MLP(hidden=(7,), scale=scale).init(KEY, SHAPE) for scale in (1.0, 2.5))
    jax.tree.map(lambda one, other: np.testing.assert_allclose(2.5 * one, other), plain, scaled)
    he = MLP(hidden=(7,), initialisation="he_normal").init(KEY, SHAPE)
    assert [jax.tree.map(jnp.shape, layer) for layer in he] == [
        Layer((4, 7), (7,)),
        Layer((7, 8), (8,)),
    ]
    assert not np.any(he[0].bias)


@pytest.mark.parametrize("similarity", [-1.0, -0.5, 0.0, 0.9, 1.0])
def test_random_features_have_the_likeness_asked_for(similarity):
    world = scenarios.both_on_policy()
    features = LogLinear.random(KEY, world, 10_000, similarity).features
    np.testing.assert_allclose(jnp.linalg.norm(features, axis=-1), 1.0, atol=0.05)
    chosen, rejected = (
        features[world.pairs.prompt, index] for index in (world.pairs.chosen, world.pairs.rejected)
    )
    np.testing.assert_allclose(jnp.sum(chosen * rejected, axis=-1), similarity, atol=0.04)
    unrelated = jnp.sum(chosen * features[:, 9], axis=-1)
    np.testing.assert_allclose(unrelated, 0.0, atol=0.04)


# Refusals ---------------------------------------------------------------------------------------

REFUSED = {
    "MLP.hidden": [lambda: MLP(hidden=64), lambda: MLP(hidden=(0,)), lambda: MLP(hidden=(1.5,))],
    "MLP.activation": [lambda: MLP(activation="rel")],
    "MLP.initialisation": [lambda: MLP(initialisation="pytorc")],
    "MLP.scale": [lambda: MLP(scale=0.0), lambda: MLP(scale=np.nan)],
    "MLP.fit_learning_rate": [lambda: MLP(fit_learning_rate=-1.0)],
    "MLP.fit_steps": [lambda: MLP(fit_steps=0)],
    "LogLinear.features": [
        lambda: LogLinear(np.full((2, 3, 4), np.nan)),
        lambda: LogLinear(np.zeros((2, 3, 4))).init(KEY, SHAPE),
    ],
    "FeatureMLP.features": [
        lambda: FeatureMLP(np.zeros(4)),
        lambda: FeatureMLP(np.full((4, 3), np.inf)),
        lambda: FeatureMLP(np.zeros((5, 3))).init(KEY, SHAPE),
    ],
    "FeatureMLP.network": [lambda: FeatureMLP(np.zeros((4, 3)), "mlp")],
    "size": [lambda: LogLinear.random(KEY, scenarios.both_on_policy(), 0)],
    "similarity": [lambda: LogLinear.random(KEY, scenarios.both_on_policy(), 4, 1.5)],
    "policy": [lambda: policies.get("tabula")],
    "argument of policy": [lambda: policies.get("mlp", hiden=(3,))],
}


@pytest.mark.parametrize(
    ("named", "call"), [(named, call) for named, calls in REFUSED.items() for call in calls]
)
def test_bad_settings_are_refused_by_name(named, call):
    with pytest.raises(InputError, match=rf"(?s)^{named}.*: got .*expected"):
        call()
