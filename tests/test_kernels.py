"""K, pushes, interference and the named effects, against automatic differentiation."""

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from jax.flatten_util import ravel_pytree

import toymodel as tm
from tests import strategies as draws
from tests.strategies import POLICY_CASES, relative_error
from toymodel import InputError, gradients, kernels, losses, special_cases
from toymodel.policies import Tabular
from toymodel.scenarios import Pairs

#: One policy of each form. A plain `pytest` runs these; `pytest -m ""` runs all.
CORE = [forms[-1] for forms in draws.POLICIES.values()]
every_policy = pytest.mark.parametrize(
    "policy",
    [
        policy if policy in CORE else pytest.param(policy, marks=pytest.mark.slow)
        for policy in POLICY_CASES
    ],
    ids=draws.name_of,
)
LOSS = losses.FlexDPO(0.3, 0.1)  # its slopes do not cancel


def jacobian(function, params):
    """Of a table, in the parameters as one axis: [prompt, response, parameter]."""
    flat, back = ravel_pytree(params)
    return jax.jacrev(lambda vector: function(back(vector)))(flat)


@draws.compiled
def read(policy, params, world):
    """Kernels, pushes and entanglement of a policy; and its derivatives, by JAX alone."""
    logits, log_probs = (jacobian(f, params) for f in (policy.logits, policy.log_probs))
    kernel = kernels.response_kernel(policy, params)
    pushed = kernels.pushes(LOSS, policy, params, world.reference, world.pairs)
    entangled = special_cases.entanglement(kernel, world.pairs)

    def objective(log_probs):
        return gradients.objective(LOSS, log_probs, world.reference, world.pairs)

    slope = jnp.einsum("xy,xyp->p", jax.grad(objective)(policy.log_probs(params)), log_probs)
    speed = -jnp.einsum("xyp,p->xy", log_probs, slope)
    return (policy.logit_kernel(params), kernel), (logits, log_probs), pushed, speed, entangled


@every_policy
@given(data=st.data())
@settings(max_examples=8)
def test_kernels_pushes_and_entanglement_are_inner_products_of_gradients(policy, data):
    params, world = data.draw(draws.params(policy)), data.draw(draws.worlds())
    found, jacobians, (chosen, rejected), speed, entangled = read(policy, params, world)
    for one, jac in zip(found, jacobians, strict=True):
        other = np.einsum("xyp,abp->xyab", jac, jac)
        assert relative_error(one, other, scale=max(1.0, float(np.abs(other).max()))) < 1e-10
        np.testing.assert_allclose(one, jnp.transpose(one, (2, 3, 0, 1)), atol=1e-8)
    # pushes may cancel: the tolerance is relative to the largest of them
    scale = max(1e-6, *(float(jnp.abs(part).max()) for part in (chosen, rejected)))
    assert jnp.abs((chosen + rejected).sum(-1) - speed).max() < 1e-10 * scale
    # a push is a column of the whole kernel
    pairs, kernel = world.pairs, np.asarray(found[1])
    slopes = LOSS.slopes(gradients.pair_batch(policy.log_probs(params), world.reference, pairs))
    for part, half, slope in zip(
        (chosen, rejected), (pairs.chosen, pairs.rejected), slopes, strict=True
    ):
        expected = -kernel[:, :, pairs.prompt, half] * np.asarray(world.pairs.share * slope)
        np.testing.assert_allclose(part, expected, atol=1e-10 * scale)
    # along its own gradient, which halves of a lone pair go the wrong way?
    jac = np.asarray(jacobians[1])
    for at in range(len(pairs)):
        x, c, r = (int(getattr(pairs, k)[at]) for k in ("prompt", "chosen", "rejected"))
        along = jac[x, c] - jac[x, r]
        size = 1e-10 * (1 + np.abs(jac).max() ** 2 * along.size)
        assert abs(jac[x, c] @ along - entangled[0][at]) < size
        assert abs(-jac[x, r] @ along - entangled[1][at]) < size
        assert entangled[0][at] + entangled[1][at] >= -size


@draws.compiled
def readings(world):
    arguments = LOSS, Tabular(), world.log_probs, world.reference, world.pairs
    by_name = {of: kernels.interference(*arguments, of) for of in ("margin", "chosen", "rejected")}
    displaced = special_cases.displacement(*arguments)
    return sum(kernels.pushes(*arguments)), by_name, displaced


