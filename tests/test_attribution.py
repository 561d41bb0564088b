"""Effects recover what a made-up outcome was built of; runs are those of simulate; causes are named
by the rule stated; bad designs are refused."""

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from scipy import stats

import toymodel as tm
from toymodel.attribution import LIMITS, Attribution, attribute, effects, estimate
from toymodel.attribution.ingredients import design
from toymodel.attribution.matching import reached
from toymodel.attribution.outcomes import by_seed, trained_prompts
from toymodel.attribution.run import labelled
from toymodel.cli import attribution as command
from toymodel.sweeps.places import place

TINY = tm.MLP(hidden=(), fit_steps=5)
BASE = tm.Sweep(policy=TINY, learning_rate=0.01, steps=40)
THREE = {
    "sharing": {"policy": "tabular"},
    "memory": {"optimiser.b2": 0.9},
    "beta": {"loss.beta": 0.5},
}
DESIGN = design(BASE, THREE)
NUMBERS = st.floats(-5.0, 5.0)
SEEDS = 4


@st.composite
def additive(draw):
    """A level, an effect an ingredient, an interaction a couple, and what each seed adds to all."""
    level, main = draw(NUMBERS), draw(hnp.arrays(float, 3, elements=NUMBERS))
    couples = draw(hnp.arrays(float, 3, elements=NUMBERS))
    seeds = draw(hnp.arrays(float, SEEDS, elements=NUMBERS))
    return level, main, couples, seeds


COUPLES = [(0, 1), (0, 2), (1, 2)]


@given(parts=additive())
def test_effects_recover_what_an_outcome_is_made_of(parts):
    level, main, couples, seeds = parts
    signs = np.where(DESIGN.present, 1.0, -1.0)
    products = np.stack([signs[:, a] * signs[:, b] for a, b in COUPLES], axis=1)
    outcome = (level + (signs @ main + products @ couples) / 2)[:, None] + seeds[None]
    found = effects.main_effects(DESIGN, outcome)
    np.testing.assert_allclose(found, np.repeat(main[:, None], SEEDS, 1), atol=1e-10)
    crossed = effects.interactions(DESIGN, outcome)
    for (a, b), size in zip(COUPLES, couples, strict=True):
        np.testing.assert_allclose(crossed[a, b], size, atol=1e-10)
        np.testing.assert_array_equal(crossed[a, b], crossed[b, a])
    assert np.isnan(crossed[np.diag_indices(3)]).all()


@given(outcome=hnp.arrays(float, (8, SEEDS), elements=NUMBERS))
def test_effects_by_hand(outcome):
    at = {tuple(row): values for row, values in zip(DESIGN.present.tolist(), outcome, strict=True)}
    others = [(b, c) for b in (False, True) for c in (False, True)]
    by_hand = np.mean([at[True, b, c] - at[False, b, c] for b, c in others], axis=0)
    np.testing.assert_allclose(effects.main_effects(DESIGN, outcome)[0], by_hand, atol=1e-12)
    with_b = np.mean([at[True, True, c] - at[False, True, c] for c in (False, True)], axis=0)
    without_b = np.mean([at[True, False, c] - at[False, False, c] for c in (False, True)], axis=0)
    crossed = effects.interactions(DESIGN, outcome)[0, 1]
    np.testing.assert_allclose(crossed, (with_b - without_b) / 2, atol=1e-12)
    removed = at[True, True, True] - at[True, False, True]
    np.testing.assert_array_equal(effects.removals(DESIGN, outcome)[1], removed)
    added = at[False, False, True] - at[False, False, False]
    np.testing.assert_array_equal(effects.additions(DESIGN, outcome)[2], added)


@given(by_seed=hnp.arrays(float, (2, 7), elements=NUMBERS), confidence=st.floats(0.5, 0.99))
def test_intervals_are_scipys(by_seed, confidence):
    by_seed[:, 0] += 1.0  # some spread, which scipy needs
    by_seed[:, 1] = np.nan
    found = estimate(by_seed, confidence)
    for row, low, high in zip(by_seed, found.low, found.high, strict=True):
        kept = row[np.isfinite(row)]
        if kept.std() > 1e-9:
            expected = stats.ttest_1samp(kept, 0.0).confidence_interval(confidence)
            np.testing.assert_allclose((low, high), expected, rtol=1e-7, atol=1e-12)


