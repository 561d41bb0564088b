"""The identities of docs/identities.md over random worlds: where they hold, and where not."""

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from scipy.special import expit

import toymodel as tm
from tests import strategies as draws
from tests.strategies import LOSSES, PAIRS, POLICY_CASES
from toymodel import exact, gradients, identities, rewards
from toymodel.flow import gradient_flow
from toymodel.losses import DPO, IPO, FlexDPO, FlexSFTDPO, PairBatch
from toymodel.policies import Tabular

every_loss = draws.every_loss
strengths = draws.positive(1e-3, 1.0)


# 1. Corollary 1 ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in LOSSES if LOSSES[name].balanced])
@given(data=st.data())
def test_corollary_1_holds_for_balanced_losses(name, data):
    loss, pairs = data.draw(draws.losses(name)), data.draw(draws.pair_batches(-20.0))
    assert np.all(identities.corollary_1(loss, pairs) == 0)


@every_loss
def test_corollary_1_in_probabilities(name):
    """(dL/dpi-) / (dL/dpi+) = -pi+/pi-, as the paper states it, for balanced losses alone."""
    columns = [[-1.0, -4.0], [-3.5, -2.5], [-2.0, -3.0], [-2.0, -2.0], [2.0, 2.0], [3.0, 3.0]]
    pairs = PairBatch(*map(jnp.asarray, columns))
    chosen, rejected = (log.value for log in gradients.probabilities(draws.usual(name), pairs))
    ratio = np.exp(pairs.chosen - pairs.rejected)
    assert np.allclose(rejected / chosen, -ratio) == LOSSES[name].balanced


# 2. Tabular softmax, one pair a prompt ----------------------------------------------------------


@pytest.mark.parametrize(("loss", "duration"), [(DPO(0.5), 300.0), (IPO(0.3), 3.0)])
@settings(max_examples=5)
@given(world=draws.one_pair_worlds())
def test_tabular_gradient_flow_of_a_margin_loss(loss, duration, world):
    times = jnp.linspace(0.0, duration, 31)
    curve = gradient_flow(world, Tabular(), loss, times, tolerance=1e-11)
    for wrong in identities.tabular_monotone(world, curve):
        assert np.all(wrong < 1e-9)
    if isinstance(loss, DPO):
        assert np.abs(identities.tabular_margin(world, curve, times, loss.beta)).max() < 1e-7


def test_unseen_mass_rises_at_first_where_the_rejected_response_is_the_likelier():
    """Dispersion without any sharing of parameters; log pi+ rises nevertheless."""
    world = tm.scenarios.build([[0.1, 0.6, 0.3], [0.6, 0.1, 0.3]], [(0, 0, 1), (1, 0, 1)])
    curve = gradient_flow(world, Tabular(), DPO(1.0), [0.0, 0.5])
    unseen_moves = curve[1, :, 2] - curve[0, :, 2]
    assert unseen_moves[0] > 0.01
    assert unseen_moves[1] < -0.01
    assert np.all(curve[1, :, 0] > curve[0, :, 0])


# 3. The force on unseen responses ---------------------------------------------------------------


@draws.compiled
def unseen(loss, world):
    """The residual and its scale; the velocity of the logits, and what it should follow from."""
    where = world.log_probs, world.reference, world.pairs
    residual = identities.unseen_force(loss, *where)
    scale = jnp.max(jnp.abs(jnp.stack(loss.slopes(world.batch))))
    return residual, scale, -gradients.logits(loss, *where), jnp.exp(world.log_probs), world.batch


@every_loss
@given(data=st.data())
def test_unseen_force(name, data):
    loss = data.draw(draws.losses(name, 1e-3, 1.0))
    world = data.draw(draws.worlds(weighted=loss.takes_weights))
    residual, scale, *_ = unseen(loss, draws.here(world))
    if draws.apart_from_ties(name, loss, world.batch, 1e-9):
        assert np.abs(residual).max() <= 1e-12 * scale


@given(draws.worlds(), strengths, strengths, st.just(0.0) | strengths)
def test_unseen_force_of_flex_and_sft(world, chosen, rejected, gamma):
    """-((b+ - b-) sigma(-u) + gamma) pi_k: down if b- < b+, up if b- > b+ and gamma is small."""
    loss, pairs, others = FlexSFTDPO(chosen, rejected, gamma), world.pairs, ~world.in_pair
    _, _, velocity, probs, batch = jax.tree.map(np.asarray, unseen(loss, draws.here(world)))
    pull = np.zeros((len(probs), 1))
    ratios = batch.chosen_log_ratio, batch.rejected_log_ratio
    for prompt, weight, c, r in zip(pairs.prompt, pairs.weight, *ratios, strict=True):
        pull[prompt] += weight * ((rejected - chosen) * expit(rejected * r - chosen * c) - gamma)
    expected = pull / pairs.weight.sum() * probs
    np.testing.assert_allclose(velocity[others], expected[others], rtol=1e-9, atol=1e-14)
    if gamma == 0:
        assert np.all(velocity[others] * np.sign(chosen - rejected) <= 0)