@given(world=draws.worlds())
def test_interference_and_displacement_read_the_pushes(world):
    total, found, displaced = readings(world)
    total, x = np.asarray(total), np.asarray(world.pairs.prompt)
    chosen, rejected = (
        total[x, np.asarray(of)] for of in (world.pairs.chosen, world.pairs.rejected)
    )
    np.testing.assert_array_equal(found["chosen"], chosen)
    np.testing.assert_array_equal(found["rejected"], -rejected)
    np.testing.assert_allclose(found["margin"], chosen - rejected, atol=1e-12)
    np.testing.assert_allclose(displaced.speed, chosen.sum(axis=1), atol=1e-12)
    np.testing.assert_array_equal(displaced.displaced, np.asarray(displaced.speed) < 0)
    np.testing.assert_allclose(displaced.margin_speed, (chosen - rejected).sum(1), atol=1e-12)


def test_an_unknown_reading_is_refused():
    world = tm.scenarios.both_on_policy()
    with pytest.raises(InputError, match=r"^of: got 'margins'.*margin"):
        kernels.interference(
            losses.DPO(), Tabular(), world.log_table, world.log_table, world.pairs, "margins"
        )


# Named effects ----------------------------------------------------------------------------------


def test_displacement_needs_shared_features():
    """With alike features within a pair the chosen falls; with separate logits it cannot."""
    world = tm.scenarios.build([[0.2, 0.2, 0.6]], [(0, 0, 1)])
    alike = tm.LogLinear(jnp.asarray([[[1.0, 0.0], [1.4, 0.0], [0.0, 1.0]]]))

    @draws.compiled
    def both(params):
        start = alike.log_probs(params)
        arguments = losses.DPO(), alike, params, start, world.pairs
        moved = params - 1e-6 * gradients.parameters(*arguments)
        return special_cases.displacement(*arguments), alike.log_probs(moved)[0] - start[0]

    found, moved = both(jnp.zeros(2))
    assert found.speed[0] < 0
    assert found.displaced[0]
    assert found.margin_speed[0] > 0
    assert moved[0] / 1e-6 == pytest.approx(float(found.speed[0]), rel=1e-4)
    assert (moved[0] - moved[1]) / 1e-6 == pytest.approx(float(found.margin_speed[0]), rel=1e-4)


def test_displacement_does_not_ask_the_pairs_own_margin():
    """A pair outvoted by others loses margin and chosen, while the mean loss falls."""
    world = tm.scenarios.build([[0.4, 0.3, 0.3]], [(0, 0, 1, 1.0), (0, 1, 0, 9.0)])
    arguments = world.log_table, world.log_table, world.pairs
    found = draws.compiled(special_cases.displacement)(losses.DPO(), Tabular(), *arguments)
    assert found.displaced.tolist() == [True, False]
    assert found.margin_speed[0] < 0 < found.margin_speed[1]


@draws.compiled
def squeezed(log_probs, pairs):
    def objective(logits):
        return pairs.mean(pairs.read(jax.nn.log_softmax(logits, axis=-1))[1])

    down = -jax.grad(objective)(log_probs)
    expected = jax.jvp(lambda z: jax.nn.log_softmax(z, axis=-1), (log_probs,), (down,))[1]
    return special_cases.squeezing(log_probs, pairs), expected


@given(world=draws.worlds())
def test_squeezing_is_a_push_down_on_the_rejected_alone(world):
    found, expected = squeezed(world.log_probs, world.pairs)
    np.testing.assert_allclose(found, expected, atol=1e-12)


@given(probs=st.lists(st.floats(0.01, 1), min_size=8, max_size=8))
def test_squeezing_favours_the_argmax(probs):
    table = np.asarray([probs]) / np.sum(probs)
    pairs = Pairs(*(np.array([n]) for n in (0, 1, 0)), weight=np.ones(1))
    speed = np.asarray(squeezed(np.log(table), pairs)[0])[0]
    order = np.argsort(table[0, 1:], kind="stable")
    assert np.all(np.diff(speed[1:][order]) >= -1e-12)


def test_ches_is_among_the_special_cases():
    assert special_cases.ches is tm.sequences.ches
