"""From slopes to probabilities, logits and parameters: closed forms against derivatives by JAX."""

import dataclasses

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given
from jax.flatten_util import ravel_pytree

from tests import strategies as draws
from tests.strategies import LOSSES, LOWEST, POLICY_CASES, SHAPE
from toymodel import gradients
from toymodel.losses import DPO, PairBatch

STEP = 1e-4  # of central differences

every_loss = draws.every_loss
both_precisions = pytest.mark.parametrize("bits", [64, 32])
#: Every loss in float64; one of each kind in float32 too.
every_loss_in_its_precisions = pytest.mark.parametrize(
    ("name", "bits"),
    [
        pytest.param(name, bits, marks=[] if name in draws.CORE else [pytest.mark.slow])
        for name in LOSSES
        for bits in (64, 32)
        if bits == 64 or name in draws.CORE
    ],
)


# Logits -----------------------------------------------------------------------------------------


def pull(loss, world):
    """The sizes of the slopes that meet in each prompt's logits: the scale of rounding errors."""
    share = world.pairs.weight / jnp.sum(world.pairs.weight)
    slopes = share * sum(map(jnp.abs, loss.slopes(world.batch)))
    return jnp.zeros(SHAPE[0], slopes.dtype).at[world.pairs.prompt].add(slopes)[:, None]


@draws.compiled
def in_logits(loss, world):
    """The gradient, the same by reverse mode and by forward mode, and their scale."""

    def objective(logits):
        log_probs = jax.nn.log_softmax(logits, axis=-1)
        return gradients.objective(loss, log_probs, world.reference, world.pairs)

    ours = gradients.logits(loss, world.log_probs, world.reference, world.pairs)
    by_modes = jax.grad(objective)(world.logits), jax.jacfwd(objective)(world.logits)
    return ours, by_modes, jnp.maximum(pull(loss, world), 1e-4)


@draws.compiled
def by_differences(loss, world):
    """The gradient by central differences, holding what a loss detaches; and what these miss."""
    held = loss.held(world.batch)

    def of(logits):
        moved = world._replace(logits=logits)
        values = loss.value_holding(moved.batch, held)
        ours = gradients.logits(loss, moved.log_probs, world.reference, world.pairs)
        return world.pairs.mean(values), ours

    def along(step):
        (ahead, one), (behind, other) = of(world.logits + step), of(world.logits - step)
        bend = jnp.sum(jnp.abs(one - 2 * ours + other) * (step > 0))
        return (ahead - behind) / (2 * STEP), bend

    value, ours = of(world.logits)
    steps = STEP * jnp.eye(world.logits.size).reshape(-1, *SHAPE)
    differences, missed = (x.reshape(SHAPE) for x in jax.vmap(along)(steps))
    return differences, missed + 1e-11 * jnp.abs(value)


@every_loss_in_its_precisions
@given(data=st.data())
def test_logits(name, bits, data):
    loss = data.draw(draws.losses(name, 1e-3, 1.0))
    world = data.draw(draws.worlds(weighted=loss.takes_weights))
    with draws.precision(bits) as tolerance:
        world = draws.here(world)
        ours, by_modes, scale = in_logits(loss, world)
        is_apart = draws.apart_from_ties(name, loss, world.batch, 1e-4)
        for automatic in by_modes * is_apart:
            assert draws.relative_error(ours, automatic, scale) < tolerance
        assert draws.relative_error(ours.sum(-1, keepdims=True), 0 * scale, scale) < tolerance
        if LOSSES[name].balanced:
            assert not np.any(np.asarray(ours)[~world.in_pair])  # exactly
        if bits == 64 and is_apart:
            differences, missed = by_differences(loss, world)
            assert np.all(np.abs(ours - differences) <= 1e-6 * scale + missed)


@given(world=draws.worlds())
def test_objective_is_the_weighted_mean(world):
    """Weights count relative to one another; a pair of weight zero does not count."""
    world = draws.here(world)
    objective = gradients.objective(DPO(), world.log_probs, world.reference, world.pairs)
    expected = np.average(DPO().value(world.batch), weights=world.pairs.weight)
    np.testing.assert_allclose(objective, expected, rtol=1e-12)


