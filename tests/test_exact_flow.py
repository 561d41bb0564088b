"""Closed forms against the integrated gradient flow of tabular policies, over random worlds."""

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp
from scipy.special import log_softmax

import toymodel as tm
from tests import strategies as draws
from toymodel import InputError, exact, gradients, kernels
from toymodel.losses import CDPO, DPO, IPO, SFT, SFTDPO, FlexDPO, Hinge, SLiC

TIGHT = 1e-12
TIMES = np.asarray([0.3, 2.0, 11.0, 40.0])
few = settings(max_examples=6)  # the integrator compiles anew for each

tables = hnp.arrays(float, (2, 5), elements=st.floats(-2.0, 2.0)).map(lambda z: log_softmax(z, -1))
betas = draws.positive(0.05, 2.0)
shares = st.floats(0.1, 0.9)


def world_of(table, share=0.5):
    """Two prompts with one pair each, of given shares."""
    return tm.scenarios.build(log_table=table, pairs=[(0, 0, 1, share), (1, 3, 2, 1 - share)])


def flow(world, loss, times=TIMES):
    return tm.gradient_flow(world, "tabular", loss, times, tolerance=TIGHT)


MARGIN_LOSSES = {
    "dpo": DPO,
    "ipo": IPO,
    "hinge": Hinge,
    "slic": lambda beta: SLiC(delta=5 * beta, eta=0.0),
}


@pytest.mark.parametrize("make", MARGIN_LOSSES.values(), ids=MARGIN_LOSSES)
@few
@given(table=tables, beta=betas, share=shares)
def test_every_probability_of_a_margin_losss_flow(make, table, beta, share):
    """Chosen, rejected and each unseen response, at all times, to 1e-8."""
    loss, world = make(beta), world_of(table, share)
    found = flow(world, loss)
    for prompt, (chosen, rejected) in enumerate([(0, 1), (3, 2)]):
        row = world.log_table[prompt]
        weight = world.pairs.share[prompt]
        closed = exact.log_probs(loss, row, row, chosen, rejected, jnp.asarray(TIMES), weight)
        np.testing.assert_allclose(found[:, prompt], closed, atol=1e-8)


@few
@given(table=tables, beta=betas, ratio=st.floats(0.2, 3.0), gamma=st.floats(0.0, 0.5))
def test_unseen_responses_share_one_clock(table, beta, ratio, gamma):
    """Whatever the loss: here Flex-DPO with an SFT term."""
    loss = tm.losses.get("flex_sft_dpo", beta_chosen=beta, beta_rejected=ratio * beta, gamma=gamma)
    world = world_of(table)
    found = flow(world, loss)
    for prompt, unseen in ((0, [2, 3, 4]), (1, [0, 1, 4])):
        start = world.log_table[prompt]
        changes = jax.vmap(exact.logit_changes, in_axes=(None, 0))(start, found[:, prompt])
        leader = max(unseen, key=lambda k: float(start[k]))
        for k in unseen:
            expected = exact.unseen_change(start[k] - start[leader], changes[:, leader])
            np.testing.assert_allclose(changes[:, k], expected, atol=1e-7)


@few
@given(table=tables, share=shares)
def test_sft_trajectory(table, share):
    world = world_of(table, share)
    found = flow(world, SFT())
    for prompt, chosen in enumerate((0, 3)):
        weight = world.pairs.share[prompt]
        closed = jax.vmap(exact.sft_log_probs, in_axes=(None, None, 0, None))(
            world.log_table[prompt], chosen, jnp.asarray(TIMES), weight
        )
        np.testing.assert_allclose(found[:, prompt], closed, atol=1e-8)


@few
@given(table=tables, beta=st.floats(0.3, 2.0), smoothing=st.floats(0.05, 0.4))
def test_smoothed_labels_reach_each_margin_when_the_closed_form_says(table, beta, smoothing):
    world = world_of(table)
    found = flow(world, CDPO(beta, smoothing), TIMES[:3])
    for record, time in enumerate(TIMES[:3]):
        batch = gradients.pair_batch(found[record], world.log_table, world.pairs)
        when = exact.cdpo_time(batch.margin, beta, smoothing, 0.0, 0.5)
        target = exact.cdpo_target(beta, smoothing)
        moving = target - batch.margin > 1e-3 * target  # at the target time says nothing
        np.testing.assert_allclose(np.asarray(when)[moving], time, rtol=1e-6)
        assert np.all(batch.margin <= target + 1e-9)


