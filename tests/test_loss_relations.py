"""How the losses relate: symmetries, special cases, limits, and what they refuse."""

import dataclasses

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given

import toymodel as tm
from tests import strategies as draws
from tests.strategies import PAIRS
from toymodel import losses
from toymodel.losses import (
    AOT,
    BDPO,
    CDPO,
    CPO,
    DPO,
    IPO,
    SFT,
    SPPO,
    WPO,
    AlphaPO,
    AOTUnpaired,
    BetaDPO,
    FDivergence,
    FlexDPO,
    FlexSFTDPO,
    LengthDesensitised,
    PairBatch,
    WeightedSum,
)

between = draws.positive(1e-2, 3.0)
batches = draws.pair_batches(-30.0)


def results(loss, pairs):
    """Value and slopes, [3, pair]."""
    return np.stack([loss.value(pairs), *loss.slopes(pairs)])


def assert_same(one, other, pairs, rtol=1e-9, atol=1e-12):
    np.testing.assert_allclose(
        results(one, pairs), results(other, pairs), rtol=rtol, atol=atol, err_msg=f"{one}, {other}"
    )


# Special cases ----------------------------------------------------------------------------------


@given(pairs=batches, beta=between, other=between, share=st.floats(0.0, 1.0))
def test_general_losses_contain_special_ones(pairs, beta, other, share):
    dpo = DPO(beta)
    no_reference = dataclasses.replace(
        pairs, reference_chosen=0 * pairs.chosen, reference_rejected=0 * pairs.chosen
    )
    one_pair = jax.tree.map(lambda leaf: leaf[:1], pairs)
    certain = dataclasses.replace(pairs, chosen=0 * pairs.chosen, rejected=0 * pairs.chosen)
    cases = [
        (CDPO(beta, 0.0), dpo, pairs),
        (losses.Robust(beta, 0.0), dpo, pairs),
        (losses.ODPO(beta, 0.0), dpo, pairs),
        (losses.ODPO(beta, np.zeros(PAIRS)), dpo, pairs),
        (losses.RDPO(beta, 0.0), dpo, pairs),
        (losses.DPOP(beta, 0.0), dpo, pairs),
        (BetaDPO(beta, alpha=0.0), dpo, pairs),
        (FlexDPO(beta, beta), dpo, pairs),
        (FlexSFTDPO(beta, other, 0.0), FlexDPO(beta, other), pairs),
        (FDivergence(dpo, "reverse_kl"), dpo, pairs),
        (FDivergence(dpo, "alpha", 1.0), dpo, pairs),
        (FDivergence(dpo, "alpha", 0.0), FDivergence(dpo, "forward_kl"), pairs),
        (AOT(beta, share), CDPO(beta, share), one_pair),
        (AOTUnpaired(beta, share), CDPO(beta, share), one_pair),
        (CPO(beta, 0.0), dpo, no_reference),
        (CPO(beta, 0.0, share), CDPO(beta, share), no_reference),
        (losses.RainbowPO(beta, 1.0, other), losses.SigmoidNorm(beta), pairs),
        (losses.RainbowPO(beta, 0.0, other), losses.SimPO(beta, beta * other), pairs),
        (losses.RainbowPO(beta, share, other, np.ones(PAIRS)),
         losses.RainbowPO(beta, share, other), pairs),
        (losses.SimPO.ratio(beta, other), losses.SimPO(beta, beta * other), pairs),
        (AlphaPO(beta, other, 0.0), losses.SimPO(beta, other), pairs),
        (losses.CalDPO(beta, other), WeightedSum((DPO(1.0), SPPO(beta)), (1.0, other)), pairs),
        (losses.CalDPO(beta, 0.0), DPO(1.0), pairs),
        (LengthDesensitised(dpo, 1.0), dpo, pairs),
        (LengthDesensitised(dpo, share), dpo, PairBatch(*draws.here([pairs.chosen] * 4))),
        (WPO(dpo, aligned=False), dpo, certain),
        (WeightedSum((dpo,), (1.0,)), dpo, pairs),
        (losses.SFTDPO(beta, other), WeightedSum((dpo, SFT(False)), (1.0, other)), pairs),
        (IPO(beta, per_token=True), IPO(beta),
         dataclasses.replace(pairs, chosen_length=1.0, rejected_length=1.0)),
    ]  # fmt: skip
    for general, special, batch in cases:
        assert_same(general, special, batch)


