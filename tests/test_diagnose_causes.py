"""From a log to where the mass went, what usually causes it, and what to change first."""

import numpy as np
import pytest

from tests.training_logs import cause, finding, of, verdicts
from toymodel.diagnose.causes import AGAINST, FITS, POSSIBLE, own_push
from toymodel.diagnose.log import Track

# Dispersion and causes.

LINE = np.linspace(0, 1, 40)
NOISE = np.random.default_rng(3).normal(size=(4, 40)) / 20


def pair(chosen):
    return {"logps__chosen": -9 + chosen + NOISE[0], "logps__rejected": -9 - 9 * LINE + NOISE[1]}


def test_own_answers_that_fall_while_the_chosen_rises_are_undecided(tmp_path):
    own = {"probes__sampled": -5 - 4 * LINE + NOISE[2]}
    assert verdicts(of(tmp_path, **pair(3 * LINE), **own))["dispersion"] == "undecided"
    assert verdicts(of(tmp_path, **pair(-3 * LINE), **own))["dispersion"] == "yes"


def test_own_answers_that_stay_are_no_dispersion(tmp_path):
    own = {"probes__greedy": -5 + 4 * LINE + NOISE[2]}
    assert verdicts(of(tmp_path, **pair(-3 * LINE), **own))["dispersion"] == "no"


def test_mass_outside_that_was_all_from_the_start_says_nothing(tmp_path):
    found = of(tmp_path, **pair(-3 * LINE), outside=np.full(40, 0.9999))
    assert verdicts(found)["dispersion"] == "not in the log"


def test_where_the_mass_went(tmp_path):
    more = {
        "outside": 0.1 + 0.6 * LINE + NOISE[2] / 20,
        "probes__other_chosen": -9 + 5 * LINE + NOISE[3],
        "mass__other_chosen": 0.01 + 0.5 * LINE + NOISE[3] / 20,
    }
    text = finding(of(tmp_path, **pair(-3 * LINE), **more), "dispersion").text
    assert "Gained, nats a sequence: other_chosen" in text
    assert "Gained in probability: other_chosen" in text


def test_own_push_is_the_first_order_change_of_the_chosen():
    random = np.random.default_rng(0)
    plus, minus = random.normal(size=(2, 9, 5))
    sizes = [np.linalg.norm(g, axis=1) for g in (plus, minus)]
    metrics = {
        "gradients/chosen": sizes[0],
        "gradients/rejected": sizes[1],
        "gradients/cosine": (plus * minus).sum(1) / sizes[0] / sizes[1],
    }
    _, push = own_push(Track(np.arange(9.0), metrics))
    np.testing.assert_allclose(push, (plus * (plus + minus)).sum(1) / (plus**2).sum(1))


@pytest.mark.parametrize(
    ("columns", "word", "agrees"),
    [
        ({}, "each pair seen once", POSSIBLE),
        ({"epoch": LINE}, "each pair seen once", FITS),
        ({"epoch": LINE}, "other prompts' pairs", AGAINST),
        ({"epoch": 5 * LINE}, "each pair seen once", AGAINST),
        ({"nll_loss": LINE}, "nothing holds", AGAINST),
        ({}, "nothing holds", POSSIBLE),
        ({}, "its own rejected", POSSIBLE),
        (
            {
                "gradients__chosen": 1 + LINE,
                "gradients__rejected": 2 + 2 * LINE,
                "gradients__cosine": np.full(40, -0.9),
            },
            "its own rejected",
            FITS,
        ),
        (
            {
                "gradients__chosen": 1 + LINE,
                "gradients__rejected": 1 + LINE,
                "gradients__cosine": np.full(40, -0.5),
            },
            "its own rejected",
            AGAINST,
        ),
    ],
)
def test_what_of_the_causes_the_log_tells(tmp_path, columns, word, agrees):
    found = of(tmp_path, **pair(-3 * LINE), **columns)
    assert cause(found, word).agrees == agrees
    kept = cause(found, word).change in found.first_changes
    assert kept == (agrees != AGAINST)


def test_a_rise_before_the_fall_names_where_to_stop(tmp_path):
    found = of(tmp_path, **pair(12 * LINE * (0.6 - LINE)), epoch=4 * LINE)
    assert cause(found, "other prompts' pairs").agrees == FITS
    assert 8 < finding(found, "degradation").peak < 18
    assert any("Stop near step" in text for text in found.first_changes)


def test_held_out_accuracy_says_whether_it_hurts(tmp_path):
    rises = {"eval_rewards__accuracies": 0.5 + 0.3 * LINE + NOISE[2] / 10}
    found = of(tmp_path, **pair(-3 * LINE), **rises, epoch=LINE)
    assert "Held-out accuracy rises" in found.harm[0]
    assert found.first_changes[0].startswith("Perhaps nothing")


def test_a_satisfied_margin_explains_little_movement(tmp_path):
    still = {"logps__chosen": -9 + NOISE[0] / 9, "logps__rejected": -9 + NOISE[1] / 9}
    found = of(tmp_path, **still, **{"rewards__margins": 5 * np.sqrt(LINE)})
    assert verdicts(found)["drop"] == "no"
    assert [x.agrees for x in found.causes] == [FITS]


def test_dispersion_alone_has_a_cause(tmp_path):
    outside = {"outside": 0.1 + 0.6 * LINE + NOISE[2] / 20}
    found = of(tmp_path, **pair(3 * LINE), **outside)
    assert verdicts(found)["degradation"] == "no"
    assert [x.name for x in found.causes] == ["nothing holds other responses down"]
    assert found.first_changes


def test_a_satisfied_loss_shows_in_its_slopes(tmp_path):
    still = {"logps__chosen": -9 + NOISE[0] / 9, "logps__rejected": -9 + NOISE[1] / 9}
    for left, expected in ((0.02, [FITS]), (0.9, [])):
        slopes = {"slopes__chosen": -0.1 * (1 + (left - 1) * np.sqrt(LINE))}
        assert [x.agrees for x in of(tmp_path, **still, **slopes).causes] == expected
