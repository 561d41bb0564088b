"""Every loss against its own derivatives, the golden values, and the losses that it contains."""

import dataclasses
import functools
import json
from pathlib import Path

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given
from jax.flatten_util import ravel_pytree

from tests import strategies as draws
from tests.strategies import LOSSES
from toymodel import losses
from toymodel.losses import DPO, IPO, SFTDPO, FlexDPO, FlexSFTDPO, PairBatch, SLiC

REGISTERED = losses.names()  # at collection: doctests may register losses of their own later
STEP = 1e-4  # of central differences
UNDERFLOW = {64: 1e-280, 32: 1e-30}

every_loss = draws.every_loss


def test_every_registered_loss_has_a_row():
    assert {draws.registered_name(name) for name in LOSSES} == set(REGISTERED)
    for name, row in LOSSES.items():
        fields = {field.name for field in dataclasses.fields(draws.usual(name))}
        assert fields == set(row.arguments), name


# Derivatives ------------------------------------------------------------------------------------


def of_log_probs(function, pairs):
    """A function of a batch as one of its log pi(y+) and log pi(y-), and these, [2, pair]."""
    both = jnp.stack([pairs.chosen, pairs.rejected])
    return lambda both: function(dataclasses.replace(pairs, chosen=both[0], rejected=both[1])), both


@draws.compiled
def derivatives(loss, pairs):
    """Slopes, their rounding and logarithms; and by the value: reverse mode, forward mode."""
    values, both = of_log_probs(loss.value, pairs)
    modes = [mode(lambda both: jnp.sum(values(both)))(both) for mode in (jax.grad, jax.jacfwd)]
    return jnp.stack(loss.slopes(pairs)), rounding(loss, pairs), loss.log_slopes(pairs), modes


def rounding(loss, pairs):
    """What the rounding of log-probabilities, numbers and their sums does to slopes, [2, pair]."""
    names = ("chosen", "rejected", "reference_chosen", "reference_rejected")
    columns = jnp.stack([getattr(pairs, name) for name in names])
    numbers, rebuild = ravel_pytree(loss)

    def slopes(columns, numbers):
        columns = dict(zip(names, columns, strict=True))
        return jnp.stack(rebuild(numbers).slopes(dataclasses.replace(pairs, **columns)))

    by_columns, by_numbers = jax.jacfwd(slopes, (0, 1))(columns, numbers)
    of_columns = jnp.abs(by_columns).sum(axis=(-2, -1)) * jnp.max(jnp.abs(columns))
    of_numbers = jnp.abs(by_numbers) @ jnp.abs(numbers)
    of_terms = jnp.max(jnp.abs(slopes(columns, numbers)), axis=0, keepdims=True)
    return 8 * jnp.finfo(columns.dtype).eps * (of_columns + of_numbers + of_terms)


@pytest.mark.parametrize("bits", [64, 32])
@every_loss
@given(data=st.data())
def test_slopes_are_the_derivatives_and_log_slopes_their_logarithms(name, bits, data):
    loss, pairs = data.draw(draws.losses(name)), data.draw(draws.pair_batches())
    if "aot" not in name:  # its ties are broken by order, in AD as well
        assume(draws.apart_from_ties(name, loss, pairs, {64: 1e-9, 32: 1e-2}[bits]))
    with draws.precision(bits) as tolerance:
        results = jax.tree.map(np.asarray, derivatives(loss, draws.here(pairs)))
    slopes, rounded, logs, by_modes = results
    allowed = tolerance * np.abs(slopes) + rounded + UNDERFLOW[bits]
    for automatic in by_modes:
        assert np.all(np.abs(slopes - automatic) <= allowed)
    for slope, error_of, (sign, log_abs) in zip(slopes, allowed, logs, strict=True):
        is_normal = np.abs(slope) > 2 * error_of
        error = log_abs - np.log(np.abs(slope), where=is_normal, out=np.zeros_like(slope))
        within = np.abs(error) <= 2 * error_of / np.where(is_normal, np.abs(slope), 1)
        assert np.all((sign == np.sign(slope)) & within | ~is_normal)
        if LOSSES[name].outlives_underflow:
            assert np.all(np.isfinite(log_abs) & (sign != 0))


