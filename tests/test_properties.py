"""Drop, degradation and dispersion: on trajectories with known answers, in general, and trained."""

import dataclasses

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import toymodel as tm
from toymodel import properties
from toymodel.properties import Thresholds, measure
from toymodel.scenarios import Role, build

OWN, OTHER = [Role.OWN_CHOSEN, Role.OWN_REJECTED], [Role.OTHER_CHOSEN, Role.OTHER_REJECTED]
STEPS = np.array([0, 10, 20, 30, 40])
NONE = -1  # never, or nowhere

# Known answers ----------------------------------------------------------------------------------

#: Probabilities of own chosen, own rejected, another's chosen, unseen at each of STEPS.
DISPERSES = [
    [0.30, 0.30, 0.20, 0.20],
    [0.50, 0.10, 0.20, 0.20],
    [0.60, 0.02, 0.19, 0.19],  # the chosen peaks, the mass outside is smallest: 0.38
    [0.58, 0.01, 0.20, 0.21],  # outside 0.41
    [0.25, 0.001, 0.20, 0.549],  # outside 0.749
]
TO_ANOTHER = [[0.2, 0.4, 0.1, 0.3], *[[0.2, 0.3, 0.2, 0.3]] * 3, [0.1, 0.01, 0.6, 0.29]]
STANDS = [[0.4, 0.3, 0.2, 0.1]] * 5
CHOSEN, REJECTED = 0.3 + 0.1 * np.arange(5), 0.3 * 0.01 ** np.arange(5)
IMPROVES = np.stack([CHOSEN, REJECTED, *[(1 - CHOSEN - REJECTED) / 2] * 2], axis=1)

# fmt: off
KNOWN = {  # what happens -> (probabilities, thresholds, answers)
    "rises, degrades, disperses": (DISPERSES, Thresholds(), {
        "drop": np.log(300), "rate_ratio": np.log(300) / np.log(0.30 / 0.25), "drop_onset": 20,
        "peak": np.log(0.6), "peak_step": 20, "drawdown": np.log(0.60 / 0.25),
        "below_start": True, "degradation_onset": 40,
        "outside_start": 0.4, "outside_minimum": 0.38, "outside_final": 0.749,
        "dispersion": 0.369, "dispersion_onset": 30,
        "gain_by_role": [-0.35, -0.019, 0.01, 0.0, 0.359],
        "receiving_role": Role.UNSEEN, "receiving_response": 3,
    }),
    "tighter and looser thresholds": (
        DISPERSES, Thresholds(drop=1.0, degradation=0.03, dispersion=0.1),
        {"drop_onset": 10, "degradation_onset": 30, "dispersion_onset": 40},
    ),
    "thresholds out of reach": (
        DISPERSES, Thresholds(drop=6.0, degradation=1.0, dispersion=0.4),
        {"drop_onset": NONE, "degradation_onset": NONE, "dispersion_onset": NONE},
    ),
    "mass goes to another's chosen": (TO_ANOTHER, Thresholds(), {
        "drop_onset": 40, "peak_step": 0, "drawdown": np.log(2), "degradation_onset": 40,
        "dispersion": 0.89 - 0.4, "gain_by_role": [-0.1, -0.39, 0.5, 0.0, -0.01],
        "receiving_role": Role.OTHER_CHOSEN, "receiving_response": 2,
    }),
    "nothing moves": (STANDS, Thresholds(), {
        "drop": 0.0, "rate_ratio": 0.0, "drop_onset": NONE, "peak_step": 0, "drawdown": 0.0,
        "below_start": False, "degradation_onset": NONE, "dispersion": 0.0,
        "dispersion_onset": NONE, "gain_by_role": [0.0] * 5,
        "receiving_role": NONE, "receiving_response": NONE,
    }),
    "only improves": (IMPROVES, Thresholds(), {
        "drop": 4 * np.log(100), "drop_onset": 10, "peak_step": 40, "drawdown": 0.0,
        "degradation_onset": NONE, "dispersion": 0.0, "dispersion_onset": NONE,
        "receiving_role": NONE,
    }),
}
# fmt: on


