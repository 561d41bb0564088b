"""The studies of reward models: their runs are those of the library, their claims can fail."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import toymodel as tm
from tests import strategies as draws
from toymodel import exact, rewards, worlds
from toymodel.optimisers import Optimiser
from toymodel.roads import accuracy, accuracy_runs, overoptimisation, overoptimisation_runs
from toymodel.worlds import Split

SMALL = {
    **{"prompts": 6, "responses": 5, "features": 2, "pairs": 4, "heldout_prompts": 3},
    **{"shifted_prompts": 0, "heldout_responses": 0},
}
WORLD = worlds.generate(jax.random.key(1), **SMALL)


def test_implicit_rewards_are_those_of_simulate():
    policy, rate = worlds.loglinear(WORLD), 0.1
    run = tm.simulate(
        *(WORLD.scenario, policy, tm.losses.DPO(beta=accuracy_runs.BETA), "adam"),
        **{"learning_rate": rate, "steps": 6, "record": 3, "batch_size": 4, "seed": 2},
    )
    params, _ = policy.fit(WORLD.scenario.log_table, jax.random.key(2))
    method, recorded = Optimiser("adam", rate, {}), jnp.asarray([0, 3, 6])
    found = accuracy_runs.implicit_rewards(
        *(policy, WORLD.scenario, jax.random.key(2), method, params, recorded), batch_size=4
    )
    expected = exact.implied_reward(run.log_probs, run.reference[None], accuracy_runs.BETA)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_labels_are_turned_as_often_as_bradley_and_terry_would():
    keys = jax.random.split(jax.random.key(0), 4000)
    turn = jax.jit(jax.vmap(accuracy_runs.relabel, in_axes=(0, None, None, None)))
    pairs = WORLD.scenario.pairs
    clean = turn(keys[:2], WORLD.scenario, WORLD.score, 0.0).pairs
    np.testing.assert_array_equal(clean.chosen[0], pairs.chosen)
    noisy = turn(keys, WORLD.scenario, WORLD.score, 0.7).pairs
    turned = np.asarray(noisy.chosen != pairs.chosen[None])
    np.testing.assert_array_equal(noisy.rejected[turned], np.tile(pairs.chosen, (4000, 1))[turned])
    better, worse = pairs.read(WORLD.score)
    expected = np.asarray(jax.nn.sigmoid(-(better - worse) / 0.7))
    error = np.sqrt(expected * (1 - expected) / 4000)
    assert np.all(np.abs(turned.mean(axis=0) - expected) < 4.5 * error)


def test_paths_are_measured_on_held_out_prompts_and_begin_at_the_start():
    learnt = rewards.centred(jnp.sin(7 * WORLD.score), WORLD.scenario.log_table)
    found = draws.compiled(overoptimisation_runs.measure)(WORLD, learnt)
    for values in found.values():
        np.testing.assert_allclose(np.asarray(values)[:, 0], 0, atol=1e-12)
    optimum = list(overoptimisation_runs.PATHS).index("optimum")
    beta = jnp.geomspace(*overoptimisation_runs.BETAS, 60)[40]
    policy = exact.rlhf_policy(learnt, WORLD.scenario.log_table, beta)
    by_prompt = (jnp.exp(policy) * learnt).sum(axis=1)
    expected = np.asarray(by_prompt)[np.asarray(WORLD.split) == Split.HELD_OUT].mean()
    assert found["proxy"][optimum, 41] == pytest.approx(expected, abs=1e-10)
    assert np.all(np.diff(found["kl"][optimum]) > -1e-12)
    assert np.all(np.diff(found["proxy"][optimum]) > -1e-12), "the optimum buys ever more"


def made_up(gold):
    """A result in which every path gains `gold` of KL, and a learnt reward sqrt(KL) more."""
    divergence = np.linspace(0, 4, 61)
    dims = ("leaning", "form", "pairs", "path", "seed", "strength")
    places = {
        "leaning": [overoptimisation.LEANING, overoptimisation.NOT_LEANING],
        "form": list(overoptimisation.FORMS),
        "pairs": list(overoptimisation.PAIRS),
        "path": list(overoptimisation.PATHS),
        "seed": np.arange(3),
    }
    shape = [len(places[dim]) for dim in dims[:-1]]
    wobble = np.asarray([0.99, 1.0, 1.01])[:, None]
    truth = np.broadcast_to(gold(divergence) * wobble, (*shape, 61))
    columns = {"kl": np.broadcast_to(divergence, truth.shape), "gold": truth}
    columns["proxy"] = truth + np.sqrt(divergence)
    return xr.Dataset({name: (dims, value) for name, value in columns.items()}, places)


def test_a_decline_and_the_law_of_the_gap_are_claimed_only_where_they_are():
    falling = overoptimisation.compare(made_up(lambda kl: np.sqrt(kl) - kl / 2))
    rising = overoptimisation.compare(made_up(np.sqrt))
    for claims, declines in ((falling, True), (rising, False)):
        found = [c for c in claims if c.what.startswith("decline of true reward")]
        assert len(found) == 12
        assert all(c.reached is declines for c in found)
        assert all(c.reached for c in claims if c.what.startswith("gap:"))
    assert not any(c.reached for c in falling if "leaning less" in c.what), "they are alike"
    (first, *_) = falling
    assert first.ours == pytest.approx(0.5, abs=0.02)  # the peak is at KL 1, the end at 4: 1/2 - 0
    assert "0.50 [" in overoptimisation.table(made_up(lambda kl: np.sqrt(kl) - kl / 2))


@pytest.mark.slow
def test_the_studies_compute_compare_and_draw(monkeypatch):
    network = tm.MLP(hidden=(3,), fit_steps=5)
    monkeypatch.setattr(accuracy, "SIZES", SMALL)
    monkeypatch.setattr(accuracy, "UPDATES", 16)
    forms = {"feature MLP": lambda w: worlds.mlp(w, network), "log-linear": worlds.loglinear}
    monkeypatch.setattr(accuracy, "FORMS", forms)
    found = accuracy.compute(4)
    assert found["heldout"].dims == ("form", "arm", "label", "seed", "step")
    claims = accuracy.compare(found)
    assert all(c.reached for c in claims if c.where == "log-linear")
    assert len(accuracy.table(found).splitlines()) > 12
    assert all(axes.get_xlabel() and axes.get_ylabel() for axes in accuracy.draw(found).axes)

    monkeypatch.setattr(overoptimisation, "SIZES", SMALL)
    monkeypatch.setattr(overoptimisation, "PAIRS", (4, 8, 24))
    made = {name: (forms[name], rate) for name, (_, rate) in overoptimisation.FORMS.items()}
    monkeypatch.setattr(overoptimisation, "FORMS", made)
    found = overoptimisation.compute(2)
    assert len(overoptimisation.compare(found)) == 44
    assert len(overoptimisation.draw(found).axes) == 6