@draws.compiled
def differences(loss, pairs):
    """Slopes, central differences of the value, and what these may miss, [2, pair].

    What a loss detaches is held. A central difference lies between the derivatives a step away; it
    errs by less than the second difference of the slopes, at kinks and steps as well.
    """
    held = loss.held(pairs)
    values, both = of_log_probs(lambda pairs: loss.value_holding(pairs, held), pairs)
    slopes, _ = of_log_probs(lambda pairs: jnp.stack(loss.slopes(pairs)), pairs)

    def along(step):
        ahead, behind = values(both + step), values(both - step)
        bend = jnp.abs(slopes(both + step) - 2 * slopes(both) + slopes(both - step))
        rounded = 1e-15 * (jnp.max(jnp.abs(ahead)) + of_scores * jnp.sum(step > 0, axis=0)) / STEP
        return jnp.sum(ahead - behind) / (2 * STEP), jnp.sum(bend * (step > 0)) + jnp.max(rounded)

    of_scores = jnp.max(jnp.abs(slopes(both)), axis=0) * jnp.max(jnp.abs(both))
    steps = STEP * jnp.eye(both.size).reshape(-1, *both.shape)
    return slopes(both), *(result.reshape(both.shape) for result in jax.vmap(along)(steps))


@every_loss
@given(data=st.data())
def test_slopes_agree_with_central_differences(name, data):
    loss, pairs = data.draw(draws.losses(name, 1e-3, 2.0)), data.draw(draws.pair_batches())
    slopes, by_differences, missed = map(np.asarray, differences(loss, draws.here(pairs)))
    allowed = 1e-6 * np.abs(slopes) + missed + UNDERFLOW[64]
    is_inside = np.stack([pairs.chosen, pairs.rejected]) < -2 * STEP  # log-probabilities end at 0
    for exponent in LOSSES[name].exponents(loss, pairs):  # e^25 swallows what is added to it
        is_inside &= exponent < 25
    assert np.all((np.abs(slopes - by_differences) <= allowed) | ~is_inside)


def test_log_slopes_reach_where_slopes_cannot():
    pairs = PairBatch(*(jnp.asarray([p]) for p in (-1.0, -1e4, -1.0, -1.0)))
    assert DPO(1.0).slopes(pairs)[1] == 0
    assert DPO(1.0).log_slopes(pairs)[1].log_abs == pytest.approx(-9999.0, rel=1e-12)


@pytest.mark.parametrize("eta", [0.0, 0.1])
def test_slic_rests_at_its_kink(eta):
    """Chosen exactly delta above rejected: the hinge's derivative counts as zero; AD agrees."""
    pairs = PairBatch(*(jnp.asarray([p]) for p in (-1.0, -6.0, -1.0, -6.0)))
    slopes, _, _, by_modes = derivatives(SLiC(delta=5.0, eta=eta), pairs)
    for result in (slopes, *by_modes):
        np.testing.assert_array_equal(result, [[-eta], [0.0]])


# Values -----------------------------------------------------------------------------------------

