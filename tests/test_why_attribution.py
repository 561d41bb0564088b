"""The splits that the studies of the chosen and of beta rest on are exact; the studies draw."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import toymodel as tm
from tests.strategies import compiled
from toymodel import optimisers
from toymodel.attribution import Attribution
from toymodel.attribution.ingredients import design
from toymodel.attribution.run import labelled
from toymodel.cli import attribution as command
from toymodel.cli.options import as_json
from toymodel.plots import effects as picture
from toymodel.policies.layers import Layer
from toymodel.why import beta, chosen, chosen_steps

WORLD = tm.scenarios.both_on_policy()
SMALL = tm.MLP(hidden=(6,), fit_steps=50)


@compiled
def split_and_differentiated(before, change):
    after = jax.tree.map(jnp.add, before, change)
    found = chosen_steps._split(WORLD.pairs, SMALL, before, after)

    def mean_chosen(params):
        return jnp.mean(WORLD.pairs.read(SMALL.log_probs(params))[0])

    def along(part):
        return jax.jvp(mean_chosen, (before,), (part,))[1]

    first, second = change
    nothing = jax.tree.map(jnp.zeros_like, change)
    hidden = along((first, nothing[1]))
    own = jnp.zeros(())
    for x, c, r in ((0, 0, 4), (1, 1, 6), (2, 2, 7), (3, 3, 5)):
        mask = jnp.zeros(10).at[jnp.array([c, r])].set(1.0)
        part = (nothing[0], Layer(second.weight * mask[None], second.bias * mask))
        rise = jax.jvp(lambda p: SMALL.log_probs(p)[x, c], (before,), (part,))[1]  # noqa: B023
        own = own + rise / 4
    return found, along(change), hidden, own


@given(seed=st.integers(0, 2**31 - 1))
def test_a_step_splits_exactly(seed):
    """The parts are derivatives along parts of the step, and sum to the derivative along it."""
    shapes = jax.eval_shape(lambda: SMALL.init(jax.random.key(0), WORLD.shape))
    draw = np.random.default_rng(seed)
    before, change = (
        jax.tree.map(lambda leaf: jnp.asarray(draw.normal(size=leaf.shape)), shapes)
        for _ in range(2)
    )
    found, whole, hidden, own = split_and_differentiated(before, change)
    total = found["own"] + found["others"] + found["hidden"]
    np.testing.assert_allclose(total, whole, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(found["hidden"], hidden, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(found["own"], own, rtol=1e-9, atol=1e-11)


def traced(bias=1.0, **numbers):
    method = optimisers.get("adam_pooled", 0.01, **{**chosen._PLAIN, **numbers})
    return chosen_steps.trace(
        *(WORLD, SMALL, tm.losses.DPO(), method, jnp.arange(2), bias), records=5, every=4
    )


def test_traces_are_simulations():
    run = tm.simulate(
        WORLD, SMALL, "dpo", "adam", learning_rate=0.01, steps=16, seed=[0, 1], record=4
    )
    expected = run.likelihoods()["chosen_mean"]
    np.testing.assert_allclose(traced()["chosen"], expected, rtol=1e-9)


def test_a_held_bias_and_another_method_change_the_run():
    plain = traced()["chosen"]
    for other in (traced(bias=0.0), traced(layer=1.0), traced(b2=0.9)):
        assert np.abs(other["chosen"] - plain).max() > 1e-6
    np.testing.assert_allclose(traced(layer=0.0)["chosen"], plain)


def test_other_pairs_in_one_metric_raise_less_than_own():
    """With one second moment an array the ratio is that of a Gram matrix: below 1 at the start."""
    ratio = np.asarray(traced(layer=1.0)["ratio"])
    assert (ratio[:, 0] < 1).all()


@pytest.mark.slow
def test_one_prompt_has_no_others():
    method = optimisers.get("adam_pooled", 0.01, **chosen._PLAIN)
    parts = (chosen.one_prompt(), SMALL, tm.losses.DPO(), method, jnp.arange(2))
    found = chosen_steps.trace(*parts, records=3, every=2)
    assert np.abs(found["others"]).max() < 1e-6  # what rounding leaves of a sum that is zero
    assert (found["own"] > 0).all()


# The study of beta ------------------------------------------------------------------------------


@given(st.floats(0.05, 8.0))
def test_the_gradients_power_is_beta_less_one(strength):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(beta, "SHOWN", (strength,))
        found = beta._gradients()
    last = found["rejected_gradient"].values[0, -5:]
    slope = np.polyfit(found["fallen"].values[-5:], last, 1)[0]
    u = strength * np.log(10) * 11  # what is left out of the limit: sigma(-u) against exp(-u)
    np.testing.assert_allclose(slope, strength - 1, atol=1e-3 + strength * np.exp(-u))


def test_runs_are_read_at_equal_margins():
    """A path by hand: the chosen peaks at step 1, the margin passes 20 at step 2."""
    log_probs = np.full((1, 1, 1, 4, 4, 10), -3.0)
    pairs = WORLD.pairs
    for step, (up, down) in enumerate([(-2.0, -2.0), (-1.0, -8.0), (-1.5, -25.0), (-2.5, -70.0)]):
        log_probs[..., step, np.asarray(pairs.prompt), np.asarray(pairs.chosen)] = up
        log_probs[..., step, np.asarray(pairs.prompt), np.asarray(pairs.rejected)] = down
    found = beta._at_margins(log_probs)
    assert found["fall_at_20"].item() == pytest.approx(0.5)
    assert found["fall_at_60"].item() == pytest.approx(1.5)
    assert found["margin"].item() == pytest.approx(67.5)
    never = beta._at_margins(log_probs[..., :2, :, :])
    assert np.isnan(never["fall_at_20"]).all()


# Whole studies ----------------------------------------------------------------------------------


def made_up(factorial):
    switches = {"sharing": {"policy": "tabular"}, "memory": {"optimiser.b2": 0.9}}
    made = design(tm.Sweep(policy=SMALL, learning_rate=0.01), switches, factorial)
    outcome = np.random.default_rng(0).normal(size=(2, len(made.present), 5))
    limits = {"drop": 1.0, "drawdown": 0.1}
    data = labelled(made, outcome, list(limits))
    data["learning_rate"] = ("run", np.full(len(made.present), 0.01))
    data["status"] = (("run", "seed"), np.ones(outcome.shape[1:], int))
    return Attribution(data, switches, limits)


@pytest.mark.parametrize(("factorial", "panels"), [(True, 4), (False, 2)])
def test_an_attribution_is_drawn(factorial, panels, tmp_path):
    figure = picture(made_up(factorial))
    assert len([axes for axes in figure.axes if axes.get_title()]) == panels
    figure.savefig(tmp_path / "a.png")


def test_the_commands_data_are_plain():
    found = made_up(True)
    data = json.loads(as_json(command._as_data(found)))
    mean, low, high = data["effects"]["drop"]["sharing"]["main"]
    assert low < mean < high
    assert mean == found.to_xarray()["main"].sel(measure="drop", ingredient="sharing").item()
    assert data["necessary"] == found.necessary


def test_the_command_refuses_unknown_ingredients():
    with pytest.raises(tm.InputError, match="--leave: got 'salt'"):
        command.attribute(leave=("salt",))
