"""The design of a sweep: axes, settings by dotted name, refusals, plain data there and back."""

import json

import numpy as np
import pytest

import toymodel as tm
from toymodel.sweeps import axes, places, plan, settings

SWEEP = tm.Sweep(policy="tabular", loss="flex_dpo", optimiser="adam", learning_rate=0.1, steps=40)
PARTS = SWEEP.parts(frozenset())


def planned(over, sweep=SWEEP, record="final", **options):
    return plan.make(sweep, over, record, **options)


# Designs ----------------------------------------------------------------------------------------


def test_a_mapping_is_a_grid():
    design = axes.design({"loss.beta_chosen": [0.1, 0.2], "seed": range(3)})
    assert [(axis.dim, len(axis)) for axis in design] == [("loss.beta_chosen", 2), ("seed", 3)]


def test_a_list_is_a_product():
    drawn = tm.latin_hypercube({"learning_rate": tm.between(1e-4, 1e-1, log=True)}, 5)
    design = axes.design([drawn, {"seed": range(2)}])
    assert [(axis.dim, len(axis)) for axis in design] == [("sample", 5), ("seed", 2)]


def test_a_latin_hypercube_meets_every_slice_once():
    cells = 50
    ranges = {"a": tm.between(0.0, 1.0), "b": tm.between(1e-4, 1.0, log=True)}
    drawn = tm.latin_hypercube(ranges, cells, seed=3).settings
    shares = {"a": np.asarray(drawn["a"]), "b": 1 + np.log10(drawn["b"]) / 4}
    for values in shares.values():
        assert sorted((values * cells).astype(int)) == list(range(cells))


def test_draws_depend_on_the_seed_alone():
    ranges = {"a": tm.between(0, 9, whole=True), "b": ["x", "y"]}
    one, same, other = (tm.random(ranges, 40, seed=seed) for seed in (1, 1, 2))
    assert one == same != other
    assert set(one.settings["a"]) == set(range(10))
    assert set(one.settings["b"]) == {"x", "y"}


def test_spaces():
    assert tm.geomspace(0.01, 1, 5)[::2] == [0.01, 0.1, 1.0]
    assert tm.linspace(0, 1, 5) == [0, 0.25, 0.5, 0.75, 1]


# Settings ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "value", "read"),
    [
        ("loss.beta_chosen", 0.3, lambda parts: parts.loss.beta_chosen),
        ("learning_rate", 0.3, lambda parts: parts.optimiser.learning_rate),
        ("optimiser.b2", 0.3, lambda parts: parts.optimiser.options["b2"]),
        ("scenario.chosen", 0.1, lambda parts: parts.scenario.table[0, 0]),
        ("scenario.pairs.weight[2]", 0.3, lambda parts: parts.scenario.pairs.weight[2]),
    ],
)
def test_numbers_are_placed(setting, value, read):
    assert places.is_number(PARTS, setting)
    assert read(places.place(PARTS, setting, value)) == pytest.approx(value)


@pytest.mark.parametrize(
    ("setting", "value", "read"),
    [
        ("loss", "ipo", lambda parts: type(parts.loss).__name__ == "IPO"),
        ("loss", tm.losses.DPO(0.7), lambda parts: parts.loss.beta == 0.7),
        ("policy", "mlp", lambda parts: parts.policy == tm.MLP()),
        ("optimiser", "sgd", lambda parts: parts.optimiser.learning_rate == 0.1),
        ("optimiser.nesterov", True, lambda parts: dict(parts.optimiser.flags)["nesterov"]),
        ("scenario", "both_off_policy", lambda parts: parts.scenario.name == "both_off_policy"),
    ],
)
def test_structure_is_placed(setting, value, read):
    assert not places.is_number(PARTS, setting)
    assert read(places.place(PARTS, setting, value))


def test_a_width_is_structure_and_a_scale_a_number():
    parts = places.place(PARTS, "policy", "mlp")
    assert not places.is_number(parts, "policy.hidden")
    assert not places.is_number(parts, "policy.fit_steps")
    assert places.is_number(parts, "policy.scale")
    assert places.place(parts, "policy.hidden", (8, 4)).policy.hidden == (8, 4)


def test_entries_of_nested_losses():
    loss = tm.losses.WeightedSum((tm.losses.DPO(), tm.losses.SFT()), (1.0, 0.1))
    parts = places.place(PARTS, "loss", loss)
    moved = places.place(places.place(parts, "loss.weights[1]", 0.5), "loss.losses[0].beta", 2.0)
    assert (moved.loss.weights, moved.loss.losses[0].beta) == ((1.0, 0.5), 2.0)


def test_both_initial_probabilities_at_once():
    moved = places.place_all(PARTS, {"scenario.chosen": 0.05, "scenario.rejected": 0.15})
    row = np.asarray(moved.scenario.table[0])
    np.testing.assert_allclose(row[:8], [0.05] * 4 + [0.15] * 4, rtol=1e-12)
    np.testing.assert_allclose(row[8:], [0.15, 0.05], rtol=1e-12)  # 0.2 is left, three to one


