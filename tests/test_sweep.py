"""A sweep's cells equal single simulations, whatever trains them; blocks, threads and resuming
leave no trace in the numbers; nothing compiles twice."""

import os
import subprocess
import sys

import jax
import numpy as np
import optax
import pytest

import toymodel as tm
from toymodel.sweeps import engine, local, plan, steppers
from toymodel.sweeps.memory import Memory

TINY = tm.MLP(hidden=(8,), fit_steps=50)
TABULAR = tm.Sweep(policy="tabular", loss="flex_dpo", optimiser="sgd", learning_rate=2.0, steps=60)
GRID = {"loss.beta_chosen": [0.1, 0.3, 1.0], "loss.beta_rejected": [0.05, 0.5], "seed": range(3)}


def swept(base=TABULAR, over=GRID, **options):
    return tm.sweep(base, over, **{"record": ["properties", "log_probs@5"]} | options)


def assert_identical(one, other):
    assert set(one.variables) == set(other.variables)
    for name in one.variables:
        np.testing.assert_array_equal(one[name].values, other[name].values, err_msg=name)


# Against simulate -------------------------------------------------------------------------------


def simulated(base, **settings):
    return tm.simulate(
        base.scenario,
        base.policy,
        base.loss,
        base.optimiser,
        **{"learning_rate": base.learning_rate, "steps": base.steps, "record": 5} | settings,
    )


@pytest.mark.parametrize(
    ("policy", "loss", "optimiser", "by_rows"),
    [
        ("tabular", "dpo", "adam", True),
        pytest.param("tabular", "kto", "sgd", True, marks=pytest.mark.slow),
        pytest.param(TINY, "dpo", "adam", True, marks=pytest.mark.slow),
        (TINY, "flex_sft_dpo", "rmsprop", True),
        pytest.param(
            tm.MLP(hidden=(6, 5), activation="tanh", fit_steps=50),
            "simpo",
            "sgd",
            True,
            marks=pytest.mark.slow,
        ),
        pytest.param(TINY, "dpo", "lamb", False, marks=pytest.mark.slow),
        pytest.param(TINY, "aot", "adam", True, marks=pytest.mark.slow),
    ],
)
def test_cells_are_simulations(policy, loss, optimiser, by_rows):
    base = tm.Sweep(policy=policy, loss=loss, optimiser=optimiser, learning_rate=1e-3, steps=200)
    structure = steppers.structure_of(base.parts(frozenset()), frozenset(), None)
    assert structure.by_rows == by_rows
    found = swept(base, {"seed": [3, 5]}, record=["properties@1", "log_probs@5"])
    run = simulated(base, seed=[3, 5], record=1)
    recorded = run.log_probs[:, found["step"].values]
    errors = np.abs(found["log_probs"].values - recorded) / (1 + np.abs(recorded))
    assert errors.max() < 1e-12
    measured = run.properties()
    for quantity in ("drop", "peak_step", "drawdown", "outside_minimum", "gain_by_role"):
        np.testing.assert_allclose(found[quantity], measured[quantity], rtol=1e-9, atol=1e-11)


@pytest.mark.usefixtures("float32")
def test_float32_cells_are_simulations():
    """Most cells: where a gradient happens to vanish, Adam turns its rounding into steps."""
    base = tm.Sweep(policy=tm.MLP(hidden=(64,)), learning_rate=3e-4, steps=200)
    found = swept(base, {"seed": range(64)}, record="final")["final_log_probs"].values
    run = simulated(base, seed=range(64), record=[200])
    errors = np.abs(found / np.asarray(run.log_probs)[:, 0] - 1).reshape(64, -1).max(axis=1)
    assert np.quantile(errors, 0.8) < 1e-5
    assert errors.max() < 1e-2


@pytest.mark.parametrize("batch_size", [1, 3])
def test_mini_batches(batch_size):
    base = tm.Sweep(policy=TINY, learning_rate=0.01, steps=20)
    found = swept(base, {"batch_size": [batch_size], "seed": [1, 2]})
    run = simulated(base, seed=[1, 2], batch_size=batch_size)
    np.testing.assert_allclose(found["log_probs"].values[0], run.log_probs, atol=1e-12)


def test_an_optax_object():
    base = tm.Sweep(policy="tabular", optimiser=optax.sgd(2.0, momentum=0.5), steps=30)
    found = swept(base, {"loss.beta": [0.1, 0.7]})
    run = simulated(base, learning_rate=None)
    np.testing.assert_allclose(found["log_probs"].values[0], run.log_probs, atol=1e-12)