@pytest.mark.parametrize(("probabilities", "thresholds", "answers"), KNOWN.values(), ids=KNOWN)
def test_known_answers(probabilities, thresholds, answers):
    roles = np.array([[*OWN, Role.OTHER_CHOSEN, Role.UNSEEN]])
    measured = measure(STEPS, np.log(probabilities)[:, None], roles, thresholds)
    for name, answer in answers.items():
        actual = getattr(measured, name)[0]
        np.testing.assert_allclose(actual, answer, rtol=1e-12, atol=1e-12, err_msg=name)


def test_several_pairs_count_by_their_total_mass():
    roles = np.array([[Role.OWN_CHOSEN, Role.OWN_CHOSEN, Role.OWN_REJECTED, Role.UNSEEN]])
    peak = [0.7, 0.01, 0.09, 0.2]
    probabilities = [[0.2, 0.2, 0.4, 0.2], peak, peak, peak, [0.5, 0.05, 0.04, 0.41]]
    measured = measure(STEPS, np.log(probabilities)[:, None], roles, Thresholds())
    np.testing.assert_allclose(measured.drop, np.log(10))
    np.testing.assert_allclose(measured.peak, np.log(0.71))
    np.testing.assert_allclose(measured.drawdown, np.log(0.71 / 0.55))
    np.testing.assert_allclose(measured.dispersion, 0.21)


# In general -------------------------------------------------------------------------------------

#: A prompt with two pairs, one with one, one without; 6 records.
WORLD = build(np.full((3, 6), 1 / 6), [(0, 0, 1), (0, 2, 1), (1, 3, 4)])
ROLES = np.asarray(WORLD.roles)
WITH_PAIR, WITHOUT = slice(0, 2), 2
RECORDED = np.array([0, 1, 2, 5, 10, 20])
FIELDS = [field.name for field in dataclasses.fields(properties.Properties)]


def normalised(logits):
    return logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)


def assert_in_order(measured):
    """Finite sizes and recorded steps where there is a pair; NaN and NONE where there is none."""
    for name in FIELDS:
        values = np.asarray(getattr(measured, name))
        assert np.isfinite(values[WITH_PAIR]).all(), name
        if name.endswith(("_step", "_onset")):
            assert np.isin(values, [NONE, *RECORDED]).all(), name
        if name != "below_start":
            absent = np.nan if np.issubdtype(values.dtype, np.floating) else NONE
            np.testing.assert_array_equal(values[WITHOUT], absent, err_msg=name)
    assert np.all(measured.drawdown[WITH_PAIR] >= 0)
    assert np.all(measured.dispersion[WITH_PAIR] >= 0)
    assert not measured.below_start[WITHOUT]


logits = st.floats(-5.0, 5.0) | st.sampled_from([0.0, -200.0, -1e4])


@given(hnp.arrays(float, (6, *WORLD.shape), elements=logits).map(normalised))
def test_any_curve(log_probs):
    measured = measure(RECORDED, log_probs, ROLES, Thresholds())
    assert_in_order(measured)
    gains = measured.gain_by_role[WITH_PAIR]
    outside_gains = gains[:, Role.OTHER_CHOSEN :].sum(-1)
    np.testing.assert_allclose(outside_gains, measured.dispersion[WITH_PAIR], atol=1e-12)
    np.testing.assert_allclose(gains.sum(-1), 0.0, atol=1e-12)


def test_far_below_float32(float32):
    log_probs = np.full((6, *WORLD.shape), -1e4, np.float32)
    log_probs[..., 5] = 0.0
    assert_in_order(measure(RECORDED, log_probs, ROLES))
    falling = log_probs.copy()
    falling[0, :, :5] = -2e3
    np.testing.assert_allclose(measure(RECORDED, falling, ROLES).drop[WITH_PAIR], 8e3)


random_curves = pytest.mark.parametrize("seed", range(5))


def random_curve(seed):
    return normalised(np.cumsum(np.random.default_rng(seed).normal(size=(6, *WORLD.shape)), axis=0))


def own_masses(log_probs):
    """Total probability of the own chosen and own rejected responses, [record, prompt]."""
    probs = np.exp(log_probs)
    return [np.where(role == ROLES, probs, 0).sum(-1) for role in OWN]


def first_step(happens, after=-1):
    at = [step for index, step in enumerate(RECORDED) if happens[index] and index > after]
    return at[0] if at else NONE


