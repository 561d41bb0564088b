"""Bad input is refused at the entry, naming the argument, what was given and what was expected."""

import json
import shutil

import jax.numpy as jnp
import numpy as np
import optax
import pytest
import xarray as xr

import toymodel as tm
from toymodel import losses, optimisers, policies
from toymodel.scenarios import build

NAN = float("nan")
PAIR = [(0, 0, 1)]
HALVES = [[0.5, 0.5]]


def run(scenario="both_on_policy", policy="tabular", loss="dpo", optimiser="sgd", **settings):
    return tm.simulate(
        scenario, policy, loss, optimiser, **{"learning_rate": 1.0, "steps": 10} | settings
    )


BAD_INPUT = {  # what is wrong -> (call, how the message begins, more that it says)
    # Tables
    "table: row sum": (lambda: build([[0.5, 0.6]], PAIR), "table[0]: got", "1.1", "summing to 1"),
    "table: second row": (lambda: build([*HALVES, [0.9, 0.2]], PAIR), "table[1]: got", "1.1"),
    "table: negative": (lambda: build([[1.5, -0.5]], PAIR), "table[0, 1]: got -0.5", "negative"),
    "table: NaN": (lambda: build([[NAN, 0.5]], PAIR), "table[0, 0]: got nan", "> 0"),
    "table: zero": (lambda: build([[1.0, 0.0]], PAIR), "table[0, 1]: got 0.0", "> 0", "log_table"),
    "table: vector": (lambda: build([0.5, 0.5], PAIR), "table: got", "(2,)", "[prompt, response]"),
    "table: one response": (lambda: build([[1.0]], PAIR), "table: got", "(1, 1)", "two responses"),
    "table: ragged": (lambda: build([[0.5, 0.5], [1.0]], PAIR), "table: got", "numbers"),
    "table: text": (lambda: build("uniform", PAIR), "table: got 'uniform'", "numbers"),
    "no table": (lambda: build(pairs=PAIR), "table, log_table: got 'neither'", "exactly one"),
    "both tables": (lambda: build(HALVES, PAIR, log_table=HALVES), "table, log_table: got 'both'"),
    "log_table: infinite": (
        lambda: build(log_table=[[0.0, -np.inf]], pairs=PAIR), "log_table[0, 1]: got -inf", "finite"
    ),
    "log_table: row sum": (
        lambda: build(log_table=[[1e4, 0.0]], pairs=PAIR), "log_table[0]: got", "summing to 1"
    ),
    # Pairs
    "pairs: none": (lambda: build(HALVES), "pairs: got ()", "at least one (prompt, chosen, rej"),
    "pairs: not a list": (lambda: build(HALVES, 3), "pairs: got 3", "at least one"),
    "pairs: flat": (lambda: build(HALVES, (0, 0, 1)), "pairs[0]: got 0", "(prompt, chosen, reject"),
    "pairs: too short": (lambda: build(HALVES, [(0, 1)]), "pairs[0]: got (0, 1)", "a weight"),
    "pairs: text": (lambda: build(HALVES, [(0, 0, "a")]), "pairs[0]: got (0, 0, 'a')", "numbers"),
    "pairs: prompt": (lambda: build(HALVES, [*PAIR, (1, 0, 1)]), "pairs[1].prompt: got 1", "to 0"),
    "pairs: chosen": (lambda: build(HALVES, [(0, 2, 1)]), "pairs[0].chosen: got 2", "0 to 1"),
    "pairs: rejected": (lambda: build(HALVES, [(0, 0, -1)]), "pairs[0].rejected: got -1", "0 to 1"),
    "pairs: half": (lambda: build(HALVES, [(0, 0.5, 1)]), "pairs[0].chosen: got 0.5", "whole"),
    "pairs: NaN": (lambda: build(HALVES, [(NAN, 0, 1)]), "pairs[0].prompt: got nan", "whole"),
    "pairs: the same": (lambda: build(HALVES, [(0, 1, 1)]), "pairs[0]: got (0, 1, 1)", "different"),
    "weight: negative": (lambda: build(HALVES, [(0, 0, 1, -2)]), "pairs[0].weight: got -2.0", ">="),
    "weight: NaN": (lambda: build(HALVES, [(0, 0, 1, NAN)]), "pairs[0].weight: got nan", "finite"),
    "weight: all zero": (lambda: build(HALVES, [(0, 0, 1, 0)]), "pairs: got", "all 0", "positive"),
    # Names
    "scenario: name": (lambda: run("both_on_polcy"), "scenario: got 'both_on_polcy'", "'both_on_"),
    "scenario: number": (lambda: run(3), "scenario: got 3", "a Scenario or a name"),
    "policy: name": (lambda: run(policy="mpl"), "policy: got 'mpl'", "did you mean 'mlp'?"),
    "policy: none": (lambda: run(policy=None), "policy: got None", "tabular"),
    "policy: needs more": (lambda: run(policy="loglinear"), "policy: got 'loglinear'", "features"),
    "loss: name": (lambda: run(loss="sipmo"), "loss: got 'sipmo'", "mean 'simpo'?"),
    "loss: class": (lambda: run(loss=tm.losses.DPO), "loss: got", "write DPO()"),
    "optimiser: name": (lambda: run(optimiser="adm"), "optimiser: got 'adm'", "mean 'adam'?"),
    "optimiser: none": (lambda: run(optimiser=None), "optimiser: got None", "optax.adam(4e-4)"),
    # Hyper-parameters
    "loss: unknown number": (
        lambda: losses.get("dpo", bta=0.1), "argument of loss 'dpo': got 'bta'", "mean 'beta'?"
    ),
    "policy: unknown setting": (
        lambda: policies.get("mlp", width=3), "argument of policy 'mlp': got 'width'", "hidden"
    ),
    "optimiser: unknown option": (
        lambda: optimisers.get("adam", 1.0, b3=0.9), "option of optimiser 'adam': got 'b3'", "b1"
    ),
    "optimiser: option no number": (
        lambda: optimisers.get("adam", 1.0, b1="0.9"), "adam.b1: got '0.9'", "number", "optax.adam("
    ),
    "beta: zero": (lambda: tm.losses.DPO(beta=0.0), "DPO.beta: got 0.0", "> 0"),
    "beta: negative": (lambda: losses.get("dpo", beta=-1.0), "DPO.beta: got -1.0", "> 0"),
    "beta: NaN": (lambda: tm.losses.DPO(beta=NAN), "DPO.beta: got nan", "finite"),
    "beta: text": (lambda: tm.losses.DPO(beta="0.1"), "DPO.beta: got '0.1'", "a finite number"),
    "beta: list": (lambda: tm.losses.DPO(beta=[0.1]), "DPO.beta: got [0.1]", "a finite number"),
    "gamma: negative": (lambda: tm.losses.SFTDPO(gamma=-0.1), "SFTDPO.gamma: got -0.1", ">= 0"),
    "rate: zero": (lambda: run(learning_rate=0.0), "Optimiser.learning_rate: got 0.0", "> 0"),
    "rate: NaN": (lambda: run(learning_rate=NAN), "Optimiser.learning_rate: got nan", "finite"),
    "rate: text": (lambda: run(learning_rate="1"), "Optimiser.learning_rate: got '1'", "> 0"),
    "rate: schedule": (
        lambda: run(learning_rate=optax.constant_schedule(1.0)), "Optimiser.learning_rate: got <"
    ),
    "rate: missing": (lambda: run(learning_rate=None), "learning_rate: got None", "'sgd'", "4e-4"),
    "rate: twice": (lambda: run(optimiser=optax.sgd(1.0)), "learning_rate: got 1.0", "none"),
    "threshold": (lambda: tm.properties.Thresholds(drop=-1), "Thresholds.drop: got -1", "> 0"),
    # Steps, records, batches, seeds
    "steps: zero": (lambda: run(steps=0), "steps: got 0", "a whole number >= 1"),
    "steps: half": (lambda: run(steps=2.5), "steps: got 2.5", "a whole number >= 1"),
    "record: zero": (lambda: run(record=0), "record: got 0", "from 1 to 10"),
    "record: too rare": (lambda: run(record=11), "record: got 11", "from 1 to 10"),
    "record: outside": (lambda: run(record=[5, 12]), "record: got 12", "from 0 to 10", "`steps`"),
    "record: before": (lambda: run(record=[-1, 5]), "record: got -1", "from 0 to 10"),
    "record: falling": (lambda: run(record=[5, 3]), "record: got [5, 3]", "increasing"),
    "record: repeated": (lambda: run(record=[3, 3]), "record: got [3, 3]", "each once"),
    "record: empty": (lambda: run(record=[]), "record: got []", "whole steps"),
    "record: float": (lambda: run(record=[0.0, 5.0]), "record: got [0.0, 5.0]", "whole steps"),
    "record: one float": (lambda: run(record=2.0), "record: got 2.0", "every n-th step"),
    "batch: zero": (lambda: run(batch_size=0), "batch_size: got 0", "from 1 to 4"),
    "batch: too large": (lambda: run(batch_size=5), "batch_size: got 5", "from 1 to 4"),
    "batch: float": (lambda: run(batch_size=2.0), "batch_size: got 2.0", "whole"),
    "seed: negative": (lambda: run(seed=-1), "seed: got -1", "from 0"),
    "seed: too large": (lambda: run(seed=[1, 2**31]), "seed: got [1, 2147483648]", "2**31 - 1"),
    "seed: empty": (lambda: run(seed=[]), "seed: got []", "at least one"),
    "seed: float": (lambda: run(seed=1.0), "seed: got 1.0", "a whole number"),
    # Policies
    "hidden: int": (lambda: tm.MLP(hidden=64), "MLP.hidden: got 64", "tuple", "mend it: (64,)"),
    "hidden: list": (lambda: tm.MLP(hidden=[64]), "MLP.hidden: got [64]", "mend it: (64,)"),
    "hidden: zero": (lambda: tm.MLP(hidden=(8, 0)), "MLP.hidden: got (8, 0)", "whole numbers >= 1"),
    "hidden: float": (lambda: tm.MLP(hidden=(8.0,)), "MLP.hidden: got (8.0,)", "whole numbers"),
    "activation": (lambda: tm.MLP(activation="rleu"), "MLP.activation: got 'rleu'", "mean 'relu'?"),
    "initialisation": (
        lambda: tm.MLP(initialisation="torch"), "MLP.initialisation: got 'torch'", "mean 'pytorch'?"
    ),
    "scale": (lambda: tm.MLP(scale=0), "MLP.scale: got 0", "> 0"),
    "fit_steps": (lambda: tm.MLP(fit_steps=0.5), "MLP.fit_steps: got 0.5", "a whole number >= 1"),
    "features: for another world": (
        lambda: run(policy=tm.LogLinear(jnp.ones((2, 3, 5)))),
        "LogLinear.features: got", "(2, 3, 5)", "4 prompts and 10 responses",
    ),
    "features: flat": (
        lambda: tm.LogLinear(jnp.ones((4, 10))), "LogLinear.features: got", "(4, 10)", "feature]"
    ),
    "features: text": (lambda: tm.LogLinear("x"), "LogLinear.features: got 'x'", "a finite number"),
}  # fmt: skip


