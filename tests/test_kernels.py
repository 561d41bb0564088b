"""K, pushes, interference and the named effects, against automatic differentiation."""

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from jax.flatten_util import ravel_pytree

import toymodel as tm
from tests import strategies as draws
from tests.strategies import POLICY_CASES, relative_error
from toymodel import InputError, gradients, kernels, losses, special_cases
from toymodel.policies import Tabular

every_policy = pytest.mark.parametrize("policy", POLICY_CASES, ids=draws.name_of)
LOSSES = [losses.DPO(0.3), losses.FlexDPO(0.3, 0.1), losses.SFTDPO(0.3, 0.2)]


def jacobian(function, params):
    """Of a table, in the parameters as one axis: [prompt, response, parameter]."""
    flat, back = ravel_pytree(params)
    return jax.jacrev(lambda vector: function(back(vector)))(flat)


@draws.compiled
def jacobian_of(policy, params):
    return jacobian(policy.log_probs, params)


@draws.compiled
def kernels_of(policy, params):
    by_hand = policy.logit_kernel(params), kernels.response_kernel(policy, params)
    automatic = [jacobian(f, params) for f in (policy.logits, policy.log_probs)]
    return by_hand, [jnp.einsum("xyp,abp->xyab", one, one) for one in automatic]


@every_policy
@given(data=st.data())
def test_kernels_are_inner_products_of_gradients(policy, data):
    params = data.draw(draws.params(policy))
    found, expected = kernels_of(policy, params)
    for one, other in zip(found, expected, strict=True):
        assert relative_error(one, other, scale=max(1.0, float(jnp.abs(other).max()))) < 1e-10
        np.testing.assert_allclose(one, jnp.transpose(one, (2, 3, 0, 1)), atol=1e-8)


@draws.compiled
def speeds(loss, policy, params, world):
    """d log pi / dt by pushes, and by automatic differentiation of the objective."""
    reference, pairs = world.reference, world.pairs

    def objective(params):
        return gradients.objective(loss, policy.log_probs(params), reference, pairs)

    down = jax.tree.map(jnp.negative, jax.grad(objective)(params))
    chosen, rejected = kernels.pushes(loss, policy, params, reference, pairs)
    return chosen, rejected, jax.jvp(policy.log_probs, (params,), (down,))[1]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
@every_policy
@given(data=st.data())
def test_pushes_add_up_to_the_flow(policy, loss, data):
    params, world = data.draw(draws.params(policy)), data.draw(draws.worlds())
    chosen, rejected, expected = speeds(loss, policy, params, world)
    # pushes may cancel: the tolerance is relative to the largest of them
    scale = max(1e-6, *(float(jnp.abs(part).max()) for part in (chosen, rejected)))
    assert jnp.abs((chosen + rejected).sum(-1) - expected).max() < 1e-10 * scale


@given(world=draws.worlds())
def test_interference_reads_the_pushes(world):
    arguments = losses.DPO(0.3), Tabular(), world.log_probs, world.reference, world.pairs
    chosen, rejected = kernels.pushes(*arguments)
    total = np.asarray(chosen + rejected)
    x = np.asarray(world.pairs.prompt)
    rows = {"chosen": world.pairs.chosen, "rejected": world.pairs.rejected}
    found = {of: kernels.interference(*arguments, of) for of in ("margin", "chosen", "rejected")}
    np.testing.assert_array_equal(found["chosen"], total[x, np.asarray(rows["chosen"])])
    np.testing.assert_array_equal(found["rejected"], -total[x, np.asarray(rows["rejected"])])
    np.testing.assert_allclose(found["margin"], found["chosen"] + found["rejected"], atol=1e-12)
    assert np.all(np.diag(found["margin"]) >= -1e-12), "a pair's own push never lowers its margin"


def test_an_unknown_reading_is_refused():
    world = tm.scenarios.both_on_policy()
    with pytest.raises(InputError, match=r"^of: got 'margins'.*margin"):
        kernels.interference(
            losses.DPO(), Tabular(), world.log_table, world.log_table, world.pairs, "margins"
        )


# Named effects ----------------------------------------------------------------------------------


@every_policy
@given(data=st.data())
def test_entanglement_is_the_sign_of_a_lone_pairs_motion(policy, data):
    """Move the margin of one pair along its own gradient; which halves go the wrong way?"""
    params, world = data.draw(draws.params(policy)), data.draw(draws.worlds())
    kernel = kernels_of(policy, params)[0][1]
    chosen, rejected = special_cases.entanglement(kernel, world.pairs)
    jac = np.asarray(jacobian_of(policy, params))
    for at in range(len(world.pairs)):
        x, c, r = (int(getattr(world.pairs, k)[at]) for k in ("prompt", "chosen", "rejected"))
        along = jac[x, c] - jac[x, r]
        scale = 1 + np.abs(jac).max() ** 2 * along.size
        assert abs(jac[x, c] @ along - chosen[at]) < 1e-10 * scale
        assert abs(-jac[x, r] @ along - rejected[at]) < 1e-10 * scale
        assert chosen[at] + rejected[at] >= -1e-10 * scale


def test_displacement_needs_shared_features():
    """With alike features within a pair the chosen falls; with separate logits it cannot."""
    world = tm.scenarios.build([[0.2, 0.2, 0.6]], [(0, 0, 1)])
    alike = tm.LogLinear(jnp.asarray([[[1.0, 0.0], [1.4, 0.0], [0.0, 1.0]]]))
    params = jnp.zeros(2)
    arguments = alike.log_probs(params), world.pairs
    speed, displaced = special_cases.displacement(losses.DPO(), alike, params, *arguments)
    assert speed[0] < 0
    assert displaced[0]

    def later(step):
        slope = gradients.parameters(losses.DPO(), alike, params, *arguments)
        return alike.log_probs(params - step * slope)[0, 0]

    assert (later(1e-6) - later(0.0)) / 1e-6 == pytest.approx(float(speed[0]), rel=1e-4)
    arguments = Tabular(), world.log_table, world.log_table, world.pairs
    speed, displaced = special_cases.displacement(losses.DPO(), *arguments)
    assert speed[0] > 0
    assert not displaced[0]


@given(world=draws.worlds())
def test_squeezing_is_a_push_down_on_the_rejected_alone(world):
    pairs = world.pairs

    def objective(logits):
        return pairs.mean(pairs.read(jax.nn.log_softmax(logits, axis=-1))[1])

    down = -jax.grad(objective)(world.log_probs)
    expected = jax.jvp(lambda z: jax.nn.log_softmax(z, axis=-1), (world.log_probs,), (down,))[1]
    found = special_cases.squeezing(world.log_probs, pairs)
    np.testing.assert_allclose(found, expected, atol=1e-12)


@given(probs=st.lists(st.floats(0.01, 1), min_size=3, max_size=8))
def test_squeezing_favours_the_argmax(probs):
    table = np.asarray([probs]) / np.sum(probs)
    world = tm.scenarios.build(table, [(0, 1, 0)])
    speed = np.asarray(special_cases.squeezing(world.log_table, world.pairs))[0]
    order = np.argsort(table[0, 1:], kind="stable")
    assert np.all(np.diff(speed[1:][order]) >= -1e-12)
