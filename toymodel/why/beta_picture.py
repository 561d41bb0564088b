"""The picture of `toymodel.why.beta`."""

import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toymodel.plots.style import CHOSEN, REJECTED, new_figure, style

_COLOURS = {"adam": REJECTED, "sgd": CHOSEN}
_NAMES = {"adam": "Adam", "sgd": "gradient descent"}
_LINES = (":", "-", "--")


def draw(found: xr.Dataset) -> Figure:
    """Six panels; see the figure's caption."""
    with style():
        figure, axes = new_figure(2, 3, panel=(4.4, 3.3))
        _gradients(axes[0, 0], found)
        for place, name, label, title in (
            ((0, 1), "margin", "final margin (nats)", "the margin that training reaches"),
            ((0, 2), "final_chosen", r"final $\pi(y_+)$", "the chosen at the end"),
            ((1, 0), "drawdown", "degradation (nats)", "degradation at the end"),
            ((1, 1), "fall_at_5", "degradation (nats)", "degradation at a margin of 5 nats"),
            ((1, 2), "fall_at_60", "degradation (nats)", "degradation at a margin of 60 nats"),
        ):
            _over_beta(axes[place], found, name, label)
            axes[place].set_title(title)
        axes[0, 1].set_yscale("log")
        handles, labels = axes[0, 1].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def _gradients(axes: Axes, found: xr.Dataset) -> None:
    shades = colormaps["viridis"](np.linspace(0, 0.85, found.sizes["shown"]))
    for beta, shade in zip(found["shown"].values, shades, strict=True):
        values = found["rejected_gradient"].sel(shown=beta).values
        axes.plot(found["fallen"].values, values, color=shade, label=rf"$\beta$ = {beta:g}")
    axes.set(
        xlabel=r"$\log_{10}\pi(y_-)$, falling to the right",
        ylabel=r"$\log_{10}|\partial L/\partial\pi(y_-)|$",
        ylim=(-14, 13),
    )
    axes.invert_xaxis()
    axes.set_title("Corollary 2: to infinity only below 1")
    axes.legend(fontsize=8)


def _over_beta(axes: Axes, found: xr.Dataset, name: str, label: str) -> None:
    """One number over beta, for both optimisers and three rates, with intervals."""
    for optimiser, colour in _COLOURS.items():
        for multiple, line in zip(found["multiple"].values, _LINES, strict=True):
            one = found.sel(optimiser=optimiser, multiple=multiple)
            beta = one["beta"].values
            axes.fill_between(
                beta, one[f"{name}_low"], one[f"{name}_high"], color=colour, alpha=0.15, linewidth=0
            )
            words = f"{_NAMES[optimiser]}, {multiple:g} of its rate"
            axes.plot(beta, one[name].mean("seed").values, line, color=colour, label=words)
    axes.axvline(1, color="0.6", linewidth=1)
    axes.set_xscale("log")
    axes.set_xlim(0.008, 12)
    axes.set(xlabel=r"$\beta$", ylabel=label)
