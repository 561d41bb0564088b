"""Saved runs come back as they were, carry their settings, and are written whole or not at all."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import xarray as xr

import toymodel as tm
from toymodel import losses, optimisers
from toymodel.policies import Fit
from toymodel.scenarios import build

# Runs to save, made up rather than trained ------------------------------------------------------


def made_up(policy=None, loss="dpo", optimiser=None, *, seed=0, batch_size=None):
    """A trajectory with random contents, in JAX's precision of the moment."""
    pairs = [(0, 0, 1, 2.0), (0, 2, 1), (1, 3, 4, 0.5)]
    world = build(np.full((3, 6), 1 / 6), pairs, name="made up")
    policy = tm.Tabular() if policy is None else policy
    optimiser = optimisers.get("sgd", 1.0) if optimiser is None else optimiser
    lead = () if isinstance(seed, int) else (len(seed),)
    random = np.random.default_rng(0)

    def numbers(*shape):
        return jnp.asarray(random.normal(size=(*lead, *shape)))

    structure = jax.eval_shape(lambda key: policy.init(key, world.shape), jax.random.key(0))
    return tm.Trajectory(
        scenario=world,
        policy=policy,
        loss=losses.get(loss),
        optimiser=optimisers.describe(optimiser),
        batch_size=batch_size,
        seed=seed,
        steps=np.array([0, 5, 20]),
        log_probs=numbers(3, *world.shape),
        reference=numbers(*world.shape),
        fit=Fit(divergence=numbers(3), error=numbers()),
        params=jax.tree.map(lambda leaf: numbers(*leaf.shape), structure),
    )


def assert_same(run, other):
    for name in ("scenario", "policy", "loss", "log_probs", "reference", "fit", "params"):
        ours, theirs = getattr(run, name), getattr(other, name)
        assert jax.tree.structure(ours) == jax.tree.structure(theirs), name
        for one, another in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
            np.testing.assert_array_equal(one, another, strict=True, err_msg=name)
    for name in ("optimiser", "batch_size", "seed", "has_seeds"):
        assert getattr(run, name) == getattr(other, name), name
    assert (run.scenario.name, run.steps.tolist()) == (other.scenario.name, other.steps.tolist())
    assert repr(run) == repr(other)


def round_trip(run, folder):
    return tm.load(run.save(folder / "run.zarr"))


# There and back ---------------------------------------------------------------------------------

FEATURES = np.random.default_rng(1).normal(size=(3, 6, 2))
RUNS = {
    "tabular": lambda: made_up(),
    "loglinear": lambda: made_up(tm.LogLinear(FEATURES)),
    "mlp": lambda: made_up(tm.MLP((2, 3), "tanh", "he_normal", scale=0.5, fit_steps=7)),
    "mlp, no hidden layer": lambda: made_up(tm.MLP(())),
    "several seeds": lambda: made_up(seed=(3, 1)),
    "mlp, several seeds": lambda: made_up(tm.MLP((2,)), seed=(3, 1)),
    "batches": lambda: made_up(batch_size=2, seed=7),
    "options": lambda: made_up(
        optimiser=optimisers.get("sgd", 0.1, momentum=0.9, nesterov=True)
    ),
    "optax object": lambda: made_up(optimiser=optimisers.get(optax.adam(0.1))),
    "uneven numbers": lambda: made_up(loss=losses.FlexDPO(1 / 3, np.pi)),
    **{name: lambda name=name: made_up(loss=name) for name in losses.names()},
}  # fmt: skip


@pytest.mark.parametrize("make", RUNS.values(), ids=RUNS)
def test_round_trip(make, tmp_path):
    run = make()
    assert_same(run, round_trip(run, tmp_path))


@pytest.mark.parametrize("kind", ["tabular", "loglinear", "mlp", "several seeds"])
def test_round_trip_in_float32(kind, tmp_path, float32):
    run = RUNS[kind]()
    assert run.log_probs.dtype == np.float32
    assert_same(run, round_trip(run, tmp_path))