@pytest.mark.parametrize(
    ("over", "message"),
    [
        ({"loss.bta": [1.0]}, "beta"),
        ({"los": ["dpo"]}, "did you mean 'loss'"),
        ({"loss": ["dop"]}, "did you mean"),
        ({"loss.beta_chosen": [0.1, -0.1]}, "> 0"),
        ({"loss.beta_chosen": [0.1, float("nan")]}, "finite"),
        ({"loss.beta_chosen": 0.1}, r"write \[0.1\]"),
        ({"loss.beta_chosen": []}, "at least one value"),
        ({"loss": "dpo"}, r"write \['dpo'\]"),
        ({"seed": [0.5]}, "whole numbers"),
        ({"seed": [-1]}, "whole numbers"),
        ({"batch_size": [5]}, "from 1 to 4"),
        ({"optimiser.b3": [0.5]}, "did you mean"),
        ({"optimiser": ["adma"]}, "did you mean"),
        ({"scenario.pairs.weight": [1.0]}, r"weight\[0\]"),
        ({"scenario.pairs.weight[9]": [1.0]}, "from 0 to 3"),
        ({"scenario.chosen": [0.5]}, "leave some"),
        ({"loss..beta": [1.0]}, "dotted name"),
        ([{"seed": [0]}, {"seed": [1]}], "once"),
        (tm.paired({"seed": [0]}, dim="prompt"), "dim="),
        ("seed", "with their values"),
    ],
)
def test_what_is_refused(over, message):
    with pytest.raises(tm.InputError, match=message):
        planned(over)


def test_pairs_of_unequal_length_are_refused():
    with pytest.raises(tm.InputError, match="as many values"):
        tm.paired({"loss.beta_chosen": [0.1], "loss.beta_rejected": [0.1, 0.2]})


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("propertis", "did you mean 'properties'"),
        ("likelihoods@0", "n from 1 to 40"),
        ("likelihoods@x", "n from 1 to 40"),
        (["log_probs@2", "likelihoods@4"], "one stride"),
        (["final", "final"], "once"),
        ([], "at least one"),
    ],
)
def test_records_that_are_refused(record, message):
    with pytest.raises(tm.InputError, match=message):
        planned({"seed": [0]}, record=record)


def test_an_optax_object_has_no_settings():
    import optax

    sweep = tm.Sweep(policy="tabular", optimiser=optax.sgd(1.0), steps=5)
    with pytest.raises(tm.InputError, match="hides its numbers"):
        planned({"optimiser.momentum": [0.5]}, sweep)


# Blocks -----------------------------------------------------------------------------------------


def test_every_cell_is_in_one_group_with_its_own_values():
    over = [
        {"loss": ["dpo", "flex_dpo", "dpo"], "learning_rate": [0.1, 0.2, 0.3]},
        tm.paired({"optimiser": ["adam", "sgd", "adam"], "seed": [7, 8, 9]}),
        {"scenario.chosen": tm.linspace(0.01, 0.1, 5)},
    ]
    made = planned(over, chunk=2)
    met = np.zeros(made.layout.shape, int)
    for block in made.layout.blocks():
        region = tuple(made.layout.region(block).values())
        shape = met[region].shape
        for group in made.groups(block):
            for cell, seed, rate, chosen in zip(
                group.cells,
                group.seeds,
                group.numbers["learning_rate"],
                group.numbers["scenario.chosen"],
                strict=True,
            ):
                at = np.unravel_index(cell, shape)
                loss, lr, pair, initial = (p + s.start for p, s in zip(at, region, strict=True))
                met[loss, lr, pair, initial] += 1
                assert type(group.parts.loss).__name__ == ["DPO", "FlexDPO", "DPO"][loss]
                assert group.parts.optimiser.name == ["adam", "sgd", "adam"][pair]
                assert (seed, rate) == (7 + pair, [0.1, 0.2, 0.3][lr])
                assert chosen == tm.linspace(0.01, 0.1, 5)[initial]
    assert (met == 1).all()


def test_an_empty_design_is_one_cell():
    made = planned({})
    assert (made.layout.cells, list(made.layout.blocks())) == (1, [()])


# Plain data -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "over",
    [
        {"loss.beta_chosen": tm.geomspace(0.01, 1, 7), "seed": range(3)},
        {
            "loss": ["dpo", tm.losses.FlexDPO(0.3, 0.2)],
            "policy": ["tabular", tm.MLP(hidden=(8, 4))],
        },
        [tm.random({"learning_rate": tm.between(1e-3, 1)}, 4), {"optimiser.b2": [0.9, 0.99]}],
        {"scenario": ["both_off_policy", tm.scenarios.both_on_policy()]},
    ],
)
def test_a_plan_comes_back_from_json(over):
    made = planned(over, record=["final", "likelihoods@5"])
    again = settings.plan_of(json.loads(json.dumps(settings.describe(made))))
    assert settings.describe(again) == settings.describe(made)
    assert [axis.dim for axis in again.axes] == [axis.dim for axis in made.axes]
    assert again.numbers == made.numbers
    for name, variable in made.layout.variables.items():
        assert variable == again.layout.variables[name]


def test_what_json_cannot_hold_is_refused():
    import optax

    sweep = tm.Sweep(policy="tabular", optimiser=optax.sgd(1.0), steps=5)
    with pytest.raises(tm.InputError, match="optimiser by name"):
        settings.describe(planned({"seed": [0]}, sweep))