# Late times -------------------------------------------------------------------------------------


@given(beta=draws.positive(0.01, 10), initial=st.floats(-3, 3), weight=st.floats(0.05, 1))
def test_late_margin_converges_to_the_margin(beta, initial, weight):
    """At the stated order: the error times g^2/log(g)^2 stays bounded as g grows."""
    growth = np.asarray([1e4, 1e6, 1e8]) * (1 + np.exp(beta * abs(initial)))
    times = growth / (2 * weight * beta**2)
    error = exact.margin(times, beta, initial, weight) - exact.late_margin(
        times, beta, initial, weight
    )
    scores = beta * np.abs(error)
    constant = (2 + beta * abs(initial) + np.exp(beta * initial)) ** 2
    rounding = 1e-13 * np.log(growth) + 1e-12 * beta * abs(initial)
    assert np.all(scores <= constant * (np.log(growth) / growth) ** 2 + rounding)


def test_late_shortfalls_are_the_flows():
    start = jnp.log(jnp.asarray([0.1, 0.5, 0.3, 0.1]))
    for time in (1e4, 1e6):
        short = -jnp.expm1(exact.sft_log_probs(start, 0, time)[0])
        assert short / exact.late_sft_shortfall(time, 4) == pytest.approx(1, abs=30 / time**0.5)
    world = tm.scenarios.build(jnp.exp(start)[None], [(0, 0, 1)])
    for beta, apart in ((0.75, 0.45), (2.0, 0.05)):  # near 1/2 and 1 two powers are nearly equal
        times = np.asarray([2.5e2, 1e3, 4e3])
        short = -np.expm1(flow(world, SFTDPO(beta, 0.5), times)[:, 0, 0])
        gaps = np.abs(short / exact.late_sft_dpo_shortfall(times, beta, 0.5, 4) - 1)
        assert np.all(np.diff(gaps) < 0)
        assert gaps[-1] < apart
        slopes = np.diff(np.log(short)) / np.log(4)
        ends = np.abs(slopes - exact.late_sft_dpo_exponent(beta))
        assert ends[1] < ends[0]


def test_late_flex_rejected_is_the_flows():
    world = tm.scenarios.build([[0.2, 0.3, 0.5]], [(0, 0, 1)])
    times = np.asarray([1e2, 1e3, 1e4])
    for strengths in ((0.5, 0.3), (0.4, 0.4)):
        found = flow(world, FlexDPO(*strengths), times)
        ratio = found[:, 0, 1] - world.log_table[0, 1]
        late = exact.late_flex_rejected(times, *strengths, world.log_table[0, 0])
        gaps = np.abs(ratio - late)
        assert np.all(np.diff(gaps) < 0)
        assert gaps[-1] < 0.05 * abs(ratio[-1])


# Limits -----------------------------------------------------------------------------------------


@few
@given(table=tables, strengths=st.tuples(st.floats(0.2, 1.0), st.floats(0.1, 5.0)))
def test_flex_limit_is_where_the_flow_goes(table, strengths):
    beta_chosen, ratio = strengths
    world = tm.scenarios.build(log_table=table[:1], pairs=[(0, 0, 1)])
    loss = FlexDPO(beta_chosen, ratio * beta_chosen)
    said = int(exact.flex_limit(world.log_table[0], 0, 1, loss.beta_chosen, loss.beta_rejected))
    found = flow(world, loss, [50.0, 2e3])
    chosen = np.exp(found[:, 0, 0])
    later = int(exact.flex_limit(found[-1, 0], 0, 1, loss.beta_chosen, loss.beta_rejected))
    if said:
        assert later == said, "the condition lasts"
        assert np.sign(chosen[1] - chosen[0]) == said or abs(chosen[1] - (said > 0)) < 1e-3