def test_round_trip_of_a_trained_run(tmp_path):
    run = tm.simulate("both_off_policy", "tabular", "ipo", "sgd", learning_rate=0.1, steps=3)
    assert_same(run, round_trip(run, tmp_path))


@pytest.mark.parametrize("seed", [0, (3, 1)], ids=["one seed", "several"])
def test_a_loaded_run_measures_the_same(seed, tmp_path):
    run = made_up(seed=seed)
    loaded = round_trip(run, tmp_path)
    for method in ("properties", "likelihoods", "pair_log_probs", "probability_gradients"):
        ours, theirs = getattr(run, method)(), getattr(loaded, method)()
        xr.testing.assert_identical(ours, theirs)
        assert ("seed" in ours.dims) == isinstance(seed, tuple), method


# What a file says -------------------------------------------------------------------------------


def test_attributes(tmp_path):
    run = made_up(tm.MLP((2,)), losses.SFTDPO(gamma=0.25), batch_size=2)
    stored = xr.open_zarr(run.save(tmp_path / "run.zarr"), consolidated=False)
    settings = stored.attrs
    assert settings["toymodel_version"] == tm.__version__
    assert settings["toymodel_format"] == 1
    assert (settings["scenario"], settings["batch_size"], settings["seed"]) == ("made up", 2, 0)
    assert json.loads(settings["loss"]) == {"name": "sft_dpo", "beta": 0.1, "gamma": 0.25}
    assert json.loads(settings["policy"])["hidden"] == [2]
    assert json.loads(settings["optimiser"]) == {"name": "sgd", "learning_rate": 1.0}
    assert stored.log_prob.dims == ("step", "prompt", "response")
    assert (stored.log_prob.units, stored.step.units) == ("nat", "updates")
    assert stored.role.flag_meanings.split()[0] == "own_chosen"
    assert stored.pair_weight.values.tolist() == [2.0, 1.0, 0.5]


# Whole or not at all ----------------------------------------------------------------------------

ACCIDENTS = {
    "disk full": (OSError("no space left"), tm.InputError),
    "Ctrl-C": (KeyboardInterrupt(), KeyboardInterrupt),
    "a bug below": (TypeError("no such codec"), TypeError),
}
accidents = pytest.mark.parametrize(("accident", "raised"), ACCIDENTS.values(), ids=ACCIDENTS)


@pytest.fixture
def breaks(monkeypatch, accident):
    """Make writing stop half-way."""

    def to_zarr(self, store, **_):
        store.mkdir()
        (store / "zarr.json").write_text("{")
        raise accident

    return lambda: monkeypatch.setattr(xr.Dataset, "to_zarr", to_zarr)


@accidents
def test_nothing_is_left_of_a_failed_write(breaks, raised, tmp_path):
    breaks()
    with pytest.raises(raised):
        made_up().save(tmp_path / "run.zarr")
    assert list(tmp_path.iterdir()) == []


@accidents
def test_a_failed_write_spares_what_it_would_replace(breaks, raised, tmp_path):
    target = made_up(seed=1).save(tmp_path / "run.zarr")
    breaks()
    with pytest.raises(raised):
        made_up(seed=2).save(target, overwrite=True)
    assert list(tmp_path.iterdir()) == [target]
    assert tm.load(target).seed == 1


def test_overwrite_replaces_a_run(tmp_path):
    target = made_up(seed=(1, 2), batch_size=2).save(tmp_path / "run.zarr")
    (tmp_path / "run.zarr.partial").mkdir()  # left by a run that was killed
    made_up(seed=3).save(target, overwrite=True)
    assert list(tmp_path.iterdir()) == [target]
    assert_same(tm.load(target), made_up(seed=3))


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_overwrite_spares_what_is_not_a_run(kind, tmp_path):
    target = tmp_path / "precious"
    kept = target / "thesis.tex" if kind == "folder" else target
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("years of work")
    with pytest.raises(tm.InputError, match=r"precious.*expected a saved run to overwrite"):
        made_up().save(target, overwrite=True)
    assert kept.read_text() == "years of work"


def test_missing_folders_are_made(tmp_path):
    assert made_up().save(tmp_path / "a" / "b" / "run.zarr").is_dir()