@random_curves
def test_measure_by_brute_force(seed):
    log_probs, limits = random_curve(seed), Thresholds(drop=0.5, degradation=0.2, dispersion=0.05)
    measured = measure(RECORDED, log_probs, ROLES, limits)
    for prompt in range(3)[WITH_PAIR]:
        chosen, rejected = (mass[:, prompt] for mass in own_masses(log_probs))
        outside, peak = 1 - chosen - rejected, chosen.argmax()
        least = outside.argmin()
        expected = {
            "drop": np.log(rejected[0] / rejected[-1]),
            "drop_onset": first_step(rejected < rejected[0] * np.exp(-0.5)),
            "peak_step": RECORDED[peak],
            "drawdown": np.log(chosen.max() / chosen[-1]),
            "below_start": chosen[-1] < chosen[0],
            "degradation_onset": first_step(chosen < chosen.max() * np.exp(-0.2), peak),
            "dispersion": outside[-1] - outside.min(),
            "dispersion_onset": first_step(outside > outside.min() + 0.05, least),
        }
        for name, answer in expected.items():
            actual = getattr(measured, name)[prompt]
            np.testing.assert_allclose(actual, answer, rtol=1e-9, atol=1e-12, err_msg=name)


@random_curves
def test_likelihoods_by_brute_force(seed):
    log_probs = random_curve(seed)
    chosen, rejected = (mass[:, WITH_PAIR] for mass in own_masses(log_probs))
    outside = ROLES[WITH_PAIR] > Role.OWN_REJECTED
    unseen = [np.exp(record[WITH_PAIR])[outside].mean() for record in log_probs]
    expected = {
        "chosen_mean": chosen.mean(1),
        "chosen_min": chosen.min(1),
        "rejected_mean": rejected.mean(1),
        "rejected_max": rejected.max(1),
        "unseen_mean": unseen,
    }
    actual = properties.likelihoods(log_probs, ROLES)
    for name, curve in expected.items():
        np.testing.assert_allclose(getattr(actual, name), curve, rtol=1e-12, err_msg=name)


def test_the_printed_jump_where_entries_underflow():
    """(1 - pi+ - pi-)/8 becomes (1 - pi+ - pi-)/5 once 3 of the 8 are below 1.4e-45."""
    world = build([[0.1] * 10], [(0, 0, 4)])
    log_probs = np.tile(np.log([0.2, *[0.1] * 3, 0.3, *[0.04] * 5]), (3, 1, 1))
    log_probs[1, 0, 7:] = -103.0  # still there in float32
    log_probs[2, 0, 7:] = -105.0  # underflows
    total = 1 - 0.2 - 0.3 - np.array([0, 3 * 0.04, 3 * 0.04])
    for drop_underflow, counts in ((False, [8, 8, 8]), (True, [8, 8, 5])):
        curve = properties.likelihoods(log_probs, world.roles, drop_underflow=drop_underflow)
        np.testing.assert_allclose(curve.unseen_mean, total / counts, rtol=1e-12)


# Trained ----------------------------------------------------------------------------------------


def test_a_table_only_drops():
    run = tm.simulate("both_on_policy", "tabular", "dpo", "sgd", learning_rate=10.0, steps=1000)
    measured = run.properties()
    assert (measured["drop"] > 1).all()  # a Dataset has a method of that name
    assert (measured.peak_step == 1000).all()
    for size in ("drawdown", "dispersion"):
        np.testing.assert_allclose(measured[size], 0.0, atol=1e-14)
    for onset in ("degradation_onset", "dispersion_onset"):
        assert measured[onset].isnull().all()


def test_a_perceptron_drops_degrades_and_disperses():
    loss, policy = tm.losses.DPO(0.05), tm.MLP((100,))
    run = tm.simulate("both_on_policy", policy, loss, "adam", learning_rate=3e-4)
    measured = run.properties()
    assert (measured["drop"] > np.log(10)).all()
    assert (measured.rate_ratio > 10).all()
    assert (measured.drawdown > 0.5).all()
    assert (measured.dispersion > 0.2).all()
    onsets = [measured[f"{name}_onset"] for name in ("drop", "degradation", "dispersion")]
    assert all((onset > 0).all() for onset in onsets)
    assert set(measured.receiving_role.values) <= {role.title for role in OTHER}
