"""Parts of a step add up to it, and each is what its name says; a run is trained again exactly."""

import dataclasses
import functools

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import xarray as xr
from hypothesis import given

import toymodel as tm
from tests.strategies import compiled
from toymodel import InputError, decomposition, gradients, optimisers
from toymodel.plots.pushes import stacked

NETWORK = tm.MLP(hidden=(5,), activation="tanh", fit_steps=1)
WORLD = tm.scenarios.both_on_policy()
#: Optimisers with D: whether they have momentum, and whether their steps differ in size.
READ = {
    "momentum": ("sgd", {"momentum": 0.9}, True, False),
    "adam": ("adam", {}, True, True),
    "adam without momentum": ("adam", {"b1": 0.0, "eps_root": 1e-6}, False, True),
    "rmsprop": ("rmsprop", {}, False, True),
    "adam_global": ("adam_global", {"b1": 0.0}, False, False),
    "adam_layer": ("adam_layer", {"b1": 0.0}, False, True),
}
BEFORE = 3  # updates, so that there is something to remember


@functools.cache
def splitter(name, options):
    """A jitted function: parts of one step after a few others, from a seed."""
    loss = tm.losses.DPO(0.3)
    reference = WORLD.log_table
    method = optimisers.get(name, 1e-2, **dict(options))

    @compiled
    def split(seed):
        params = NETWORK.init(jax.random.key(seed), WORLD.shape)
        update = method.build()

        def step(_, state):
            params, memory = state
            slope = gradients.parameters(loss, NETWORK, params, reference, WORLD.pairs)
            change, memory = update.update(slope, memory, params)
            return optax.apply_updates(params, change), memory

        state = jax.lax.fori_loop(0, BEFORE, step, (params, update.init(params)))
        return decomposition.step_parts(NETWORK, loss, method, reference, WORLD.pairs, state)

    return split


def check_sum(parts):
    names = ("preconditioning", "momentum", "unsplit", "residual")
    total = (parts.chosen + parts.rejected).sum(-1) + sum(getattr(parts, name) for name in names)
    np.testing.assert_allclose(total, parts.change, atol=1e-12)
    assert (jnp.abs(parts.residual) <= parts.bound + 1e-14).all()


@pytest.mark.parametrize("case", READ)
@given(seed=st.integers(0, 2**31 - 1))
@hypothesis.settings(max_examples=5)
def test_parts_add_up_and_are_what_their_names_say(case, seed):
    name, options, has_momentum, is_uneven = READ[case]
    parts = splitter(name, tuple(options.items()))(seed)
    check_sum(parts)
    size = jnp.abs(parts.change).max()
    assert not parts.unsplit.any()
    for part, is_there in ((parts.momentum, has_momentum), (parts.preconditioning, is_uneven)):
        assert (jnp.abs(part).max() > 1e-3 * size) == is_there
        assert is_there or jnp.abs(part).max() < 1e-11 * size


def test_a_step_that_is_not_read_names_no_cause():
    parts = splitter("lion", ())(3)
    check_sum(parts)
    assert not parts.preconditioning.any()
    assert not parts.momentum.any()
    assert jnp.abs(parts.unsplit).max() > 0.1 * jnp.abs(parts.change).max()


def test_the_residual_is_of_second_order():
    """Steps of half the size leave a quarter of the residual."""
    params = NETWORK.init(jax.random.key(1), WORLD.shape)

    @compiled
    def residual(rate):
        method = optimisers.get("adam", rate)
        state = params, method.build().init(params)
        parts = decomposition.step_parts(
            *(NETWORK, tm.losses.DPO(), method, WORLD.log_table, WORLD.pairs, state)
        )
        return jnp.abs(parts.residual).max()

    rates = 0.1 * 0.5 ** np.arange(3, 7)
    slope = np.polyfit(np.log(rates), np.log([residual(rate) for rate in rates]), 1)[0]
    assert slope == pytest.approx(2, abs=0.1)


# Whole runs -------------------------------------------------------------------------------------

#: Losses whose batches have something in common, so that a mini-batch is not its pairs by weight.
RUNS = {
    "a mean over the batch, held": ("kto", 2),
    "weights from the batch": ("beta_dpo", 2),
}


