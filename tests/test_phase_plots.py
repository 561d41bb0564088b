"""Pictures of sweeps: their scales, labels, panels and lines stand where the data say."""

import dataclasses

import numpy as np
import pytest
import xarray as xr

import toymodel as tm
from toymodel.plots import labelled

BETAS = tm.geomspace(0.01, 1, 9)
RATES = tm.linspace(1, 5, 5)


@pytest.fixture
def found():
    """Degradation of size rate where beta < 0.1: set in for all seeds there, for none elsewhere."""
    seeds, prompts = np.arange(6), np.arange(2)
    shape = (len(BETAS), len(RATES), 2, len(seeds), len(prompts))
    beta = np.array(BETAS)[:, None, None, None, None]
    rate = np.array(RATES)[None, :, None, None, None]
    size = np.broadcast_to(np.where(beta < 0.1, rate, 0.0), shape) + 0.01 * np.arange(6)[:, None]
    onset = np.where(np.broadcast_to(beta < 0.1, shape), 100.0, np.nan)
    status = np.ones(shape[:-1], np.int8)
    status[0, 0] = 3
    dims = ("loss.beta", "learning_rate", "optimiser", "seed", "prompt")
    names = ("drop", "drawdown", "dispersion")
    onsets = ("drop_onset", "degradation_onset", "dispersion_onset")
    data = {name: (dims, size, {"units": "nats"}) for name in names}
    data |= dict.fromkeys(onsets, (dims, onset))
    data["status"] = (dims[:-1], status)
    coordinates = {"loss.beta": BETAS, "learning_rate": RATES, "optimiser": ["adam", "sgd"]}
    return xr.Dataset(data, {**coordinates, "seed": seeds, "prompt": prompts})


def panels(figure):
    return [axes for axes in figure.axes if axes.get_title()]


def test_a_phase_diagram(found):
    figure = tm.plots.phase_diagram(found, "learning_rate", "loss.beta", columns="optimiser")
    first, second = panels(figure)
    assert first.get_title() == "Degradation, optimiser = adam"
    assert (first.get_xlabel(), first.get_ylabel()) == ("learning rate", "beta (loss)")
    assert (first.get_xscale(), first.get_yscale()) == ("linear", "log")
    values = first.collections[0].get_array()
    assert values.shape == (9, 5)
    assert np.ma.getmaskarray(values)[0, 0], "not finite"
    assert values[1, 4] == pytest.approx(5 + 0.025)
    lines = first.collections[-1]
    heights = np.concatenate([path.vertices[:, 1] for path in lines.get_paths()])
    assert ((heights > BETAS[3]) & (heights < BETAS[4])).all(), "the onset stands at 0.1"
    assert second.get_title().endswith("sgd")
    assert "6 seeds and 2 prompts" in figure.get_suptitle()
    told = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "sets in for 50% of seeds and prompts" in told
    assert "not computed or not finite" in told


def test_three_phases_and_rows(found):
    figure = tm.plots.three_phases(found, "learning_rate", "loss.beta", columns="optimiser")
    assert len(panels(figure)) == 6
    figure = tm.plots.phase_diagram(found, "learning_rate", "loss.beta", "drop", rows="optimiser")
    assert [axes.get_title() for axes in panels(figure)] == ["optimiser = adam", "optimiser = sgd"]


def test_a_marginal_has_its_band(found):
    figure = tm.plots.marginal(found, "loss.beta", hue="learning_rate", columns="optimiser")
    axes = panels(figure)[0]
    assert axes.get_xscale() == "log"
    assert len(axes.lines) == 5
    np.testing.assert_allclose(axes.lines[4].get_ydata()[1:4], 5.025)
    band = axes.collections[4].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx(5 + 0.01 * 5 * 0.975)
    assert "95% of 6 seeds" in figure.get_suptitle()


def test_names_are_categories(found):
    figure = tm.plots.phase_diagram(found, "optimiser", "loss.beta")
    labels = [tick.get_text() for tick in panels(figure)[0].get_xticklabels()]
    assert labels == ["adam", "sgd"]


POLICIES = [tm.MLP(hidden=(8,)), tm.MLP(hidden=(16, 8), scale=2.0), tm.Tabular()]
SHORT = ["MLP(hidden=(8,), scale=1.0)", "MLP(hidden=(16, 8), scale=2.0)", "Tabular"]


def test_policies_are_told_by_what_differs():
    """In full they run off the figure: a legend, an axis and titles say no more than they must."""
    base = tm.Sweep(optimiser="sgd", learning_rate=1.0, steps=2)
    quick = [dataclasses.replace(policy, fit_steps=2) for policy in POLICIES[:2]] + POLICIES[2:]
    found = tm.sweep(base, {"policy": quick, "loss.beta": [0.1, 0.2]}, progress=False)
    legend = tm.plots.marginal(found, "loss.beta", "drop", hue="policy").legends[0]
    assert [text.get_text() for text in legend.get_texts()] == [f"policy = {n}" for n in SHORT]
    titles = [
        axes.get_title()
        for axes in panels(tm.plots.marginal(found, "loss.beta", "drop", columns="policy"))
    ]
    assert titles == [f"policy = {name}" for name in SHORT]
    figure = tm.plots.phase_diagram(found, "policy", "loss.beta", "drop")
    assert [tick.get_text() for tick in panels(figure)[0].get_xticklabels()] == SHORT


def test_names_that_are_no_parts_stay():
    assert labelled.short(["adam", "mine (2)"]) == ["adam", "mine (2)"]
    assert labelled.short([0.123456, np.float32(2.0)]) == ["0.123", "2"]


def test_drawn_cells_are_scattered():
    base = tm.Sweep(policy="tabular", optimiser="sgd", learning_rate=1.0, steps=20)
    ranges = {"loss.beta": tm.between(0.01, 1, log=True), "seed": [0, 1]}
    found = tm.sweep(base, tm.latin_hypercube(ranges, 12), progress=False)
    figure = tm.plots.scatter(found, "loss.beta", "seed", "drop")
    assert len(figure.axes[0].collections[0].get_offsets()) == 12
    with pytest.raises(tm.InputError, match="scatter"):
        tm.plots.phase_diagram(found, "loss.beta", "seed", "drop")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f: tm.plots.phase_diagram(f, "loss.bta", "seed"), "did you mean 'loss.beta'"),
        (lambda f: tm.plots.phase_diagram(f, "seed", "seed"), "different axes"),
        (lambda f: tm.plots.phase_diagram(f, "seed", "loss.beta", "dropp"), "did you mean 'drop'"),
        (lambda f: tm.plots.marginal(f, "seed", "drop", hue="seed"), "different axes"),
        (lambda f: tm.plots.marginal(f, "seed", "drop", band=2.0), "between 0 and 1"),
        (lambda f: tm.plots.scatter(f, "loss.beta", "learning_rate"), "phase_diagram"),
    ],
)
def test_what_is_refused(found, call, message):
    with pytest.raises(tm.InputError, match=message):
        call(found)


@pytest.mark.parametrize(
    ("values", "expected"),
    [(BETAS, True), (RATES, False), ([0.0, 1.0, 10.0], False), ([1.0], False), ([1, 10], True)],
)
def test_which_axes_are_logarithmic(values, expected):
    assert labelled.is_geometric(np.asarray(values, float)) == expected
