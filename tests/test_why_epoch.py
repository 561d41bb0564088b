"""The study of one epoch: its schedules, that its runs are those of `simulate`, its claims."""

import dataclasses

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from hypothesis import given

import toymodel as tm
from toymodel import worlds
from toymodel.policies import Tabular
from toymodel.why import epoch
from toymodel.why.epoch_runs import MEASURED, schedule, trace
from toymodel.worlds import Split

SMALL = {
    **{"prompts": 8, "responses": 5, "features": 2, "heldout_prompts": 3},
    **{"shifted_prompts": 2, "heldout_responses": 1},
}


@given(
    batch=st.integers(1, 4),
    batches=st.integers(1, 5),
    epochs=st.integers(1, 4),
    seed=st.integers(0, 2**31 - 1),
)
def test_every_epoch_sees_every_pair_once(batch, batches, epochs, seed):
    pairs, updates = batch * batches, batches * epochs
    seen = schedule(pairs, batch, updates, seed)
    assert seen.shape == (updates, batch)
    for one in seen.reshape(epochs, pairs):
        np.testing.assert_array_equal(np.sort(one), np.arange(pairs))
    np.testing.assert_array_equal(seen, schedule(pairs, batch, updates, seed))


def tabular(world):
    del world
    return Tabular()


@pytest.mark.parametrize("make", [tabular, worlds.loglinear])
def test_full_batches_are_what_simulate_does(make):
    """With all pairs in a batch, any order of them is the run of the one entry function."""
    world, loss, rate = worlds.generate(jax.random.key(3), **SMALL), tm.losses.DPO(beta=0.1), 2.0
    run = tm.simulate(
        world.scenario, make(world), loss, "sgd", learning_rate=rate, steps=6, record=2
    )
    found = trace(
        jax.tree.map(lambda leaf: leaf[None], world),
        world.scenario.roles[None, None],
        jnp.asarray(schedule(8, 8, 6, 0))[None, None],
        jnp.asarray([rate]),
        jax.random.key(0)[None],
        make=make,
        loss=loss,
        optimiser="sgd",
        every=2,
    )
    found = {name: np.asarray(value)[0, 0, 0] for name, value in found.items()}
    is_split = [np.asarray(world.split) == s for s in Split]
    unseen = dataclasses.replace(run, scenario=world.evaluation).properties()
    for name in ("drop", "drawdown", "dispersion"):
        by_hand = [
            (run.properties() if s == Split.TRAINING else unseen)[name].values[is_split[s]].mean()
            for s in Split
        ]
        np.testing.assert_allclose(found[name], by_hand, rtol=1e-8, atol=1e-12)
    pairs = run.pair_log_probs()
    np.testing.assert_allclose(
        found["chosen"][:, Split.TRAINING], pairs["chosen"].mean("pair"), rtol=1e-9
    )
    rise = (pairs["chosen"].isel(step=-1) - pairs["chosen"].isel(step=0)).mean()
    assert found["chosen_change"][Split.TRAINING] == pytest.approx(float(rise), rel=1e-8)
    gain = np.exp(run.log_probs[-1]) - np.exp(run.reference)
    score = np.asarray(gain * world.score).sum(axis=1)
    np.testing.assert_allclose(found["score_gain"], [score[s].mean() for s in is_split], rtol=1e-8)
    chosen = np.asarray(world.scenario.pairs.read(world.score)[0])
    is_better = np.asarray(world.score)[:8] > chosen[:, None]
    expected = (np.asarray(gain)[:8] * is_better).sum(axis=1).mean()
    assert found["better_gain"][Split.TRAINING] == pytest.approx(expected, rel=1e-8)


def test_numbers_at_an_equal_drop():
    drops = np.asarray([[1.0, 3.0, 9.0], [2.0, 1.0, 4.0]])  # not always in order
    split = {"split": ["training"]}
    found = xr.Dataset(
        {
            "drop": (("seed", "rate", "split"), drops[..., None]),
            "drift": (("seed", "rate", "split"), 10 * drops[..., None]),
        },
        split,
    )
    np.testing.assert_allclose(epoch.at_drop(found, "drift", "training", 3.5), [35.0, 35.0])
    beyond = epoch.at_drop(found, "drift", "training", 5.0)
    assert beyond[0] == pytest.approx(50.0)
    assert np.isnan(beyond[1])


