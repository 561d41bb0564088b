"""The race of losses: who runs, how settings are picked, what counts as a tie, when it is made."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure
from scipy import stats

from toymodel import losses, optimisers, paper, scenarios, simulation, studies
from toymodel.cli import figures
from toymodel.losses.base import PairBatch
from toymodel.paper import race, standings
from toymodel.studies.study import Claim, Study

FIELD = {name: losses.get(name) for name in ("dpo", "flex_dpo", "sft")}
PLAN = race.Plan((3e-4, 1e-3), (0.1, 1.0), 20, (1_000_000, 1_000_001))


@pytest.fixture(autouse=True)
def _default_precision(float32):
    """The race is run in float32, as users run it."""


@pytest.fixture(scope="module")
def small():
    with jax.enable_x64(False):
        return race.race(FIELD, 3, PLAN, progress=False)


def one_token_pairs(count=5):
    numbers = np.random.default_rng(0).uniform(-4, -0.1, (4, count))
    return PairBatch(
        *map(jnp.asarray, numbers), chosen_length=jnp.ones(count), rejected_length=jnp.ones(count)
    )


def test_every_registered_loss_runs_or_says_why_not():
    running = race.entrants()
    assert set(losses.names()) <= set(running) | set(race.NOT_RUN)
    assert not set(running) & set(race.NOT_RUN)


@pytest.mark.parametrize(
    "name", [name for name, why in race.NOT_RUN.items() if why.startswith("DPO exactly")]
)
def test_what_does_not_run_is_dpo(name):
    pairs = one_token_pairs()
    for ours, dpo in zip(losses.get(name).slopes(pairs), losses.DPO().slopes(pairs), strict=True):
        np.testing.assert_allclose(ours, dpo, rtol=1e-6)


def test_one_of_several_is_that_one():
    field, pairs = tuple(race.entrants().values()), one_token_pairs()
    compiled = jax.jit(lambda loss: (loss.value(pairs), *loss.slopes(pairs)))
    for number, loss in enumerate(field):
        ours = compiled(race.OneOf(number, field))
        for one, other in zip(ours, (loss.value(pairs), *loss.slopes(pairs)), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    assert compiled._cache_size() == 1
    assert not race.OneOf(0, field).takes_weights, "one of them joins different pairs"


def test_strengths():
    assert race.at_strength(losses.IPO(), 0.1) == losses.IPO(eta=0.01)
    assert race.at_strength(losses.SLiC(), 3) == losses.SLiC(delta=15.0)
    assert race.at_strength(losses.WPO(), 10) == losses.WPO(losses.DPO(beta=1.0))
    assert race.at_strength(losses.SFT(), 10) == losses.SFT()
    assert len(PLAN.grid(losses.SFT())) == 2
    assert len(PLAN.grid(losses.DPO())) == 4


@pytest.mark.parametrize("name", ["dpo", "ipo", "hinge", "simpo", "wpo"])
def test_balanced(name):
    assert race.balanced(losses.get(name))


@pytest.mark.parametrize("name", ["flex_dpo", "sft", "slic", "kto"])
def test_not_balanced(name):
    assert not race.balanced(losses.get(name))


@pytest.mark.parametrize("rule", race.RULES)
def test_the_best_score_is_picked(small, rule):
    for loss in small["loss"].values:
        row = small.sel(loss=loss, rule=rule)
        allowed = row.score if rule == "own rate" else row.score.sel(rate=3e-4)
        picked = row.score.sel(rate=row.learning_rate, factor_tried=row.factor)
        assert float(picked) == float(allowed.max())
    assert int(small.score.sel(loss="sft").notnull().sum()) == 2
    assert "beta_rejected" in str(small.setting.sel(loss="flex_dpo", rule=rule).values)


def test_measured_as_simulate_would(small):
    row = small.sel(loss="flex_dpo", rule="own rate", scenario="chosen_off_policy")
    run = simulation.simulate(
        "chosen_off_policy",
        paper.CALIBRATED.policy,
        race.at_strength(FIELD["flex_dpo"], float(row.factor)),
        optimisers.get("adam", float(row.learning_rate)),
        steps=PLAN.steps,
        seed=[0, 1, 2],
        record=1,
        progress=False,
    )
    found = run.properties().mean("prompt")
    np.testing.assert_allclose(row.final_chosen, run.likelihoods().chosen_mean[:, -1], rtol=1e-4)
    for name in ("drop", "drawdown", "dispersion"):
        np.testing.assert_allclose(row[name], found[name], rtol=1e-3, atol=1e-5)


def test_the_race_is_deterministic_and_seeds_stand_alone(small):
    again = race.race(FIELD, 2, PLAN, progress=False)
    xr.testing.assert_identical(again, small.isel(seed=slice(2)))


def test_other_numbers_do_not_recompile(small):
    before = simulation._advance._cache_size()
    other = race.Plan((3e-4, 5e-4), (0.2, 2.0), 20, PLAN.selection_seeds)
    race.race(FIELD, 3, other, progress=False)
    assert simulation._advance._cache_size() == before


def test_interval():
    values = xr.DataArray(np.random.default_rng(1).normal(size=9), dims="seed")
    mean, half = standings.interval(values)
    low, high = stats.t.interval(0.95, 8, mean, stats.sem(values))
    assert (float(mean - half), float(mean + half)) == pytest.approx((low, high))
    assert float(standings.interval(values, 5)[1]) > float(half)
    assert np.isnan(standings.interval(values[:1])[1])


def test_ties_are_paired_over_seeds(small):
    """A small difference that every seed shows is no tie; a large one that seeds dispute is."""
    seeds = np.arange(16)
    level = np.linspace(0.2, 0.8, 16)  # seeds differ far more than losses
    chosen = np.stack([level, level - 0.01 - 1e-4 * seeds, level - 0.1 * (-1.0) ** seeds - 0.01])
    worlds = scenarios.names()
    values = np.broadcast_to(chosen[:, None, None], (3, 2, len(worlds), 16))
    dims = ("loss", "rule", "scenario", "seed")
    coordinates = {name: small[name].values for name in dims[:3]}
    data = xr.Dataset(dict.fromkeys(standings.MEASURES, (dims, values)), coordinates)
    found = standings.standings(data).sel(rule="toy rate", scenario=[worlds[0], "mean"])
    assert set(found.best.values) == {"dpo"}
    assert found.tied.sel(loss="flex_dpo").values.tolist() == [False, False]
    assert found.tied.sel(loss=["dpo", "sft"]).values.all()
    assert float(found.behind.sel(loss="sft")[0]) == pytest.approx(0.01)


def test_table_has_every_loss_in_every_scenario(small):
    text = standings.table(small)
    for loss in FIELD:
        assert text.count(f"\n| {loss} |") == 2 * (2 + len(scenarios.names()))
    assert "Indistinguishable from the best" in text


def test_made_only_on_request(monkeypatch, tmp_path):
    made = []

    def fake(name, **more):
        def compute(seeds):
            made.append(name)
            return xr.Dataset()

        claims = [Claim("here", "something", 1.0, "1", True)]
        return Study(name, "", "", "", compute, lambda _: Figure(), lambda _: claims, **more)

    known = {
        "usual": fake("usual"),
        "long": fake("long", on_request=True, table=lambda _: "| more |"),
    }
    module = importlib.import_module("toymodel.studies.study")
    for name in list(module.STUDIES):
        monkeypatch.delitem(module.STUDIES, name)
    for name, figure in known.items():
        monkeypatch.setitem(module.STUDIES, name, figure)
    studies.reproduce(out=tmp_path, seeds=1, progress=False)
    assert made == ["usual"]
    studies.reproduce(["long"], tmp_path, seeds=1, progress=False)
    assert made == ["usual", "long"]
    assert (tmp_path / "long.md").read_text().endswith("| more |")


def test_help_names_every_figure():
    assert studies.STUDIES["race"].on_request
    assert all(name in (figures.reproduce.__doc__ or "") for name in studies.STUDIES)