def test_every_kind_of_setting():
    over = {
        "loss": ["sft_dpo"],
        "policy.hidden": [(4,), (6, 3)],
        "policy.scale": [0.5, 1.0],
        "optimiser": ["lamb", "sgd"],
        "scenario.chosen": [0.05, 0.1],
        "scenario.pairs.weight[1]": [0.5, 2.0],
    }
    base = tm.Sweep(policy=TINY, learning_rate=0.05, steps=10)
    found = swept(base, over, record="final")
    assert (found["status"] != 0).all()
    world = tm.scenarios.with_initial(tm.scenarios.both_on_policy(), chosen=0.05)
    pairs = [(0, 0, 4), (1, 1, 6, 2.0), (2, 2, 7), (3, 3, 5)]
    run = tm.simulate(
        tm.scenarios.build(log_table=world.log_table, pairs=pairs),
        tm.MLP(hidden=(6, 3), scale=0.5, fit_steps=50),
        *("sft_dpo", "sgd"),
        **{"learning_rate": 0.05, "steps": 10, "record": [10]},
    )
    cell = found["final_log_probs"].values[0, 1, 0, 1, 0, 1]
    np.testing.assert_allclose(cell, run.log_probs[0], atol=1e-12)


# Results ----------------------------------------------------------------------------------------


def test_what_comes_back():
    found = swept(record=["properties@10", "likelihoods@20", "final"])
    assert dict(found["drawdown"].sizes) == {**{k: len(v) for k, v in GRID.items()}, "prompt": 4}
    assert found["chosen_mean"].dims == (*GRID, "step")
    assert found["step"].values.tolist() == [0, 20, 40, 60]
    assert found["drop"].attrs["units"] == "nats"
    assert found["status"].attrs["flag_meanings"] == "not_computed ok poor_fit not_finite"
    assert (found["status"] == 1).all()
    run = simulated(TABULAR, record=10, seed=0)
    expected = run.likelihoods()["unseen_mean"].sel(step=[0, 20, 40, 60])
    base = swept(TABULAR, {"seed": [0]}, record="likelihoods@20")["unseen_mean"][0]
    np.testing.assert_allclose(base.values, expected.values, rtol=1e-12)


def test_cells_that_go_wrong_are_marked():
    base = tm.Sweep(policy="tabular", loss="ipo", optimiser="sgd", steps=200)
    found = swept(base, {"learning_rate": [0.01, 1e30], "scenario.chosen": [0.1, 0.2]})
    assert found["status"].values.tolist() == [[1, 1], [3, 3]]
    assert np.isnan(found["drop"].values[1]).all()
    assert np.isfinite(found["drop"].values[0]).all()
    poor = swept(tm.Sweep(policy=tm.MLP(hidden=(2,), fit_steps=1), learning_rate=0.1, steps=5), {})
    assert poor["status"].item() == 2


def test_a_number_that_cannot_be_is_marked_too():
    """Each initial probability alone is possible, both together are not."""
    over = {"scenario.chosen": [0.05, 0.2], "scenario.rejected": [0.04, 0.1]}
    found = swept(TABULAR, over)
    assert found["status"].values.tolist() == [[1, 1], [1, 3]]


# No trace in the numbers ------------------------------------------------------------------------


def test_threads_and_stores_change_nothing(tmp_path):
    alone = swept(chunk=4, workers=1)
    assert_identical(alone, swept(chunk=4, workers=2))
    assert_identical(alone, swept(chunk=4, store=tmp_path / "a.zarr", workers=2))


def test_blocks_are_computed_alike_alone(tmp_path):
    made = plan.make(TABULAR, GRID, "final", chunk=2)
    blocks = list(made.layout.blocks())
    assert len(blocks) > 3
    one = engine.Engine(made)
    in_order = [one.compute(block) for block in blocks]
    for block, expected in zip(reversed(blocks), reversed(in_order), strict=True):
        found = engine.Engine(made).compute(block)
        for name, values in expected.items():
            np.testing.assert_array_equal(found[name], values, err_msg=name)


def test_the_same_call_goes_on(tmp_path):
    store = tmp_path / "a.zarr"
    made = plan.make(TABULAR, GRID, "final", chunk=2)
    whole = swept(record="final", chunk=2)
    computed = []

    class Stopped(Exception):
        pass

    original = engine.Engine.compute

    def stop_after_two(self, block, wanted=None):
        if len(computed) == 2:
            raise Stopped
        computed.append(block)
        return original(self, block, wanted)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine.Engine, "compute", stop_after_two)
        with pytest.raises(Stopped):
            swept(record="final", chunk=2, store=store, workers=1)
    part = tm.open_sweep(store)
    done = int((part["status"] != 0).sum())
    assert 0 < done < made.layout.cells
    counted = []

    def count(self, block, wanted=None):
        counted.append(block)
        return original(self, block, wanted)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine.Engine, "compute", count)
        assert_identical(whole, swept(record="final", chunk=2, store=store))
    assert not set(counted) & set(computed[:1])
    assert_identical(whole, tm.resume(store))


