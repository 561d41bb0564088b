"""Larger worlds: seeded, held out where it is said, and representable by their policies."""

import dataclasses

import hypothesis.strategies as st
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from scipy.special import log_softmax

import toymodel as tm
from tests.strategies import compiled
from toymodel import InputError, worlds
from toymodel.worlds import Split

SIZES = {
    **{"prompts": 12, "responses": 9, "features": 3},
    **{"heldout_prompts": 5, "shifted_prompts": 4, "heldout_responses": 3},
}


@settings(max_examples=5)
@given(seed=st.integers(0, 2**31 - 1), pairs=st.just(2), on_policy=st.booleans())
def test_what_is_held_out_is_in_no_pair(seed, pairs, on_policy):
    world = worlds.generate(jax.random.key(seed), pairs=pairs, on_policy=on_policy, **SIZES)
    assert world.shape == (21, 9)
    assert int(world.is_heldout.sum()) == SIZES["heldout_responses"]
    for of, scenario in (("training", world.scenario), ("evaluation", world.evaluation)):
        in_training = np.asarray(world.split)[np.asarray(scenario.pairs.prompt)] == Split.TRAINING
        assert np.all(in_training == (of == "training"))
        for half in (scenario.pairs.chosen, scenario.pairs.rejected):
            assert not np.any(np.asarray(world.is_heldout)[np.asarray(half)])
    assert len(world.scenario.pairs) == 12 * pairs
    assert len(world.evaluation.pairs) == 9 * pairs
    assert world.scenario.pairs.prompt.max() < SIZES["prompts"]
    better, worse = world.scenario.pairs.read(world.score)
    assert np.all(better >= worse), "the better is preferred"


WORLD = worlds.generate(jax.random.key(5), pairs=2, **SIZES)


def test_one_key_makes_one_world():
    again = worlds.generate(jax.random.key(5), pairs=2, **SIZES)
    jax.tree.map(np.testing.assert_array_equal, WORLD, again)


def test_loglinear_represents_table_and_score():
    policy = worlds.loglinear(WORLD)
    assert policy.fit(WORLD.scenario.log_table)[1].error < 1e-8
    score = jax.nn.log_softmax(WORLD.score, axis=-1)
    assert policy.fit(score)[1].error < 1e-8


def test_measures_by_brute_force():
    generator = np.random.default_rng(0)
    reference = log_softmax(generator.normal(size=WORLD.shape), axis=-1)
    log_probs = log_softmax(generator.normal(size=(2, *WORLD.shape)), axis=-1)
    split = np.asarray(WORLD.split)

    @compiled
    def measured(log_probs):
        return {
            "accuracy": worlds.accuracy(WORLD, log_probs, reference),
            "drift": worlds.drift(WORLD, log_probs, reference),
            "mass": worlds.heldout_mass(WORLD, log_probs),
        }

    found = {name: np.asarray(curve) for name, curve in measured(log_probs).items()}
    is_heldout = np.asarray(WORLD.is_heldout)
    for record, now in enumerate(np.asarray(log_probs)):
        for s in Split:
            rows = np.flatnonzero(split == s)
            pairs = (WORLD.scenario if s == Split.TRAINING else WORLD.evaluation).pairs
            columns = pairs.prompt, pairs.chosen, pairs.rejected
            right = [
                now[x, c] - reference[x, c] > now[x, r] - reference[x, r]
                for x, c, r in zip(*map(np.asarray, columns), strict=True)
                if split[x] == s
            ]
            expected = {
                "accuracy": np.mean(right),
                "drift": np.mean([np.sum(np.exp(now[x]) * (now[x] - reference[x])) for x in rows]),
                "mass": np.mean([np.exp(now[x])[is_heldout].sum() for x in rows]),
            }
            for name, value in expected.items():
                np.testing.assert_allclose(found[name][record, s], value, rtol=1e-10, atol=1e-13)
    at_reference = measured(np.stack([reference] * 2))["accuracy"]
    np.testing.assert_array_equal(at_reference, 0.5)


def test_one_epoch_generalises_with_features_and_not_without():
    """What shares nothing cannot learn of prompts that it has not met."""
    accuracies = {}
    for name, policy in {"features": worlds.loglinear(WORLD), "none": tm.Tabular()}.items():
        run = tm.simulate(
            *(WORLD.scenario, policy, "dpo", "sgd"),
            learning_rate=30.0,
            batch_size=4,
            steps=6,
            record=6,
        )
        accuracies[name] = worlds.accuracy(WORLD, run.log_probs[-1:], run.reference)[0]
        unseen = dataclasses.replace(run, scenario=WORLD.evaluation).properties()
        is_evaluated = np.asarray(WORLD.split) != Split.TRAINING
        assert np.isfinite(unseen["drop"].values[is_evaluated]).all()
    assert np.all(accuracies["none"][1:] == 0.5)
    assert accuracies["features"][Split.HELD_OUT] > 0.6


def test_fewer_pairs():
    few = WORLD.with_pairs(3)
    np.testing.assert_array_equal(few.scenario.pairs.prompt, [0, 1, 2])
    for scenario in (few.scenario, WORLD.scenario, WORLD.evaluation):
        np.testing.assert_array_equal(scenario.rewards, WORLD.score)
    for count in (0, 25, 1.5, True):
        with pytest.raises(InputError, match=r"^count: got"):
            WORLD.with_pairs(count)


@pytest.mark.parametrize(
    ("name", "value"),
    [("prompts", 0), ("responses", 4), ("pairs", 1.5), ("shift", -1.0), ("temperature", np.nan)],
)
def test_bad_sizes_are_refused(name, value):
    with pytest.raises(InputError, match=rf"^{name}: got"):
        worlds.generate(jax.random.key(0), **{**SIZES, name: value})
