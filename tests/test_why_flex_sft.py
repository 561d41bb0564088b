"""Flex-DPO's forces, the thresholds of the SFT term, and the two studies that rest on them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import toymodel as tm
from tests.strategies import compiled, positive
from toymodel import exact, optimisers
from toymodel.exact import crossover_margin, furthest_ratio
from toymodel.losses import PairBatch
from toymodel.studies import claims
from toymodel.why import _shared, flex, flex_forces, flex_rules, sft, sft_quiet, sft_rules
from toymodel.why.flex_forces import FORMS, SplitFlex, strengths
from toymodel.why.sft_thresholds import even_sft_weight, quiet_sft_weight

WORLD = tm.scenarios.both_on_policy()
SMALL = tm.MLP(hidden=(6,), fit_steps=50)
NATS = st.floats(-30.0, 30.0)


def pair(chosen, rejected):
    one = jnp.ones(1)
    c, r = (jnp.asarray([value]) for value in (chosen, rejected))
    return PairBatch(c, r, 0 * one, 0 * one, chosen_length=one, rejected_length=one)


# Forces -----------------------------------------------------------------------------------------


@given(NATS, NATS, positive(1e-3, 3.0), st.floats(0.05, 2.5))
def test_all_forces_together_are_flex_dpo(chosen, rejected, beta, ratio):
    batch = pair(chosen, rejected)
    split = SplitFlex(**strengths("all", beta, ratio)).slopes(batch)
    expected = tm.losses.FlexDPO(beta, beta * ratio).slopes(batch)
    np.testing.assert_allclose(np.stack(split), np.stack(expected), rtol=1e-9)


@given(NATS, NATS, positive(1e-3, 3.0), st.floats(0.05, 2.5))
def test_each_form_changes_its_own_force_alone(chosen, rejected, beta, ratio):
    """Against DPO: the sum of slopes, their difference, and the speed that both share."""
    batch = pair(chosen, rejected)
    found = {form: SplitFlex(**strengths(form, beta, ratio)) for form in FORMS}
    speed = {form: float(loss.held(batch)[0]) for form, loss in found.items()}
    of_dpo, of_flex = speed["pace"], speed["all"]
    np.testing.assert_allclose([speed["sum"], speed["clock"]], [of_dpo, of_flex], rtol=1e-9)
    outside, apart = {}, {}
    for form, loss in found.items():
        above, below = (float(slope[0]) / speed[form] for slope in loss.slopes(batch))
        outside[form], apart[form] = above + below, below - above
    tolerance = {"rtol": 1e-9, "atol": 1e-12}
    np.testing.assert_allclose([outside["pace"], outside["clock"]], 0, atol=1e-12)
    np.testing.assert_allclose(outside["sum"], outside["all"], **tolerance)
    np.testing.assert_allclose(apart["pace"], apart["all"], **tolerance)
    np.testing.assert_allclose([apart["sum"], apart["clock"]], 2 * beta, **tolerance)


def test_the_split_loss_keeps_the_contract():
    report = tm.losses.check(SplitFlex(pull=0.2, push=0.1, clock_chosen=0.3, clock_rejected=0.05))
    assert report, str(report)


@given(positive(1e2, 1e8), positive(1e-3, 1.0))
def test_the_furthest_ratio_is_where_the_drop_is_largest(time, beta):
    """By brute force over beta_rejected, in the late form with the reference's term left out."""
    growth = 2 * time * beta**2
    score = np.log(growth)
    ratios = np.geomspace(1e-6, 1e6, 4001)
    drops = -np.asarray(exact.late_flex_rejected(time, beta, beta * ratios, 0.0))
    best = ratios[drops.argmax()]
    found = float(furthest_ratio(jnp.asarray(score), most=1e9))
    np.testing.assert_allclose(best, found, rtol=0.01)


@given(st.floats(-20.0, 50.0), st.floats(-20.0, 50.0))
def test_a_longer_run_wants_a_smaller_ratio(one, other):
    low, high = sorted((one, other))
    assert furthest_ratio(high) <= furthest_ratio(low) <= 0.9


def test_every_rule_gives_a_ratio_for_each_run():
    score = np.array([[0.0, 1.0], [4.0, 12.0]])
    for rule in flex_forces.RULES.values():
        ratio = rule(score, 0.8 * score)
        assert ratio.shape == score.shape
        assert ((ratio > 0) & (ratio <= 1)).all()