def test_appended_values_compute_only_new_cells(tmp_path):
    store = tmp_path / "a.zarr"
    swept(record="final", store=store)
    longer = {**GRID, "loss.beta_rejected": [0.05, 0.5, 0.7], "seed": range(5)}
    cells = []
    original = engine.Engine.compute

    def count(self, block, wanted=None):
        cells.append(int(wanted.sum()))
        return original(self, block, wanted)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine.Engine, "compute", count)
        found = swept(over=longer, record="final", store=store)
    assert sum(cells) == 3 * 3 * 5 - 3 * 2 * 3
    np.testing.assert_allclose(
        found["final_log_probs"], swept(over=longer, record="final")["final_log_probs"], atol=1e-12
    )


@pytest.mark.parametrize(
    ("base", "over", "what"),
    [
        (TABULAR, {**GRID, "seed": [1, 2, 3]}, "seed"),
        (TABULAR, {"seed": range(3)}, "dimensions"),
        (tm.Sweep(policy="tabular", loss="flex_dpo", learning_rate=1.0), GRID, "optimiser"),
    ],
)
def test_another_sweep_is_refused(tmp_path, base, over, what):
    swept(store=tmp_path / "a.zarr")
    with pytest.raises(tm.InputError, match=f"another sweep \\({what}.*--overwrite"):
        swept(base, over, store=tmp_path / "a.zarr")


def test_precision_is_kept(tmp_path):
    with jax.enable_x64(False):
        swept(store=tmp_path / "a.zarr")
    with pytest.raises(tm.InputError, match="float32"):
        tm.resume(tmp_path / "a.zarr")


# Speed ------------------------------------------------------------------------------------------


def test_numbers_do_not_recompile():
    base = tm.Sweep(policy=TINY, steps=20)
    over = {"loss.beta": tm.geomspace(0.01, 1, 9), "learning_rate": [0.1, 0.2], "seed": range(5)}
    before = len(engine._compiled), engine._fit._cache_size()
    made = plan.make(base, over, "properties", chunk=4)
    one = engine.Engine(made)
    for block in made.layout.blocks():
        one.compute(block)
    assert len(list(made.layout.blocks())) > 2
    assert len(engine._compiled) - before[0] == 1
    assert engine._fit._cache_size() - before[1] <= 2  # batches of fits have sizes 2, 4, ...
    swept(base, {**over, "loss.beta": tm.geomspace(0.02, 3, 9)}, record="properties", chunk=4)
    assert len(engine._compiled) - before[0] == 1


def test_streams():
    assert local.streams(3) == 3
    assert 1 <= local.streams(None) <= os.cpu_count()
    with pytest.raises(tm.InputError, match="workers"):
        local.streams(0)


SHARDED = """
import jax, numpy as np, toymodel as tm
assert jax.device_count() == 2
network = tm.MLP(hidden=(8,), fit_steps=20)
base = tm.Sweep(policy=network, loss="{loss}", learning_rate=0.01, steps=20)
found = tm.sweep(base, {{"loss.{beta}": [0.1, 0.2, 0.3], "seed": range(3)}}, record="final")
np.save("{out}", found["final_log_probs"].values)
"""


@pytest.mark.slow
def test_several_devices_share_the_cells(tmp_path):
    out = tmp_path / "found.npy"
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    script = SHARDED.format(loss="flex_dpo", beta="beta_chosen", out=out)
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)
    base = tm.Sweep(
        policy=tm.MLP(hidden=(8,), fit_steps=20), loss="flex_dpo", learning_rate=0.01, steps=20
    )
    over = {"loss.beta_chosen": [0.1, 0.2, 0.3], "seed": range(3)}
    with jax.enable_x64(False):
        expected = swept(base, over, record="final")["final_log_probs"].values
    np.testing.assert_allclose(np.load(out), expected, atol=2e-3)


def test_memory_holds_what_a_store_would():
    made = plan.make(TABULAR, GRID, "final")
    target = Memory(made.layout)
    assert len(target.pending()) == len(list(made.layout.blocks()))