def assert_refused(call, begins, *says):
    with pytest.raises(tm.InputError) as caught:
        call()
    message = str(caught.value)
    assert message.startswith(begins)
    for part in ("expected", *says):
        assert part in message
    assert len(message) < 500


@pytest.mark.parametrize("case", BAD_INPUT.values(), ids=BAD_INPUT)
def test_bad_input(case):
    assert_refused(*case)


# Saving and loading -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return run(progress=False).save(tmp_path_factory.mktemp("saved") / "run.zarr")


@pytest.fixture
def saved(original, tmp_path):
    """A saved run to spoil."""
    return shutil.copytree(original, tmp_path / "run.zarr")


def spoil(how):
    """Rewrite the chunk of the log-probabilities with a function of its bytes."""

    def damage(store):
        (chunk,) = (path for path in (store / "log_prob" / "c").rglob("*") if path.is_file())
        chunk.write_bytes(how(chunk.read_bytes()))

    return damage


def set_attributes(**attributes):
    def damage(store):
        described = json.loads((store / "zarr.json").read_text())
        described["attributes"] |= attributes
        (store / "zarr.json").write_text(json.dumps(described))

    return damage


def foreign(store):
    shutil.rmtree(store)
    xr.Dataset({"x": ("t", np.arange(3.0))}).to_zarr(store, consolidated=False)


