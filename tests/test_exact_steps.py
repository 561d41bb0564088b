"""Closed forms against gradient descent with small steps, and at extreme values."""

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

import toymodel as tm
from tests import strategies as draws
from toymodel import exact, scenarios
from toymodel.losses import DPO, IPO, SFT, FlexSFTDPO, Hinge, SLiC

WORLD = scenarios.build(
    [[0.5, 0.2, 0.2, 0.1], [0.1, 0.2, 0.6, 0.1]], [(0, 0, 1, 2.0), (1, 1, 2, 1.0)]
)
DURATION, STEPS = 2.0, (40, 80, 160, 320)


def descended(loss, count):
    sgd = tm.optimisers.get("sgd", DURATION / count)
    run = tm.simulate(WORLD, "tabular", loss, sgd, steps=count, record=[count], progress=False)
    return run.log_probs[-1]


def closed(loss):
    """The closed form's log-probabilities at the end, [prompt, response]."""
    pairs = WORLD.pairs
    rows = zip(WORLD.log_table, pairs.chosen, pairs.rejected, pairs.share, strict=True)
    if isinstance(loss, SFT):
        tables = [exact.sft_log_probs(row, y, DURATION, share) for row, y, _, share in rows]
    else:
        tables = [exact.log_probs(loss, row, row, *pair, DURATION, w) for row, *pair, w in rows]
    return jnp.stack(tables)


def order(errors):
    """The power of the step with which errors vanish, between each two neighbouring counts."""
    return -np.diff(np.log(errors)) / np.diff(np.log(STEPS))


@pytest.mark.parametrize("loss", [DPO(0.7), IPO(0.3), SFT()], ids=["dpo", "ipo", "sft"])
def test_every_probability_of_gradient_descent_converges_at_first_order(loss):
    limit = closed(loss)
    errors = [np.abs(descended(loss, count) - limit).max() for count in STEPS]
    np.testing.assert_allclose(order(errors)[1:], 1.0, atol=0.1)
    assert errors[-1] < 0.05


@pytest.mark.parametrize("loss", [Hinge(0.05), SLiC(20.0, 0.0)], ids=["hinge", "slic"])
def test_descent_on_a_hinge_is_exact_before_the_kink(loss):
    """The velocity is constant, so that steps of any size land on the line."""
    np.testing.assert_allclose(descended(loss, 7), closed(loss), atol=1e-12)


def test_the_clock_of_the_unseen_drifts_at_first_order_in_the_step():
    """A constant of the flow is none of descent; the drift vanishes with the step."""
    loss = FlexSFTDPO(0.5, 0.3, 0.4)

    def drift(count):
        curve = descended(loss, count)[None]
        return np.abs(tm.identities.unseen_clock(WORLD, curve)).max()

    drifts = [drift(count) for count in STEPS]
    np.testing.assert_allclose(order(drifts)[1:], 1.0, atol=0.1)
    assert drifts[0] > 1e-6


# Extreme values ---------------------------------------------------------------------------------

sizes = st.floats(-20.0, 0.0) | st.floats(draws.LOWEST, 0.0) | st.just(draws.LOWEST)
rows = hnp.arrays(float, 4, elements=sizes)
sft = jax.jit(exact.sft_log_probs)
margin = jax.jit(exact.margin)
times = st.just(0.0) | draws.positive(1e-6, 1e12)
betas = draws.positive(1e-6, 1e3)


@jax.jit
def everything(row, reference, time, beta, ratio, smoothing):
    """Every closed form that takes such numbers; chosen 0, rejected 1, margins as they come."""
    row, reference = jax.nn.log_softmax(row), jax.nn.log_softmax(reference)
    losses = DPO(beta), IPO(beta), Hinge(beta)
    slic = exact.slic_gap(time, beta, row[0] - row[1])
    margin = row[0] - row[1] - reference[0] + reference[1]
    rewards, tables = 1e2 * reference[None], row[None]
    return {
        "flows": [exact.log_probs(loss, row, reference, 0, 1, time, 0.25) for loss in losses],
        "slic": exact.with_margin_gained(row, 0, 1, slic - (row[0] - row[1])),
        "late_margin": exact.late_margin(time, beta, margin),
        "sft": exact.sft_log_probs(row, 0, time, 0.25),
        "unseen": exact.unseen_change(row - jnp.max(row), row[0]),
        "limit": exact.flex_limit(row, 0, 1, beta, ratio * beta),
        "velocity": exact.chosen_velocity(row, 0, 1, beta, ratio * beta),
        "threshold": exact.least_sft_weight(row, 0, 1, beta, ratio * beta),
        "targets": [exact.ipo_target(beta), exact.cdpo_target(beta, smoothing)],
        "rlhf": exact.rlhf_policy(rewards, tables, beta),
        "value": exact.rlhf_value(rewards, tables, beta),
        "pairs": exact.population_pairs(rewards).weight,
    }


@pytest.mark.parametrize("bits", [64, 32])
@given(rows, rows, times, betas, draws.positive(1e-3, 1e3), st.floats(1e-6, 1 - 1e-6))
def test_extreme_values_stay_finite(bits, row, reference, time, beta, ratio, smoothing):
    with draws.precision(bits):
        given = (row, reference, time, beta, ratio, smoothing)
        found = everything(*(jnp.asarray(number, float) for number in given))
        assert found["sft"].dtype == (np.float32 if bits == 32 else np.float64)
    for name, value in found.items():
        assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(value)), name
    for curve in (*found["flows"], found["slic"], found["sft"]):
        assert np.logaddexp.reduce(curve) == pytest.approx(0.0, abs=1e-2 if bits == 32 else 1e-10)
        assert np.all(np.asarray(curve) <= 0)


@given(rows, times, draws.positive(1e-2, 10.0))
def test_float32_agrees_with_float64(row, time, beta):
    """Within 1e-5 of the largest log-probability that goes in or comes out."""
    number = [np.float32(x) for x in (row, row, time, beta, 1.0, 0.1)]  # the same in both
    with draws.precision(32):
        single = everything(*map(jnp.asarray, number))
    double = everything(*(jnp.asarray(x, float) for x in number))
    for name in ("flows", "slic", "sft", "late_margin"):
        leaves = zip(jax.tree.leaves(single[name]), jax.tree.leaves(double[name]), strict=True)
        for low, high in leaves:
            scale = 1 + np.abs(high).max() + np.abs(row).max() + 1 / beta
            assert np.abs(low - high).max() <= 1e-5 * scale, name


@given(rows, draws.positive(1e-6, 1e12), st.floats(0.1, 1.0))
def test_sft_on_two_responses_is_lamberts(row, time, weight):
    """x + e^x = x0 + e^x0 + 2 w t for the log-odds x of the chosen: the margin of DPO at beta 1."""
    start = jax.nn.log_softmax(jnp.asarray(row[:2]))
    after = sft(start, 0, time, weight)
    odds = margin(time, 1.0, start[0] - start[1], weight)
    assert after[0] - after[1] == pytest.approx(float(odds), rel=1e-12, abs=1e-11)