def test_intervals_without_enough_seeds():
    found = estimate(np.array([[1.0, np.nan], [np.nan, np.nan]]))
    assert found.mean[0] == 1.0
    assert np.isnan([*found.low, *found.high, found.mean[1]]).all()


# Causes -----------------------------------------------------------------------------------------


def made_up(levels, limits=None):
    """An attribution whose runs have these levels of degradation, by ingredients present."""
    outcome = np.array([levels(*map(bool, row)) for row in DESIGN.present])
    by_seed = outcome[None, :, None] + 0.001 * np.arange(-2, 3)[None, None]
    data = labelled(DESIGN, by_seed, ["drawdown"])
    return Attribution(data, THREE, limits or {"drawdown": 0.05})


def test_what_needs_two_ingredients():
    found = made_up(lambda sharing, memory, beta: 1.0 * (sharing and memory) + 0.01 * beta)
    assert found.necessary == {"drawdown": ["sharing", "memory"]}
    assert found.sufficient == {"drawdown": []}
    assert found.sufficient_together == {"drawdown": [("sharing", "memory")]}
    table = found.table()
    assert table.count("necessary") == 2
    assert "by: sharing + memory." in table


def test_what_either_of_two_brings_about():
    found = made_up(lambda sharing, memory, beta: 1.0 * (sharing or beta))
    assert found.necessary == {"drawdown": []}
    assert found.sufficient == {"drawdown": ["sharing", "beta"]}
    assert found.sufficient_together == {"drawdown": [("sharing",), ("beta",)]}


def test_an_interval_across_the_limit_proves_nothing():
    found = made_up(lambda *present: 0.05 if present == (True, True, True) else 0.0)
    assert not found.shows("drawdown")
    assert found.necessary == found.sufficient == {"drawdown": []}


def test_what_is_there_without_anything_is_nobodys_doing():
    found = made_up(lambda *present: 1.0)
    assert found.necessary == found.sufficient == {"drawdown": []}
    assert found.sufficient_together == {"drawdown": [()]}


# Runs -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ran():
    return attribute(BASE, THREE, seeds=2, progress=False)


def test_combinations_are_simulations(ran):
    run = tm.simulate(
        "both_on_policy", "tabular", tm.losses.DPO(), "adam", learning_rate=0.01, steps=40, seed=[0]
    )
    drop = run.properties()["drop"].mean().item()
    data = ran.to_xarray()
    cell = data["outcome"].sel(measure="drop", run="memory + beta", seed=0).item()
    np.testing.assert_allclose(cell, run.properties()["drop"].mean().item(), rtol=1e-9)
    assert drop > 0
    assert set(data["learning_rate"].values) == {0.01}


def test_everything_is_labelled(ran):
    data = ran.to_xarray()
    assert data["main"].dims == ("measure", "ingredient")
    assert data["interaction"].dims == ("measure", "ingredient", "other")
    assert data["measure"].values.tolist() == list(LIMITS)
    assert data.sizes["run"] == 8
    assert isinstance(data, xr.Dataset)
    assert (data["main_low"] <= data["main"]).all()
    assert repr(ran) == "Attribution of drop, drawdown, dispersion to sharing, memory, beta"


def test_one_at_a_time_agrees_with_all_combinations(ran):
    few = attribute(BASE, THREE, seeds=2, factorial=False, progress=False)
    assert few.to_xarray().sizes["run"] == 8  # base, control, three removed, three alone
    assert "main" not in few.to_xarray()
    for name in ("removing", "adding", "base_low"):
        xr.testing.assert_allclose(few.to_xarray()[name], ran.to_xarray()[name])


# Matching ---------------------------------------------------------------------------------------

#: A world where one prompt has no pair, and two switches of one structure.
LACKING = tm.Sweep(
    tm.scenarios.build(np.full((3, 4), 0.25), [(0, 0, 1), (1, 1, 2)], name="two of three"),
    *("tabular", "dpo", "adam_pooled"),
    learning_rate=0.01,
    steps=40,
)
MATCHED = {"a second moment a weight": {"optimiser.layer": 1.0}, "momentum": {"optimiser.b1": 0.0}}


@pytest.fixture(scope="module")
def matched():
    return attribute(LACKING, MATCHED, seeds=2, match="drop", progress=False)


def test_matched_runs_reach_the_base_and_say_so(matched):
    data = matched.to_xarray()
    made = design(LACKING, MATCHED)
    assert data["learning_rate"].values[made.base] == 0.01
    assert (data["learning_rate"].values[:-1] != 0.01).all()
    levels = data["level"].sel(measure="drop")
    np.testing.assert_allclose(levels, levels.values[made.base], rtol=0.02)
    np.testing.assert_allclose(data["reached"], levels / levels.values[made.base])
    assert data["is_matched"].all()
    assert "NOT MATCHED" not in matched.table()