@given(pairs=batches, beta=between, other=between)
def test_limits(pairs, beta, other):
    dpo = DPO(beta)
    for near, limit in [
        (BDPO(beta, 1 - 1e-15), dpo),
        (AlphaPO(beta, other, 1e-9), losses.SimPO(beta, other)),
        (AlphaPO(beta, other, -1e-9), losses.SimPO(beta, other)),
        (FDivergence(dpo, "alpha", 1 + 1e-9), dpo),
        (WPO(dpo, largest=1e-300), WeightedSum((dpo,), (0.0,))),
    ]:
        # below log 1e-15 the mixture of BDPO is the reference's, however small its share
        if not isinstance(near, BDPO) or np.all(pairs.rejected_log_ratio > -5):
            assert_same(near, limit, pairs, 1e-6, 1e-6)


@given(
    data=st.data(),
    pairs=batches,
    weights=st.tuples(*[st.floats(-3.0, 3.0).map(lambda w: round(w, 6))] * 3),
)
def test_weighted_sums_are_linear(data, pairs, weights):
    names = ("ipo-per_token", "bco_pair-batch_delta", "cpo")
    parts = tuple(data.draw(draws.losses(name, 1e-2, 3.0)) for name in names)
    expected = [w * results(part, pairs) for w, part in zip(weights, parts, strict=True)]
    scale = np.abs(expected).max()
    total = results(WeightedSum(parts, weights), pairs)
    np.testing.assert_allclose(total, sum(expected), rtol=1e-10, atol=1e-12 * scale)


# Symmetries -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["dpo", "ipo", "cdpo", "robust", "exo_pair", "odpo", "rdpo", "aot"]
)
@given(data=st.data(), pairs=batches, shift=st.floats(-5.0, 5.0))
def test_losses_of_the_margin_ignore_what_both_log_probabilities_share(name, data, pairs, shift):
    loss = data.draw(draws.losses(name, 1e-2, 2.0))
    moved = dataclasses.replace(pairs, chosen=pairs.chosen + shift, rejected=pairs.rejected + shift)
    if name == "aot":  # a shift may round ties of margins to another order
        one, other = (np.sort(loss.value(batch)) for batch in (pairs, moved))
    else:
        one, other = results(loss, pairs), results(loss, moved)
    np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-10)


@given(pairs=batches, beta=between)
def test_with_labels_of_no_information_the_roles_may_be_swapped(pairs, beta):
    value, chosen, rejected = results(CDPO(beta, 0.5), pairs)
    swapped = PairBatch(
        pairs.rejected, pairs.chosen, pairs.reference_rejected, pairs.reference_chosen
    )
    swapped_value, one, other = results(CDPO(beta, 0.5), swapped)
    np.testing.assert_allclose(value, swapped_value, rtol=1e-10)
    np.testing.assert_allclose([chosen, rejected], [other, one], rtol=1e-9, atol=1e-15)


@draws.every_loss
@given(data=st.data(), order=st.permutations(range(PAIRS)))
def test_the_order_of_pairs_does_not_matter(name, data, order):
    """Where no two pairs tie: then AOT breaks the tie by their order."""
    loss, seed = data.draw(draws.losses(name, 1e-2, 2.0)), data.draw(st.integers(0, 2**31))
    generator = np.random.default_rng(seed)
    columns = -generator.exponential(3.0, (4, PAIRS))
    lengths, rest = generator.integers(1, 9, (2, PAIRS)), generator.normal(size=(7, PAIRS))
    pairs = PairBatch(*columns, *lengths.astype(float), *rest)
    permuted = jax.tree.map(lambda leaf: leaf[np.asarray(order)], pairs)
    expected, actual = results(loss, pairs)[:, order], results(loss, permuted)
    np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


# Numbers taken from batches ---------------------------------------------------------------------


def test_running_delta_is_the_mean_of_all_rewards():
    generator = np.random.default_rng(0)
    loss, delta, count, seen = losses.BCO(0.3), 0.0, 0, []
    for size in (1, 4, 2):
        pairs = PairBatch(*-generator.exponential(size=(4, size)))
        delta, count = loss.running_delta(delta, count, pairs)
        seen.append(np.ravel(loss.rewards(pairs)))
        assert delta == pytest.approx(np.concatenate(seen).mean(), rel=1e-12)
    assert count == 14