# Parameters -------------------------------------------------------------------------------------


@draws.compiled
def in_parameters(loss, policy, params, world):
    """The gradient, the same by reverse mode, and the scale of rounding errors."""

    def objective(params):
        return gradients.objective(loss, policy.log_probs(params), world.reference, world.pairs)

    ours = gradients.parameters(loss, policy, params, world.reference, world.pairs)
    automatic = jax.grad(objective)(params)
    scale = jnp.max(pull(loss, world._replace(logits=policy.logits(params))))
    return ours, automatic, jnp.maximum(scale, jnp.max(jnp.abs(ravel_pytree(automatic)[0])))


#: From logits to parameters the loss no longer matters; one of each kind meets a policy.
DIFFERENT_LOSSES = [
    *("dpo", "flex_sft_dpo", "ipo-per_token", "orpo"),
    *("aot_unpaired", "kto", "wpo", "f_dpo-alpha"),
    *("sft_dpo", "hinge", "simpo", "cpo", "sppo_hard", "discopop"),
]


@pytest.mark.parametrize(
    ("policy", "name"),
    [
        pytest.param(policy, name, id=f"{draws.name_of(policy)}-{name}")
        for policy, name in zip(POLICY_CASES, DIFFERENT_LOSSES, strict=True)
    ],
)
@given(data=st.data())
def test_parameters(policy, name, data):
    loss = data.draw(draws.losses(name, 1e-3, 1.0))
    worlds = draws.worlds(weighted=loss.takes_weights)
    case = loss, data.draw(draws.params(policy)), data.draw(worlds)
    loss, params, world = draws.here(case)
    ours, automatic, scale = in_parameters(loss, policy, params, world)
    assert draws.relative_error(ours, automatic, scale) < 1e-10


# Probabilities ----------------------------------------------------------------------------------


@draws.compiled
def in_probabilities(loss, pairs):
    """The gradient in pi+ and pi-, and the same by reverse mode, [2, pair]."""

    def total(probabilities):
        chosen, rejected = jnp.log(probabilities)
        return jnp.sum(loss.value(dataclasses.replace(pairs, chosen=chosen, rejected=rejected)))

    automatic = jax.grad(total)(jnp.exp(jnp.stack([pairs.chosen, pairs.rejected])))
    return jnp.stack([log.value for log in gradients.probabilities(loss, pairs)]), automatic


@every_loss
@given(data=st.data())
def test_probabilities(name, data):
    loss, pairs = data.draw(draws.losses(name, 1e-3, 1.0)), data.draw(draws.pair_batches(-20.0))
    if "aot" not in name:
        assume(draws.apart_from_ties(name, loss, pairs, 1e-9))
    ours, automatic = in_probabilities(loss, draws.here(pairs))
    probabilities = jnp.exp(jnp.stack([pairs.chosen, pairs.rejected]))
    scale = 1e-4 * jnp.max(jnp.abs(automatic * probabilities), axis=0, keepdims=True)
    rounding = 1e-5  # where slopes of size one cancel, autodiff is left with their rounding
    assert draws.relative_error(ours, automatic, (scale + rounding) / probabilities) < 1e-10


@both_precisions
@every_loss
def test_probabilities_far_beyond_floating_point(name, bits):
    """With log pi- = -1e4 under policy and reference, the gradient in pi- is about exp(1e4)."""
    with draws.precision(bits) as tolerance:
        loss, chosen = draws.usual(name), jnp.linspace(-30.0, 0.0, 7)
        pairs = PairBatch(chosen, 0 * chosen + LOWEST, 0 * chosen - 9, 0 * chosen + LOWEST)
        logs = gradients.probabilities(loss, pairs)
        for slope, log, at in zip(loss.slopes(pairs), logs, [chosen, LOWEST], strict=True):
            np.testing.assert_array_equal(log.sign, jnp.sign(slope))
            expected = jnp.log(jnp.abs(slope)) - at
            np.testing.assert_allclose(log.log_abs, expected, rtol=tolerance, atol=tolerance)