#: Every entry of the file, as one of our losses.
GOLDEN = {
    "trl_sigmoid": DPO(beta=0.1),
    "cdpo_eps0.1(em/openrlhf;HALOs eps default .2)": losses.CDPO(0.1, 0.1),
    "trl_hinge": losses.Hinge(0.1),
    "trl_ipo(len-norm)": IPO(0.1, per_token=True),
    "em/openrlhf/paper_ipo(sum)": IPO(eta=0.1),  # the fixture's beta: the target is 1/(2 * 0.1)
    "trl_exo_pair_eps1e-3": losses.EXO(0.1, 1e-3),
    "trl_nca_pair": losses.NCA(0.1),
    "trl_robust_eps0.1": losses.Robust(0.1, 0.1),
    "trl_bco_pair(no delta)": losses.BCO(0.1),
    "trl_sppo_hard": losses.SPPO(0.1),
    "trl_aot": losses.AOT(0.1),
    "trl_aot_unpaired": losses.AOTUnpaired(0.1),
    "trl_apo_zero": losses.APOZero(0.1),
    "trl_apo_down": losses.APODown(0.1),
    "trl_discopop_tau.05": losses.DiscoPOP(0.1, 0.05),
    "trl_sft(token mean)": losses.SFT(),
    "trl_sigmoid_norm": losses.SigmoidNorm(0.1),
    "trl_sigmoid_forward_kl": losses.FDivergence(DPO(0.1), "forward_kl"),
    "trl_sigmoid_js": losses.FDivergence(DPO(0.1), "js"),
    "trl_sigmoid_alpha0.5": losses.FDivergence(DPO(0.1), "alpha", 0.5),
    "trl_cpo_sigmoid(no NLL)": losses.CPO(0.1, alpha=0.0),
    "trl_cpo_simpo_b2_gamma.5": losses.SimPO(2.0, 0.5),
    "simpo_official_b2_gbr.25": losses.SimPO.ratio(2.0, 0.25),
    "trl_alphapo_a.25_b2_g.5": losses.AlphaPO(2.0, 0.5, 0.25),
    "trl_orpo_ORterm_b.1(no NLL)": losses.ORPO(0.1, alpha=0.0),
    "paper_slic_delta5_eta.1": SLiC(delta=5.0, eta=0.1),
    "paper_flexdpo_b+.1_b-.08": FlexDPO(beta_chosen=0.1, beta_rejected=0.08),
    "paper_sftdpo_gamma.1": SFTDPO(beta=0.1, gamma=0.1),
    "rainbow_mix_a.5_g.1_b10(LN)": losses.RainbowPO(10.0, 0.5, 0.1),
    "kto_kl0.3": losses.KTO(0.1),
}


@functools.cache
def golden():
    return json.loads((Path(__file__).parent / "golden" / "losses.json").read_text())


def test_every_golden_entry_is_one_of_ours():
    assert set(GOLDEN) == set(golden()["losses"])


@pytest.mark.parametrize("entry", GOLDEN)
def test_golden_values(entry):
    """An independent transcription of the formulas, as means over three pairs."""
    fixture, expected = golden()["fixture"], golden()["losses"][entry]
    columns = (fixture[key] for key in ("lc", "lr", "rc", "rr", "len_c", "len_r"))
    pairs = PairBatch(
        *(jnp.asarray(column, float) for column in columns),
        mismatched_log_ratio=0.3,  # for KTO alone: its entry's KL
    )
    chosen, rejected = GOLDEN[entry].slopes(pairs)
    value = jnp.mean(GOLDEN[entry].value(pairs))
    ours = {"value": value, "dlogp_c": chosen / 3, "dlogp_r": rejected / 3}
    assert ours.keys() == expected.keys()
    for key, number in expected.items():
        np.testing.assert_allclose(ours[key], number, rtol=0, atol=1e-9, err_msg=key)


@given(pairs=draws.pair_batches(-30.0), numbers=st.tuples(*[draws.positive(1e-3, 10.0)] * 3))
def test_general_losses_contain_special_ones(pairs, numbers):
    beta, other, gamma = numbers
    for general, special in {
        FlexDPO(beta, beta): DPO(beta),
        FlexSFTDPO(beta, other, 0.0): FlexDPO(beta, other),
        FlexSFTDPO(beta, beta, gamma): SFTDPO(beta, gamma),
        SFTDPO(beta, 0.0): DPO(beta),
    }.items():
        for quantity in ("value", "slopes", "log_slopes"):
            results = (np.stack(getattr(loss, quantity)(pairs)) for loss in (general, special))
            np.testing.assert_allclose(*results, rtol=1e-10, err_msg=f"{general} {quantity}")
