"""Every loss against its own derivatives, the golden values, and the losses that it contains."""

import dataclasses
import json
from pathlib import Path

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given

from tests import strategies as draws
from tests.strategies import LOSSES
from toymodel import losses
from toymodel.losses import DPO, IPO, SFTDPO, FlexDPO, FlexSFTDPO, PairBatch, SLiC

REGISTERED = losses.names()  # at collection: doctests may register losses of their own later
STEP = 1e-4  # of central differences
UNDERFLOW = {64: 1e-280, 32: 1e-30}

every_loss = pytest.mark.parametrize("name", LOSSES)


def test_every_registered_loss_has_a_row():
    assert set(REGISTERED) == set(LOSSES)
    for name, row in LOSSES.items():
        fields = {field.name for field in dataclasses.fields(losses.REGISTRY[name])}
        assert fields == set(row.numbers), name


# Derivatives ------------------------------------------------------------------------------------


@draws.compiled
def derivatives(loss, pairs):
    """The slopes, then the same from the value: reverse mode, forward mode, central differences."""

    def values(both):
        return loss.value(dataclasses.replace(pairs, chosen=both[0], rejected=both[1]))

    def difference(step):
        return jnp.sum(values(both + step) - values(both - step)) / (2 * STEP)

    both = jnp.stack([pairs.chosen, pairs.rejected])
    steps = STEP * jnp.eye(both.size).reshape(-1, *both.shape)
    modes = [mode(lambda both: jnp.sum(values(both)))(both) for mode in (jax.grad, jax.jacfwd)]
    return jnp.stack(loss.slopes(pairs)), *modes, jax.vmap(difference)(steps).reshape(both.shape)


@draws.compiled
def rounding(loss, pairs):
    """What the rounding of log-probabilities and their sums does to the slopes, [2, pair]."""
    names = ("chosen", "rejected", "reference_chosen", "reference_rejected")
    columns = jnp.stack([getattr(pairs, name) for name in names])

    def slopes(columns):
        columns = dict(zip(names, columns, strict=True))
        return jnp.stack(loss.slopes(dataclasses.replace(pairs, **columns)))

    sensitivity = jnp.abs(jax.jacfwd(slopes)(columns)).sum(axis=(-2, -1))
    return 8 * jnp.finfo(columns.dtype).eps * sensitivity * jnp.max(jnp.abs(columns))


@pytest.mark.parametrize("bits", [64, 32])
@every_loss
@given(data=st.data())
def test_slopes_are_the_derivatives_and_log_slopes_their_logarithms(name, bits, data):
    loss, pairs = data.draw(draws.losses(name)), data.draw(draws.pair_batches())
    with draws.precision(bits) as tolerance:
        pairs = draws.here(pairs)
        slopes, *by_modes, _ = map(np.asarray, derivatives(loss, pairs))
        log_slopes = loss.log_slopes(pairs)
        allowed = tolerance * np.abs(slopes) + np.asarray(rounding(loss, pairs)) + UNDERFLOW[bits]
    for automatic in by_modes:
        assert np.all(np.abs(slopes - automatic) <= allowed)
    logs = jax.tree.map(np.asarray, log_slopes)
    for slope, error_of, (sign, log_abs) in zip(slopes, allowed, logs, strict=True):
        is_normal = np.abs(slope) > 2 * error_of
        error = log_abs - np.log(np.abs(slope), where=is_normal, out=np.zeros_like(slope))
        within = np.abs(error) <= 2 * error_of / np.where(is_normal, np.abs(slope), 1)
        assert np.all((sign == np.sign(slope)) & within | ~is_normal)
        if LOSSES[name].outlives_underflow:
            assert np.all(np.isfinite(log_abs) & (sign != 0))


@every_loss
@given(data=st.data())
def test_slopes_agree_with_central_differences(name, data):
    loss, pairs = data.draw(draws.losses(name, 1e-3, 2.0)), data.draw(draws.pair_batches())
    slopes, _, _, differences = map(np.asarray, derivatives(loss, draws.here(pairs)))
    allowed = 1e-6 * np.abs(slopes) + 1e-15 * np.abs(loss.value(pairs)) / STEP + UNDERFLOW[64]
    smooth = LOSSES[name].kink(loss, pairs) > 2 * STEP
    assert np.all((np.abs(slopes - differences) <= allowed) | ~smooth)


def test_log_slopes_reach_where_slopes_cannot():
    pairs = PairBatch(*(jnp.asarray([p]) for p in (-1.0, -1e4, -1.0, -1.0)))
    assert DPO(1.0).slopes(pairs)[1] == 0
    assert DPO(1.0).log_slopes(pairs)[1].log_abs == pytest.approx(-9999.0, rel=1e-12)


@pytest.mark.parametrize("eta", [0.0, 0.1])
def test_slic_rests_at_its_kink(eta):
    """Chosen exactly delta above rejected: the hinge's derivative counts as zero; AD agrees."""
    pairs = PairBatch(*(jnp.asarray([p]) for p in (-1.0, -6.0, -1.0, -6.0)))
    for result in derivatives(SLiC(delta=5.0, eta=eta), pairs)[:3]:
        np.testing.assert_array_equal(result, [[-eta], [0.0]])


# Values -----------------------------------------------------------------------------------------

GOLDEN = {
    "trl_sigmoid": DPO(beta=0.1),
    "em/openrlhf/paper_ipo(sum)": IPO(eta=0.1),  # the fixture's beta: the target is 1/(2 * 0.1)
    "paper_slic_delta5_eta.1": SLiC(delta=5.0, eta=0.1),
    "paper_flexdpo_b+.1_b-.08": FlexDPO(beta_chosen=0.1, beta_rejected=0.08),
    "paper_sftdpo_gamma.1": SFTDPO(beta=0.1, gamma=0.1),
}


@pytest.mark.parametrize("entry", GOLDEN)
def test_golden_values(entry):
    """An independent transcription of the formulas, as means over three pairs."""
    golden = json.loads((Path(__file__).parent / "golden" / "losses.json").read_text())
    expected = golden["losses"][entry]
    columns = (golden["fixture"][key] for key in ("lc", "lr", "rc", "rr", "len_c", "len_r"))
    pairs = PairBatch(*(jnp.asarray(column, float) for column in columns))
    ours = {
        "value": jnp.mean(GOLDEN[entry].value(pairs)),
        **dict(
            zip(("dlogp_c", "dlogp_r"), jnp.stack(GOLDEN[entry].slopes(pairs)) / 3, strict=True)
        ),
    }
    for key, value in expected.items():
        np.testing.assert_allclose(ours[key], value, rtol=0, atol=1e-9, err_msg=key)


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