def test_a_claim_holds_only_with_its_whole_interval():
    sure, unsure = np.asarray([1.0, 1.1, 0.9]), np.asarray([1.0, -1.0, 0.5])
    assert epoch._claim("", "", sure, above=0).reached
    assert not epoch._claim("", "", unsure, above=0).reached
    assert epoch._claim("", "", sure, below=2).reached
    assert not epoch._claim("", "", sure, below=1).reached
    assert epoch._claim("", "", sure).reached is None, "without a limit it is information"
    some = epoch._claim("", "", np.append(sure, np.nan), above=0)
    assert some.reached, "three worlds of four are enough"
    few = epoch._claim("", "", np.append(sure, [np.nan] * 4), above=0)
    assert not few.reached
    assert "3 of 7 seeds" in few.what


def made_up(by_rate):
    """Results of a study in which every number, [policy, rate], is given; seeds vary by 1 %."""
    dims = ("policy", "optimiser", "seed", "pairs", "rate", "split")
    places = {
        "policy": list(epoch.POLICIES),
        "optimiser": list(epoch.RATES),
        "seed": np.arange(3),
        "pairs": list(epoch.PAIRS),
        "rate": [1.0, 3.0, 10.0, 30.0, 100.0],
        "split": [split.title for split in Split],
    }
    shape = tuple(len(places[dim]) for dim in dims)
    wobble = np.asarray([0.99, 1.0, 1.01])[:, None, None, None]

    def full(values):
        return (
            np.asarray(values)[:, None, None, None, :, None] * wobble[None, None] * np.ones(shape)
        )

    columns = {name: (dims, full(by_rate[name])) for name in MEASURED}
    curve = full(by_rate["drop"])[..., None, :] * -np.linspace(0, 1, 4)[:, None]
    curves = dict.fromkeys(("chosen", "rejected"), ((*dims[:-1], "step", "split"), curve))
    return xr.Dataset({**columns, **curves}, {**places, "step": np.arange(4)})


def test_claims_follow_the_numbers_and_the_picture_shows_them():
    growing = np.asarray([[0.1, 0.5, 2.0, 8.0, 30.0]] * 3)
    numbers = dict.fromkeys(MEASURED, growing)
    numbers["drawdown"] = numbers["chosen_change"] = growing * [[1], [1], [0]]
    found = made_up(numbers)
    claims = {claim.what.split(" [")[0]: claim for claim in epoch.compare(found)}
    assert claims["1 epoch: degradation"].reached
    assert claims["1 epoch: degradation"].ours == pytest.approx(epoch.LATE, rel=0.02)
    assert claims["largest degradation"].reached
    assert not claims["1 epoch less 64: degradation"].reached, "all numbers of pairs are alike"
    numbers["drawdown"] = growing
    worse = [c for c in epoch.compare(made_up(numbers)) if c.what.startswith("largest")]
    assert [claim.reached for claim in worse] == [False, False]
    assert "5.00 [5.00, 5.00]" in epoch.table(found)
    figure = epoch.draw(found)
    assert len(figure.axes) == 6
    assert all(axes.get_xlabel() and axes.get_ylabel() for axes in figure.axes)


@pytest.mark.slow
def test_the_study_computes_compares_and_draws(monkeypatch):
    for name, value in {
        "SIZES": SMALL,
        "PAIRS": (2, 4, 8),
        "BATCH": 2,
        "UPDATES": 4,
        "EVERY": 2,
        "POLICIES": {
            "feature MLP": lambda w: worlds.mlp(w, tm.MLP(hidden=(3,), fit_steps=20)),
            "log-linear": worlds.loglinear,
            "tabular": tabular,
        },
    }.items():
        monkeypatch.setattr(epoch, name, value)
    found = epoch.compute(2)
    assert set(MEASURED) < set(found)
    assert found["drop"].dims == ("policy", "optimiser", "seed", "pairs", "rate", "split")
    assert np.isfinite(found.sel(pairs=8)["drop"].values).all()
    control = found.sel(policy="tabular")
    np.testing.assert_allclose(control["drawdown"], 0, atol=1e-9)
    np.testing.assert_allclose(control["drift"].sel(split="held-out"), 0, atol=1e-9)
    claims = epoch.compare(found)
    assert [c.reached for c in claims if c.what.startswith("largest")] == [True, True]
    assert len(epoch.table(found).splitlines()) > 20
    assert len(epoch.draw(found).axes) == 6