@given(pairs=batches, beta=between)
def test_detached_numbers(pairs, beta):
    """BCO's mean reward, KTO's KL held at zero, and the least beta of beta-DPO."""
    mean = np.mean(beta * np.stack([pairs.chosen_log_ratio, pairs.rejected_log_ratio]))
    assert_same(losses.BCO(beta, batch_delta=True), losses.BCO(beta, mean), pairs)
    below, at = (
        dataclasses.replace(pairs, mismatched_log_ratio=kl) for kl in (-np.ones(PAIRS), 0.0)
    )
    np.testing.assert_array_equal(results(losses.KTO(beta), below), results(losses.KTO(beta), at))
    assert_same(BetaDPO(beta, alpha=1.0, center=1e6), DPO(1e-3), pairs)


# Kinks and ties ---------------------------------------------------------------------------------


def by_reverse_mode(loss, pairs):
    def total(both):
        seen = dataclasses.replace(pairs, chosen=both[0], rejected=both[1])
        return jnp.sum(loss.value(seen))

    return jax.grad(total)(jnp.stack([pairs.chosen, pairs.rejected]))


@pytest.mark.parametrize(
    ("loss", "slope"),
    [(losses.Hinge(1.0), 0.0), (losses.DPOP(1.0, 5.0), -1 / (1 + np.e))],
    ids=["hinge", "dpop"],
)
def test_at_a_kink_the_slope_is_the_lesser_and_ad_agrees(loss, slope):
    """Hinge at beta m = 1, DPOP at c = 0: where the hinge rests, and where there is no penalty."""
    pairs = PairBatch(*(jnp.asarray([p]) for p in (-1.0, -3.0, -1.0, -2.0)))
    for chosen, rejected in (loss.slopes(pairs), by_reverse_mode(loss, pairs)):
        np.testing.assert_allclose([*chosen, *rejected], [slope, -slope], rtol=1e-12)


@pytest.mark.parametrize("loss", [AOT(1.0), AOTUnpaired(1.0)], ids=["paired", "unpaired"])
def test_ties_keep_the_order_of_pairs_and_ad_agrees(loss):
    """All policy margins tie: the first pair meets the smallest reference margin."""
    same = np.full(3, -2.0)
    pairs = PairBatch(*draws.here([same, same - 1, np.array([-1.0, -3.0, -2.0]), same]))
    chosen, rejected = loss.slopes(pairs)
    np.testing.assert_allclose(by_reverse_mode(loss, pairs), [chosen, rejected], rtol=1e-12)
    if isinstance(loss, AOT):
        reference = np.array([-1.0, 0.0, 1.0])  # margins, sorted
        np.testing.assert_allclose(loss.value(pairs), np.logaddexp(0.0, reference - 1), rtol=1e-12)


# Refusals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "loss",
    [AOTUnpaired(), WeightedSum((DPO(), AOTUnpaired()), (1.0, 1.0))],
    ids=["alone", "summed"],
)
def test_a_loss_that_joins_pairs_refuses_unequal_weights(loss):
    table = [[0.1, 0.6, 0.3], [0.6, 0.1, 0.3]]
    assert not loss.takes_weights
    equal, unequal = (
        tm.scenarios.build(table, [(0, 0, 1, 1.0), (1, 0, 1, weight)]) for weight in (1.0, 2.0)
    )
    tm.simulate(equal, "tabular", loss, "sgd", learning_rate=0.1, steps=1)
    with pytest.raises(tm.InputError, match="equal weights"):
        tm.simulate(unequal, "tabular", loss, "sgd", learning_rate=0.1, steps=1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: WeightedSum((DPO(), SFT()), (1.0,)), "2 losses and 1 weights"),
        (lambda: WeightedSum((), ()), "at least one"),
        (lambda: FDivergence(divergence="forward"), "forward_kl"),
        (lambda: losses.Robust(0.1, 0.5), "label_smoothing"),
        (lambda: losses.EXO(0.1, 0.0), "label_smoothing"),
        (lambda: losses.DiscoPOP(0.1, 1.5), "tau"),
        (lambda: BDPO(0.1, 1.0), "mixture"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(tm.InputError, match=message):
        make()
