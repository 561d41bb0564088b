"""The picture of `toymodel.why.chosen`."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toymodel.plots.style import CHOSEN, OUTSIDE, REJECTED, new_figure, style
from toymodel.studies.claims import DEGRADATION

_COLOURS = {
    "Adam": REJECTED,
    "one second moment an array": CHOSEN,
    "one second moment a unit": "#56B4E9",
    "each weight's own clock": "#CC79A7",
    "memory of 10 steps": "#E69F00",
    "hidden bias held": "0.55",
    "tanh units": OUTSIDE,
    "one prompt alone": "black",
}


def draw(found: xr.Dataset) -> Figure:
    """Six panels; see the figure's caption."""
    with style():
        figure, axes = new_figure(2, 3, panel=(4.6, 3.5))
        _curves(axes[0, 0], found)
        _pushes(axes[0, 1], found.sel(variant="Adam"))
        _ratios(axes[0, 2], found)
        _ages(axes[1, 0], found)
        _ingredients(axes[1, 1], found)
        _rates(axes[1, 2], found)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


def _band(axes: Axes, curves: xr.DataArray, colour: str, label: str, line: str = "-") -> None:
    """Mean over seeds, and the middle 95 % of them."""
    curves = curves.dropna("step", how="all")
    low, high = (curves.quantile(q, "seed").values for q in (0.025, 0.975))
    axes.fill_between(curves["step"].values, low, high, color=colour, alpha=0.12, linewidth=0)
    axes.plot(curves["step"].values, curves.mean("seed").values, line, color=colour, label=label)


def _curves(axes: Axes, found: xr.Dataset) -> None:
    for name, colour in _COLOURS.items():
        line = "-" if name in found["changed"] else "--"
        _band(axes, found["chosen"].sel(variant=name), colour, name, line)
    axes.set(xlabel="step", ylabel=r"$\pi(y_+)$, mean over prompts", ylim=(0, 1.02))
    axes.set_title("the chosen, at one learning rate")


def _pushes(axes: Axes, adam: xr.Dataset) -> None:
    total = adam["own"] + adam["others"] + adam["hidden"]
    for curves, colour, label, line in (
        (adam["own"], CHOSEN, "own pair's output weights", "-"),
        (adam["others"], "#E69F00", "other pairs' output weights", "-"),
        (adam["hidden"], "0.5", "the hidden layer", "-"),
        (total, "black", "all", "--"),
    ):
        _band(axes, 1e3 * curves, colour, label, line)
    peak = float(adam["chosen"].mean("seed").idxmax("step"))
    axes.axvline(peak, color="0.6", linewidth=1)
    axes.annotate("peak", (peak, 0.98), xycoords=("data", "axes fraction"), va="top", ha="left")
    axes.set(xlabel="step", ylabel=r"rise of $\log\pi(y_+)$ (nats in 1,000 steps)")
    axes.set_ylim(-31, 18)  # the legend stands below the curves
    axes.set_title("Adam: whose weights move the chosen")
    axes.legend(fontsize=8, loc="lower left")


def _ratios(axes: Axes, found: xr.Dataset) -> None:
    for name in list(_COLOURS)[:6]:
        line = "-" if name in found["changed"] else "--"
        _band(axes, found["ratio"].sel(variant=name), _COLOURS[name], name, line)
    axes.axhline(1, color="black", linewidth=1)
    axes.set(xlabel="step", ylabel="others' chosen raised / own raised", ylim=(0.4, 1.25))
    axes.set_title("above 1 the own chosen loses to others'")


def _ages(axes: Axes, found: xr.Dataset) -> None:
    for name in ("Adam", "memory of 10 steps"):
        for length, line, word in (("early", "-", "on from the start"), ("late", "--", "on later")):
            curves = found[f"{length}_length"].sel(variant=name)
            _band(axes, curves, _COLOURS[name], f"{name}: {word}", line)
    axes.set(xlabel="step", ylabel="step of an output weight (learning rates)")
    axes.set_title("steps by the age of the hidden unit")
    axes.set_ylim(0, 4.8)
    axes.legend(fontsize=8, loc="upper left")


def _ingredients(axes: Axes, found: xr.Dataset) -> None:
    names = found["ingredient"].values.tolist()
    row = found.sel(measure="drawdown")
    levels = [row["base"], *(row["without"].sel(ingredient=n) for n in names)]
    lows = [row["base_low"], *(row["without_low"].sel(ingredient=n) for n in names)]
    highs = [row["base_high"], *(row["without_high"].sel(ingredient=n) for n in names)]
    words = ["everything in", *(f"without {name}" for name in names)]
    places = np.arange(len(levels))[::-1]
    for place, word, level, low, high in zip(places, words, levels, lows, highs, strict=True):
        colour = REJECTED if float(low) > DEGRADATION else CHOSEN
        axes.plot([float(low), float(high)], [place, place], color=colour)
        axes.plot(float(level), place, "o", color=colour)
        axes.text(0.02, place + 0.22, f"{word}: {float(level):.2g}", fontsize=9)
    axes.axvline(DEGRADATION, color="0.6", linestyle=":", linewidth=1)
    axes.set_yticks([])
    axes.set(xlabel="degradation (nats), 95 % interval", ylim=(-0.5, len(levels) - 0.3))
    axes.set_title("ingredients, at an equal drop")


def _rates(axes: Axes, found: xr.Dataset) -> None:
    for name in found["changed"].values:
        one = found.sel(changed=name)
        drop, fall = one["drop"].mean("seed").values, one["drawdown"].mean("seed").values
        ends = np.abs([one["drawdown_low"].values, one["drawdown_high"].values] - fall[None])
        axes.errorbar(drop, fall, ends, fmt="o-", markersize=4, color=_COLOURS[str(name)])
    axes.set_xscale("log")
    ticks = [20, 50, 100, 200, 500]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set(xlabel="drop (nats)", ylabel="degradation (nats)")
    axes.set_title("at 1/2, 1 and 3 times the learning rate")