@st.composite
def contests(draw):
    """Preferences among four responses, deterministic or contradictory."""
    possible = [(a, b) for a in range(4) for b in range(4) if a != b]
    edges = draw(st.lists(st.sampled_from(possible), min_size=1, max_size=5, unique=True))
    return tm.scenarios.build([[0.25] * 4], [(0, *edge) for edge in edges])


@settings(max_examples=12)
@given(world=contests())
def test_margins_diverge_iff_it_is_said(world):
    found = flow(world, DPO(1.0), [500.0, 2000.0])
    margins = [gradients.pair_batch(t, world.log_table, world.pairs).margin for t in found]
    gained = np.asarray(margins[1] - margins[0])
    converges = exact.margin_converges(DPO(1.0), world)
    assert np.all(np.abs(gained[converges]) < 0.05)
    assert np.all(gained[~converges] > 0.2)  # log 4 over as many edges as push on
    assert exact.has_minimiser(DPO(1.0), world) == bool(converges.all())
    assert exact.has_minimiser(IPO(), world)


# The optimum ------------------------------------------------------------------------------------

rewards = hnp.arrays(float, (2, 5), elements=st.floats(-3.0, 3.0))


@given(reward=rewards, table=tables, beta=draws.positive(0.05, 5.0))
def test_rlhf_policy_is_the_optimum(reward, table, beta):
    best = exact.rlhf_policy(reward, table, beta)
    value = exact.rlhf_objective(best, reward, table, beta)
    np.testing.assert_allclose(value, exact.rlhf_value(reward, table, beta), atol=1e-10)

    def objective(logits):
        return exact.rlhf_objective(jax.nn.log_softmax(logits, -1), reward, table, beta).sum()

    np.testing.assert_allclose(jax.grad(objective)(best), 0, atol=1e-10)
    assert np.all(exact.rlhf_objective(jnp.asarray(table), reward, table, beta) <= value + 1e-12)
    implied = exact.implied_reward(best, jnp.asarray(table), beta)
    shift = implied - reward
    np.testing.assert_allclose(shift - shift[:, :1], 0, atol=1e-9)


@given(reward=rewards, table=tables, beta=draws.positive(0.05, 5.0))
def test_dpo_on_the_population_rests_at_the_rlhf_policy(reward, table, beta):
    """Identity 6, and with contradictory pairs alone: a minimiser exists."""
    pairs = exact.population_pairs(jnp.asarray(reward))
    best = exact.rlhf_policy(reward, table, beta)
    slope = gradients.logits(DPO(beta), best, jnp.asarray(table), pairs)
    np.testing.assert_allclose(slope, 0, atol=1e-12)
    start = gradients.logits(DPO(beta), jnp.asarray(table), jnp.asarray(table), pairs)
    if np.ptp(reward, axis=1).max() > 0.1:
        assert np.abs(start).max() > 1e-6


# The SFT term -----------------------------------------------------------------------------------


@given(table=tables, pull=st.floats(0.0, 2.0), push=st.floats(0.0, 2.0))
def test_chosen_velocity_is_the_kernels(table, pull, push):
    log_probs = jnp.asarray(table)
    kernel = kernels.response_kernel(tm.Tabular(), log_probs)
    expected = pull * kernel[0, 0, 0, 0] - push * kernel[0, 0, 0, 1]
    found = exact.chosen_velocity(log_probs[0], 0, 1, pull, push)
    assert found == pytest.approx(float(expected), abs=1e-10)
    least = exact.least_sft_weight(log_probs[0], 0, 1, pull, push)
    at_least = exact.chosen_velocity(log_probs[0], 0, 1, pull + least, push)
    assert at_least == pytest.approx(0.0, abs=1e-10)


def test_what_has_no_closed_form_is_refused():
    start = jnp.log(jnp.asarray([0.5, 0.5]))
    for loss in (SLiC(), FlexDPO(), SFTDPO()):
        with pytest.raises(InputError, match=r"^loss: got"):
            exact.log_probs(loss, start, start, 0, 1, jnp.asarray(1.0))
    with pytest.raises(InputError, match=r"^loss: got"):
        exact.margin_converges(FlexDPO(), tm.scenarios.both_on_policy())
