"""Closed forms against their own equations in exact arithmetic, SciPy, and training itself."""

import decimal
from decimal import Decimal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import wrightomega

import toymodel as tm
from tests import strategies as draws
from toymodel import exact, gradients, scenarios
from toymodel.losses import DPO

margin = jax.jit(exact.margin)
velocity = jax.jit(jax.grad(exact.margin))
log_wright_omega = jax.jit(exact.log_wright_omega)

times = st.just(0.0) | draws.positive(1e-6, 1e12)
initials = st.floats(-20.0, 20.0) | st.floats(-2e4, 2e4)
weights = st.floats(0.01, 1.0)


def test_log_wright_omega():
    draw = np.random.default_rng(0).normal(size=2000)
    c = np.concatenate([3 * draw, 200 * draw, np.exp(20 * draw), [0.0, 1.0, -700.0, 700.0, 1e300]])
    c = c[c > -700]  # below, SciPy's omega is too small for a float
    np.testing.assert_allclose(log_wright_omega(c), np.log(wrightomega(c)), rtol=1e-13, atol=1e-14)
    tiny = np.asarray([-700.0, -2e7, -1e300])
    np.testing.assert_array_equal(log_wright_omega(tiny), tiny)


# The margin -------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [64, 32])
@given(times, draws.positive(1e-6, 1e3), initials, weights)
def test_margin_solves_its_equation(bits, time, beta, initial, weight):
    """u + e^u = u0 + e^u0 + 2 w beta^2 t holds within rounding of m, in 60-digit arithmetic."""
    with draws.precision(bits):
        given = [jnp.asarray(number) for number in (time, beta, initial, weight)]
        m = margin(*given)
        eps = float(jnp.finfo(m.dtype).eps)
    assert np.isfinite(m)
    with decimal.localcontext(prec=60, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN):
        t, b, m0, w = (Decimal(float(number)) for number in given)

        def left_side(margin):
            return b * margin + (b * margin).exp()

        right_side = left_side(m0) + 2 * w * b * b * t
        error = 16 * Decimal(eps) * max(abs(Decimal(float(m))), abs(m0)) + Decimal("1e-30")
        assert left_side(Decimal(float(m)) - error) <= right_side
        assert left_side(Decimal(float(m)) + error) >= right_side


@given(times, times, draws.positive(1e-6, 1e3), initials, weights)
def test_margin_continues_where_it_stopped(first, second, beta, initial, weight):
    whole = float(margin(first + second, beta, initial, weight))
    in_two = margin(second, beta, margin(first, beta, initial, weight), weight)
    assert in_two == pytest.approx(whole, rel=0, abs=1e-14 * (abs(initial) + abs(whole)))


@given(times, draws.positive(1e-3, 10.0), st.floats(-50.0, 50.0), weights)
def test_margin_moves_at_the_velocity_of_gradient_flow(time, beta, initial, weight):
    """m' = 2 w beta sigma(-beta m), also at time zero."""
    m = margin(time, beta, initial, weight)
    expected = 2 * weight * beta * jax.nn.sigmoid(-beta * m)
    assert velocity(time, beta, initial, weight) == pytest.approx(float(expected), rel=1e-10)
    assert margin(0.0, beta, initial, weight) == initial


def test_small_steps_of_gradient_descent_converge_to_the_margin_at_first_order():
    """Halving the learning rate halves the error, for a world with unequal weights."""
    world = scenarios.build(
        [[0.5, 0.3, 0.2], [0.1, 0.3, 0.6], [0.2, 0.2, 0.6]], [(0, 0, 1, 2.0), (1, 2, 0, 1.0)]
    )
    beta, duration, steps = 0.7, 30.0, [40, 80, 160, 320]

    limit = np.stack([margin(duration, beta, 0.0, share) for share in (2 / 3, 1 / 3)])

    def error(count):
        sgd = tm.optimisers.get("sgd", duration / count)
        run = tm.simulate(world, "tabular", DPO(beta), sgd, steps=count, record=[count])
        return gradients.pair_batch(run.log_probs[-1], run.reference, world.pairs).margin - limit

    errors = np.abs(np.stack([error(count) for count in steps]))
    slopes, _ = np.polyfit(np.log(steps), -np.log(errors), 1)
    np.testing.assert_allclose(slopes, 1.0, atol=0.05)
    assert np.all(errors[-1] < 0.01)