@functools.cache
def trained(case):
    loss, batch_size = RUNS[case]
    return tm.simulate(
        *(WORLD, "tabular", loss, "adam"), learning_rate=0.05, steps=9, record=1, seed=3,
        batch_size=batch_size,
    )  # fmt: skip


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[pytest.mark.slow] * ("held" not in case)) for case in RUNS]
)
def test_a_run_is_trained_again_exactly(case):
    run = trained(case)
    parts = run.decompose(at=[0, 1, 7, 8])
    curve, at = np.asarray(run.log_probs), parts["step"].values
    np.testing.assert_allclose(parts["change"], curve[at + 1] - curve[at], atol=1e-12)
    assert np.abs(parts["change"]).max() > 1e-3
    total = (parts["chosen"] + parts["rejected"]).sum("pair") + sum(
        parts[name] for name in (*decomposition.OF_THE_OPTIMISER, "residual")
    )
    np.testing.assert_allclose(total, parts["change"], atol=1e-12)
    pushing = (abs(parts["chosen"]) + abs(parts["rejected"])).max(("prompt", "response")) > 0
    assert pushing.sum("pair").max() <= RUNS[case][1]
    by_prompt = [decomposition.grouped(parts, prompt) for prompt in range(4)]
    for found in by_prompt:
        summed = sum(found[name] for name in found if name != "change")
        np.testing.assert_allclose(summed, found["change"], atol=1e-12)
        assert abs(found["other pairs"]).max() < 1e-12, "a table shares nothing"


def test_gradient_flow_has_no_other_parts():
    """The pushes alone are the flow's velocity, to 1e-8 of it."""
    loss, params = tm.losses.DPO(0.3), NETWORK.init(jax.random.key(1), WORLD.shape)
    reference, step = WORLD.log_table, 1e-5

    @compiled
    def both(params):
        slope = tm.gradients.parameters(loss, NETWORK, params, reference, WORLD.pairs)

        def at(multiple):
            moved = jax.tree.map(lambda p, g: p - multiple * step * g, params, slope)
            return NETWORK.log_probs(moved)

        speed = (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * step)
        chosen, rejected = tm.kernels.pushes(loss, NETWORK, params, reference, WORLD.pairs)
        return speed, (chosen + rejected).sum(-1)

    speed, pushed = both(params)
    assert jnp.abs(speed - pushed).max() < 1e-8 * jnp.abs(speed).max()


def test_how_many_steps_or_which():
    assert decomposition.steps_to_split(np.int64(2), 9).tolist() == [0, 8]
    assert decomposition.steps_to_split(50, 3).tolist() == [0, 1, 2]
    assert decomposition.steps_to_split(np.array([3, 5]), 9).tolist() == [3, 5]


@pytest.mark.parametrize("at", [0, -1, True, 0.5, [9], [-1], [3, 3], [], [0.5], [[1]]])
def test_bad_requests_are_refused(at):
    with pytest.raises(InputError, match=r"^at: got"):
        trained("a mean over the batch, held").decompose(at=at)


def test_an_optax_object_is_refused():
    run = trained("a mean over the batch, held")
    custom = dataclasses.replace(run, optimiser={"name": "custom optax object"})
    with pytest.raises(InputError, match=r"^optimiser: got 'custom optax object'"):
        custom.decompose()


@pytest.mark.parametrize(("residual", "told"), [(0.005, False), (0.05, True)])
def test_a_residual_is_told_where_it_can_be_seen(residual, told):
    """Of a picture two high: a gain of one above a loss of one, whose difference is small."""
    steps = np.arange(3)
    sizes = {"own chosen": 1.0, "other pairs": -1.0, "residual": residual, "change": residual}
    names = ("own chosen", "own rejected", "other pairs", *decomposition.OF_THE_OPTIMISER)
    parts = {name: sizes.get(name, 0.0) for name in (*names, "residual", "change")}
    found = xr.Dataset({name: ("step", np.full(3, size)) for name, size in parts.items()})
    _, grid = tm.plots.new_figure()
    stacked(grid[0, 0], found.assign_coords(step=steps))
    assert ("residual" in grid[0, 0].get_legend_handles_labels()[1]) == told
