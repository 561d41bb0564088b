"""The picture of `toymodel.why.flex`."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toymodel.attribution import estimate
from toymodel.plots.style import CHOSEN, OUTSIDE, REJECTED, new_figure, style
from toymodel.why.flex_rules import success

_NAMES = {"sgd": "gradient descent", "adam": "Adam"}
_FORMS = {"all": "black", "pace": REJECTED, "sum": CHOSEN, "clock": OUTSIDE}
_LABELS = {
    "all": "Flex-DPO, all three",
    "pace": "pace alone",
    "sum": "sum force alone",
    "clock": "clock alone",
}
_LINES = ("-", "--", ":", "-.")
_SHORTFALL = r"$1 - \pi(y_+)$"


def draw(found: xr.Dataset) -> Figure:
    """Six panels; see the figure's caption."""
    with style():
        figure, axes = new_figure(2, 3, panel=(4.6, 3.7))
        for row, optimiser in zip(axes, _NAMES, strict=True):
            one = found.sel(optimiser=optimiser)
            _by_length(row[0], one)
            _by_force(row[1], one)
            row[0].set_title(f"{_NAMES[optimiser]}: the best ratio moves")
            row[1].set_title(f"{_NAMES[optimiser]}: one force at a time")
        axes[1, 0].set_title("Adam: a cliff at ratio 1")
        axes[1, 1].set_title("Adam: of the forces only the sum matters")
        _at_drop(axes[0, 2], found)
        _rules(axes[1, 2], found)
    return figure


def _line(axes: Axes, x: np.ndarray, values: np.ndarray, **look: Any) -> None:
    """A mean over the last axis, with its interval."""
    interval = estimate(values)
    axes.plot(x, interval.mean, **look)
    axes.fill_between(x, interval.low, interval.high, color=look["color"], alpha=0.2, linewidth=0)


def _over_ratio(axes: Axes, label: str) -> None:
    axes.axvline(1, color="0.6", linewidth=1)
    axes.set_xscale("log")
    axes.set_xticks([0.05, 0.1, 0.2, 0.5, 1, 2], ["0.05", "0.1", "0.2", "0.5", "1", "2"])
    axes.minorticks_off()
    axes.set(xlabel=r"$\beta_-/\beta_+$", ylabel=label)


def _by_length(axes: Axes, found: xr.Dataset) -> None:
    shades = colormaps["viridis"](np.linspace(0, 0.85, found.sizes["length"]))
    short = found["shortfall"].mean("scenario")
    for length, shade in zip(found["length"].values, shades, strict=True):
        one = short.sel(length=length).transpose("ratio", "seed").values
        _line(axes, found["ratio"].values, one, color=shade, label=f"{length:,} steps")
    _over_ratio(axes, f"{_SHORTFALL}, mean of four scenarios")
    axes.set(yscale="log", ylim=(1e-4, 20))  # the legend stands above 1
    axes.set_yticks(10.0 ** np.arange(-4, 1))
    axes.legend(fontsize=8, ncols=2, loc="upper left")


def _by_force(axes: Axes, found: xr.Dataset) -> None:
    whole = found["shortfall"].sel(scenario="both_on_policy", length=500)
    whole = whole.sel(ratio=found["part_ratio"].values)
    parts = {"all": whole.transpose("ratio", "seed").values}
    for form in found["form"].values:
        alone = found["part"].sel(form=form, length=500)
        parts[form] = alone.transpose("part_ratio", "seed").values
    for form, values in parts.items():
        look = {"color": _FORMS[form], "label": _LABELS[form]}
        _line(axes, found["part_ratio"].values, values, marker="o", markersize=3, **look)
    _over_ratio(axes, f"{_SHORTFALL} after 500 steps, both on policy")
    axes.set_ylim(bottom=0, top=1.45 * axes.get_ylim()[1])
    axes.legend(fontsize=8, ncols=2, loc="upper left")


def _at_drop(axes: Axes, found: xr.Dataset) -> None:
    for optimiser, colour in (("sgd", CHOSEN), ("adam", REJECTED)):
        for name, line in zip(found["scenario"].values, _LINES, strict=True):
            level = found["chosen_at_drop"].sel(optimiser=optimiser, scenario=name)
            values = level.transpose("ratio", "seed").values
            label = f"{_NAMES[optimiser]}, {name.replace('_', ' ')}"
            look = {"color": colour, "linestyle": line, "label": label}
            _line(axes, found["ratio"].values, values, **look)
    _over_ratio(axes, r"$\pi(y_+)$ when the drop is 30 nats")
    axes.set_ylim(-0.03, 1.75)
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.set_title("at an equal drop smaller is better")
    axes.legend(fontsize=7, ncols=2, loc="upper center", handlelength=3.6)


def _rules(axes: Axes, found: xr.Dataset) -> None:
    rules = found["rule"].values
    for shift, (optimiser, colour) in zip(
        (-0.15, 0.15), (("sgd", CHOSEN), ("adam", REJECTED)), strict=True
    ):
        for place, rule in enumerate(rules):
            share, low, high = success(found["lost"].sel(optimiser=optimiser, rule=rule))
            label = _NAMES[optimiser] if place == 0 else None
            axes.plot([low, high], [place + shift] * 2, color=colour)
            axes.plot(share, place + shift, "o", color=colour, label=label)
    axes.set_yticks(range(len(rules)), rules)
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), xlabel="share of settings within 0.02 of the best ratio")
    axes.set_title("rules, judged on other settings")
    axes.legend(fontsize=8, loc="lower right")