def test_runs_that_miss_are_named(matched):
    made = design(LACKING, MATCHED)
    values = np.array([[1.0, 1.0], [1.0, 1.2], [1.0, np.nan], [1.0, 1.0]])
    found = reached(made, values)
    assert found["is_matched"].values.tolist() == [True, False, False, True]
    data = matched.to_xarray().assign(found)
    table = Attribution(data, MATCHED, matched.limits).table()
    runs = data["run"].values
    assert f"NOT MATCHED (times the base's drop): {runs[1]} (1.1), {runs[2]} (nan)." in table


def test_prompts_without_pairs_do_not_count(matched):
    world, policy = LACKING.scenario, LACKING.policy
    run = tm.simulate(world, policy, "dpo", "adam", learning_rate=0.01, steps=40, record=1)
    drop = run.properties()["drop"].values
    assert np.isnan(drop[2])
    level = matched.to_xarray()["level"].sel(
        measure="drop", run="a second moment a weight + momentum"
    )
    np.testing.assert_allclose(level, drop[:2].mean(), rtol=1e-6)


def test_what_counts_in_a_mean():
    made = design(LACKING, MATCHED)
    values = np.arange(24.0).reshape(4, 2, 3)
    values[0, 0] = [1.0, np.nan, 5.0]
    dims = ("run", "seed", "prompt")
    status = np.full((4, 2), 1)
    status[1, 1] = 3
    found = xr.Dataset({"drop": (dims, values), "status": (dims[:2], status)})
    trained = trained_prompts(LACKING, made)
    assert trained.tolist() == [[True, True, False]] * 4
    mean = by_seed(found, "drop", trained)
    assert mean[0, 0] == 1.0
    assert np.isnan(mean[1, 1])
    assert mean[2, 0] == values[2, 0, :2].mean()


def test_pairs_the_initial_table_and_options_that_others_lack_are_switches():
    base = tm.Sweep("both_on_policy", "tabular", "dpo", "adam", learning_rate=0.1, steps=20)
    switches = {
        "initial table": {"scenario.chosen": 0.02},
        "other prompts": {f"scenario.pairs.weight[{i}]": 0 for i in (1, 2, 3)},
        "Adam": {"optimiser": "sgd"},
        "long memory": {"optimiser.b2": 0.9},
    }
    made = design(base, switches)
    assert sorted(set(made.settings["scenario.chosen"])) == [0.02, pytest.approx(0.12)]
    alone = np.where(made.present[:, 1], 4, 1)
    assert trained_prompts(base, made).sum(axis=1).tolist() == alone.tolist()
    drop = (
        attribute(base, switches, seeds=2, progress=False)
        .to_xarray()["outcome"]
        .sel(measure="drop", seed=0)
    )
    world = tm.scenarios.both_on_policy()
    alone = tm.scenarios.build(log_table=world.log_table, pairs=[(0, 0, 4)])
    run = tm.simulate(alone, "tabular", "dpo", "adam", learning_rate=0.1, steps=20, record=1)
    found = drop.sel(run="initial table + Adam + long memory")
    np.testing.assert_allclose(found, run.properties()["drop"].values[0], rtol=1e-6)
    assert drop.sel(run="nothing") == drop.sel(run="long memory"), "void without Adam"
    assert drop.sel(run="Adam") != drop.sel(run="Adam + long memory")


# Refusals ---------------------------------------------------------------------------------------