UNREADABLE = {  # what is wrong -> (how it comes to be, more that the message says)
    "nothing there": (shutil.rmtree, "a run written by Trajectory.save"),
    "foreign store": (foreign, "a run written by Trajectory.save, which this is not"),
    "another format": (set_attributes(toymodel_format=99), "in format 99", "format 1"),
    "changed setting": (set_attributes(batch_size=2), "damaged", "checksum"),
    "no metadata": (lambda store: (store / "zarr.json").unlink(), "damaged or truncated"),
    "half the metadata": (
        lambda store: (store / "zarr.json").write_text('{"zarr_'), "damaged or truncated"
    ),
    "lost array": (lambda store: shutil.rmtree(store / "reference"), "damaged", "checksum"),
    "lost chunk": (lambda store: shutil.rmtree(store / "log_prob" / "c"), "damaged", "checksum"),
    "truncated chunk": (spoil(lambda data: data[: len(data) // 2]), "damaged or truncated"),
    "flipped byte": (
        spoil(lambda data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]), "damaged or truncated"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", UNREADABLE.values(), ids=UNREADABLE)
def test_unreadable(case, saved):
    spoils, *says = case
    spoils(saved)
    assert_refused(lambda: tm.load(saved), "path: ", str(saved), *says)


def test_save_onto_something(original):
    loaded = tm.load(original)
    assert_refused(lambda: loaded.save(original), "path: got", "run.zarr", "overwrite=True")


def test_save_where_nothing_can_be_written(original, tmp_path):
    (tmp_path / "file").write_text("in the way")
    target = tmp_path / "file" / "run.zarr"
    assert_refused(lambda: tm.load(original).save(target), "path: cannot write", str(target))