@pytest.mark.parametrize("loss", [FlexDPO(0.5, 1.0), FlexSFTDPO(0.5, 0.3, 0.2), DPO(0.5)])
@settings(max_examples=3)
@given(world=draws.one_pair_worlds())
def test_unseen_responses_share_a_clock(loss, world):
    """Under gradient flow, for any tabular start: pushed up, down, and not at all."""
    curve = gradient_flow(world, Tabular(), loss, [1.0, 30.0], tolerance=1e-12)
    assert np.abs(identities.unseen_clock(world, curve)).max() < 1e-9


# 5. The extremum of Flex-DPO's rejected gradient ------------------------------------------------

FACTORS = np.geomspace(0.1, 10.0, 12)


@draws.compiled
def extremum(pairs, beta_chosen):
    """The derivative at the extremum; log|dL/dpi-| there, and at multiples of beta_rejected."""
    pull = beta_chosen * pairs.chosen_log_ratio
    best = exact.flex_rejected_extremum(pairs.rejected_log_ratio, pull)

    def log_size(factor):
        loss = FlexDPO(beta_chosen, factor * best)
        return gradients.probabilities(loss, pairs)[1].log_abs

    derivative = identities.flex_extremum(pairs, beta_chosen)
    return derivative, log_size(1.0), jax.vmap(log_size, out_axes=1)(FACTORS)


@given(
    hnp.arrays(float, PAIRS, elements=st.floats(-20.0, 20.0)),
    hnp.arrays(float, PAIRS, elements=st.floats(-1e4, -0.01)),
    draws.positive(1e-3, 3.0),
)
def test_flex_extremum_is_stationary_and_a_maximum(chosen, rejected, beta_chosen):
    pairs = PairBatch(chosen, rejected, np.zeros(PAIRS), np.zeros(PAIRS))
    derivative, best, others = map(np.asarray, extremum(pairs, beta_chosen))
    assert np.abs(derivative).max() < 1e-8
    assert np.all(others < best[:, None])


def test_flex_extremum_tends_to_the_papers():
    """1.2785/|r| where the chosen has not moved; 1/|r| as its pull grows."""
    pulls = jnp.asarray([0.0, 2.0, 5.0, 40.0, jnp.inf])
    at = 20.0 * exact.flex_rejected_extremum(-20.0, pulls)
    assert at[0] == pytest.approx(1.2784645, abs=1e-7)
    assert np.all(np.diff(at[:4]) < 0)
    np.testing.assert_allclose(at[3:], 1.0, rtol=1e-12)


# 6. RLHF's optimum ------------------------------------------------------------------------------

reward_tables = hnp.arrays(float, (2, 4), elements=st.floats(-10.0, 10.0))
tables = hnp.arrays(float, (2, 4), elements=st.floats(-5.0, 0.0)).map(jax.nn.log_softmax)
population_gradient = draws.compiled(identities.rlhf_optimum)


@given(reward_tables, tables, draws.positive(0.01, 100.0))
def test_dpos_population_minimiser_is_rlhfs_optimum(reward, reference, beta):
    assert np.abs(population_gradient(reward, reference, beta)).max() < 1e-11


def test_the_flow_on_the_population_ends_at_rlhfs_optimum():
    reward, reference = jnp.asarray([[1.0, -0.5, 0.2]]), jnp.log(jnp.asarray([[0.2, 0.3, 0.5]]))
    pairs = exact.population_pairs(reward)
    rows = zip(pairs.prompt, pairs.chosen, pairs.rejected, pairs.weight, strict=True)
    world = tm.scenarios.build(log_table=reference, pairs=[tuple(map(float, r)) for r in rows])
    curve = gradient_flow(world, Tabular(), DPO(1.0), [0.0, 150.0], tolerance=1e-12)
    best = exact.rlhf_policy(reward, reference, 1.0)
    assert np.abs(curve[0] - best).max() > 0.1
    np.testing.assert_allclose(curve[1], best, atol=1e-9)


# 7. Rewards are balanced ------------------------------------------------------------------------


@draws.compiled
def reward_residuals(model, params, pairs):
    def objective(params):
        return rewards.objective(model.logits(params), pairs)

    balance = identities.balanced_reward(model, params, pairs)
    return *balance, rewards.gradient(model, params, pairs), jax.grad(objective)(params)


@pytest.mark.parametrize("model", POLICY_CASES, ids=draws.name_of)
@given(data=st.data())
def test_rewards_are_balanced_in_every_parameterisation(model, data):
    params, world = draws.here(data.draw(st.tuples(draws.params(model), draws.worlds())))
    row_sums, gap, ours, automatic = reward_residuals(model, params, world.pairs)
    assert np.abs(row_sums).max() < 1e-14
    assert gap < 1e-12
    assert draws.relative_error(ours, automatic, 1.0) < 1e-10