# Thresholds of the SFT term ---------------------------------------------------------------------


@given(positive(1e-3, 10.0), st.floats(1e-9, 0.999))
def test_dpo_has_come_down_to_gamma_at_the_crossover(beta, share):
    gamma = beta * share
    m = crossover_margin(beta, gamma)
    pull, push = tm.losses.SFTDPO(beta, gamma).slopes(pair(m, 0.0))
    np.testing.assert_allclose(push[0], gamma, rtol=1e-6)
    np.testing.assert_allclose(pull[0], -2 * gamma, rtol=1e-6)


@given(positive(1e-6, 10.0), st.floats(1.0, 100.0))
def test_a_gamma_of_beta_or_more_rules_from_the_start(beta, factor):
    assert crossover_margin(beta, beta * factor) == -jnp.inf


@given(positive(1e-12, 1e-6), positive(1e-2, 2.0), st.integers(0, 2**31 - 1))
def test_quiet_weights_fall_as_far_as_adam_takes_them(epsilon, needed, seed):
    """Against Adam itself on constant gradients that are small beside its epsilon."""
    draw = np.random.default_rng(seed)
    hidden, probability = draw.uniform(0, 2, size=5), draw.uniform(0.01, 0.5)
    steps, rate, share = 400, 1.0, 0.25
    activity = float(np.sum(hidden**2))
    gamma = quiet_sft_weight(epsilon, needed, rate, steps, share, probability, activity)
    gradient = share * gamma * probability * jnp.asarray(hidden)
    fall = -float(jnp.dot(adam_moves(gradient, epsilon, rate), jnp.asarray(hidden)))
    part = float(gradient.max()) / epsilon  # of a full step: what the first order leaves out
    assert needed * (1 - 1.01 * part) * 0.97 < fall < needed * 1.001


@compiled
def adam_moves(gradient, epsilon, rate):
    method = optimisers.get("adam", rate, eps=epsilon).build()

    def step(_, state):
        weights, memory = state
        change, memory = method.update(gradient, memory, weights)
        return weights + change, memory

    start = jnp.zeros_like(gradient)
    return jax.lax.fori_loop(0, 400, step, (start, method.init(start)))[0]


@given(positive(1e-3, 1.0), positive(1e-4, 0.3), positive(1e-3, 1.0))
def test_the_even_weight_halves_a_shortfall_that_stands_still(shortfall, rate, share):
    """Where q hardly moves by itself, its logarithm falls at w gamma eta K q a step."""
    steps, kernel = 1000, 3.0
    gamma = float(even_sft_weight(steps * shortfall, rate, share, kernel))
    fall = share * gamma * rate * kernel * shortfall * steps
    np.testing.assert_allclose(np.exp(-fall), 0.5, rtol=1e-9)


# Quiet weights ----------------------------------------------------------------------------------


def chosen_after(gamma, quiet, loud):
    method = optimisers.get("adam", 0.01)
    parts = (WORLD, SMALL, 0.1, gamma, quiet, loud, method, jnp.arange(2))
    return sft_quiet.train_split(*parts, records=3, every=4)


def test_the_whole_split_is_sft_dpo_and_none_of_it_is_dpo():
    run = {"optimiser": "adam", "learning_rate": 0.01, "steps": 12, "seed": [0, 1], "record": 4}
    for shares, loss in (
        ((1.0, 1.0), tm.losses.SFTDPO(0.1, 0.01)),
        ((0.0, 0.0), tm.losses.SFTDPO(0.1, 0.0)),  # DPO, in a program that is there already
    ):
        table = tm.simulate(WORLD, SMALL, loss, **run).log_probs
        expected, _ = _shared.of_pairs(np.asarray(table))
        np.testing.assert_allclose(chosen_after(0.01, *shares), expected[:, 1:], rtol=1e-8)


def test_each_part_of_the_split_does_something_else():
    quiet, loud = chosen_after(0.01, 1.0, 0.0), chosen_after(0.01, 0.0, 1.0)
    assert np.abs(quiet - loud).max() > 1e-6