CHANGE = "a change of the base"
TABULAR = tm.Sweep(policy="tabular", learning_rate=0.01)
POOLED = tm.Sweep(policy=TINY, optimiser="adam_pooled", learning_rate=0.01)
ROUNDED = tm.optimisers.get("adam", 0.01, eps=1e-4)
REFUSED = {
    "no change but its type": (lambda: attribute(TABULAR, {"a": {"policy": tm.Tabular()}}), CHANGE),
    "no change but its name": (lambda: attribute(BASE, {"a": {"loss": tm.losses.DPO()}}), CHANGE),
    "no change of a number": (lambda: attribute(POOLED, {"a": {"optimiser.row": 0}}), CHANGE),
    "no change of a weight": (
        lambda: attribute(BASE, {"a": {"scenario.pairs.weight[0]": 1}}),
        CHANGE,
    ),
    "no change of a batch": (lambda: attribute(BASE, {"a": {"batch_size": 4}}), CHANGE),
    "no change of a default": (
        lambda: attribute(BASE, {"a": {"optimiser": tm.optimisers.get("adam", 0.01, b2=0.999)}}),
        CHANGE,
    ),
    "options that are lost": (
        lambda: attribute(
            tm.Sweep(optimiser=ROUNDED, policy=TINY), {"a": {"optimiser": "sgd"}}, seeds=2
        ),
        "the base's eps",
    ),
    "chosen that differ": (
        lambda: attribute(
            tm.Sweep(
                tm.scenarios.build([[0.2, 0.2, 0.6], [0.1, 0.3, 0.6]], [(0, 0, 1), (1, 1, 0)]),
                "tabular",
                learning_rate=0.1,
            ),
            {"a": {"scenario.chosen": 0.1}},
        ),
        "one probability of all chosen",
    ),
    "unknown match": (lambda: attribute(BASE, THREE, seeds=2, match="fall"), "measure: got 'fall'"),
    "nothing to match": (
        lambda: attribute(LACKING, MATCHED, seeds=2, match="drawdown", progress=False),
        "match: got 'drawdown 0'",
    ),
    "no switches": (lambda: attribute(BASE, {}), "switches"),
    "no changes": (lambda: attribute(BASE, {"a": {}}), r"switches\['a'\]"),
    "no change": (lambda: attribute(BASE, {"a": {"optimiser": "adam"}}), CHANGE),
    "no such setting": (lambda: attribute(BASE, {"a": {"loss.bet": 1.0}}), "did you mean 'beta'"),
    "no such part": (lambda: attribute(BASE, {"a": {"los": "dpo"}}), "los"),
    "one setting twice": (
        lambda: attribute(BASE, {"a": {"loss.beta": 1.0}, "b": {"loss.beta": 2.0}}),
        "loss.beta in two of them",
    ),
    "one seed": (lambda: attribute(BASE, THREE, seeds=1), "seeds: got 1"),
    "seeds as a range": (lambda: attribute(BASE, THREE, seeds=range(3)), "seeds"),
    "confidence": (lambda: attribute(BASE, THREE, confidence=95), "confidence"),
    "measure": (lambda: attribute(BASE, THREE, seeds=2, limits={"fall": 1.0}), "measure"),
    "too many": (
        lambda: design(
            BASE, {f"{i}": {f"scenario.pairs.weight[{i}]": 2.0} for i in range(7)}, True
        ),
        "factorial=False",
    ),
    "rate matched and set": (
        lambda: attribute(BASE, {"a": {"learning_rate": 1.0}}, seeds=2, match="drop"),
        "match",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case):
    call, message = REFUSED[case]
    with pytest.raises(tm.InputError, match=message):
        call()


def test_another_optimiser_keeps_the_options_it_has():
    parts = tm.Sweep(optimiser=ROUNDED).parts(frozenset())
    assert place(parts, "optimiser", "adam_layer").optimiser.options == {"eps": 1e-4}
    own = tm.optimisers.get("sgd", 0.5)
    assert place(parts, "optimiser", own).optimiser == own


# The command ------------------------------------------------------------------------------------


def test_the_command_takes_ingredients_and_settings(monkeypatch):
    asked = {}

    def attribute(base, switches, **options):
        asked.update(base=base, switches=switches, **options)
        raise InterruptedError  # that is all that this test wants to know

    monkeypatch.setattr(command.tool, "attribute", attribute)
    with pytest.raises(InterruptedError):
        command.attribute(
            switch=("sharing: policy=tabular", "table: scenario.chosen=0.02, optimiser.b1=0"),
            settings=("policy.activation=tanh", "optimiser.eps=1e-4"),
            hidden=3,
        )
    assert asked["switches"] == {
        "sharing": {"policy": "tabular"},
        "table": {"scenario.chosen": 0.02, "optimiser.b1": 0},
    }
    assert asked["base"].policy == tm.MLP(hidden=(3,), activation="tanh")
    assert asked["base"].optimiser.options == {"eps": 1e-4}
    assert asked["base"].optimiser.learning_rate == 3e-4
    for wrong in ("policy=tabular", "sharing: policy", ": policy=tabular"):
        with pytest.raises(tm.InputError, match="--switch: got"):
            command.attribute(switch=(wrong,))