@pytest.mark.slow
def test_activity_and_kernel_by_brute_force():
    found = sft_quiet.quiet_activity(WORLD, SMALL, jnp.arange(1))[0]
    kernel = sft_quiet.own_kernel(WORLD, SMALL, jnp.arange(1))[0]
    params, _ = SMALL.fit(WORLD.log_table, jax.random.key(0))
    hidden = np.maximum(np.asarray(params[0].weight + params[0].bias[None]), 0)
    sums = [
        sum(h**2 for h, other in zip(hidden[x], hidden[z], strict=True) if other == 0)
        for x in range(4)
        for z in range(4)
        if x != z
    ]
    np.testing.assert_allclose(found, np.mean(sums), rtol=1e-9)
    table = np.asarray(SMALL.logit_kernel(params))
    own = [table[x, y, x, y] for x in range(4) for y in range(10)]
    other = [table[x, y, x, z] for x in range(4) for y in range(10) for z in range(10) if y != z]
    np.testing.assert_allclose(kernel, np.mean(own) - np.mean(other), rtol=1e-9)


# Reading runs -----------------------------------------------------------------------------------


@given(st.integers(1, 200), st.data())
def test_wilsons_interval_solves_its_equation(trials, data):
    successes = data.draw(st.integers(0, trials))
    p, low, high = claims.share(successes, trials)
    assert 0 - 1e-12 <= low <= p + 1e-12
    assert p <= high + 1e-12 <= 1 + 2e-12
    for end in (low, high):
        np.testing.assert_allclose(
            (p - end) ** 2, 1.9599639845**2 * end * (1 - end) / trials, atol=1e-9
        )


@given(positive(1e-6, 1e-2))
def test_the_half_dose_of_a_known_curve(half):
    """A curve that is linear in the logarithm of the dose, and crosses one half at a known one."""
    doses = np.array([0.0, half / 100, half / 10, half * 10, half * 100])
    logs = np.log10(doses[1:] / half)
    values = np.array([1.0, *(0.5 - 0.2 * logs)])[:, None].repeat(3, axis=1)
    np.testing.assert_allclose(_shared.half_dose(doses, values), half, rtol=1e-9)


def test_half_doses_out_of_range():
    flat = np.ones((3, 2))
    assert _shared.half_dose([0.0, 1e-3, 1e-2], flat) == (np.inf,) * 3
    flat[1:] = 0.1
    assert _shared.half_dose([0.0, 1e-3, 1e-2], flat) == (0.0,) * 3


def test_runs_are_read_when_something_first_comes():
    came = np.array([[[False, True, True], [False, False, True]], [[False] * 3, [True] * 3]])
    values = np.arange(12.0).reshape(2, 2, 3)
    np.testing.assert_array_equal(flex._when(came, values), [[1.0, 5.0], [np.nan, np.nan]])


def test_rules_succeed_where_they_lose_little():
    lost = xr.DataArray([[0.0, 0.019], [0.021, 0.5]])
    assert flex_rules.success(lost)[0] == 0.5
    rules = {"rule": ["none", "some"]}
    fall = [[0.0, 0.04, 0.06, 1.0, np.nan, 0.2], [0.0, 0.3, 0.0, np.nan, 0.0, 0.06]]
    found = xr.Dataset({"rule_fall": (("rule", "setting"), fall)}, rules)
    assert sft_rules.success(found, "some")[0] == 0.5, "two of the four that fall without the term"
    assert sft_rules.success(found, "none")[0] == 0.0
    assert np.isnan(sft_rules.success(found.isel(setting=[0, 1]), "some")).all()


def test_a_slope_is_far_from_a_half_dose_only_in_all_conditions():
    half = np.array([[2.0, 1.9, 2.1], [30.0, 29.0, 31.0]])
    near, far = half[:, 0] / 1.5, half[:, 0] / [20.0, 0.01]
    assert not sft._beside_slope("adam", half, half[:, 0], near).reached
    assert not sft._beside_slope("adam", half, half[:, 0], half[:, 0] / [1.5, 100.0]).reached
    assert sft._beside_slope("adam", half, half[:, 0], far).reached
    assert sft._beside_slope("sgd", half, half[:, 0], far).reached
    assert not sft._beside_slope("sgd", half, half[:, 0] / 3, far).reached
    assert not sft._beside_slope("adam", half * [[0], [1]], half[:, 0], far).reached


# Whole studies ----------------------------------------------------------------------------------
