"""The picture of the study of over-optimisation."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toymodel.attribution.effects import estimate
from toymodel.plots.style import CHOSEN, OUTSIDE, REJECTED, legend_below, new_figure, style

_LINES = {"optimum": "-", "best of n": "--"}


def draw(found: xr.Dataset) -> Figure:
    """A row a form of reward model, a column an amount of data: both rewards over the KL."""
    leaning = found.isel(leaning=0)
    with style():
        figure, axes = new_figure(2, found.sizes["pairs"], panel=(4.4, 3.4))
        for row, form in zip(axes, found["form"].values, strict=True):
            for panel, pairs in zip(row, found["pairs"].values, strict=True):
                _panel(panel, leaning.sel(form=form, pairs=pairs))
                panel.set_title(f"{form} reward, {pairs} pairs")
        legend_below(figure, axes[0, 0], columns=5)
    return figure


def _panel(axes: Axes, found: xr.Dataset) -> None:
    for path, line in _LINES.items():
        one = found.sel(path=path)
        _curve(axes, one, "gold", CHOSEN, line, f"true reward, {path}")
        _curve(axes, one, "proxy", REJECTED, line, f"learnt reward, {path}")
    _curve(
        axes,
        found.sel(path="true optimum"),
        "gold",
        OUTSIDE,
        ":",
        "true reward, pursued itself (optimum)",
    )
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set(xlabel=r"$\mathrm{KL}(\pi\,\|\,\pi_0)$ (nats), square-root scale")
    axes.set(ylabel="reward gained (units of temperature)", ylim=(-0.5, 2.0))
    axes.set_xscale("function", functions=(lambda x: np.sqrt(np.maximum(x, 0)), np.square))
    axes.set_xticks([0, 0.1, 0.5, 1, 2, 3, 4])
    axes.set_xlim(0, 4)


def _curve(axes: Axes, found: xr.Dataset, what: str, colour: str, line: str, label: str) -> None:
    """Mean and interval over the worlds at each KL, as far as every world goes."""
    divergence, values = (found[name].transpose("seed", "strength").values for name in ("kl", what))
    grid = np.linspace(0, np.sqrt(0.999 * divergence.max(axis=1).min()), 60) ** 2
    rows = [np.interp(grid, x, y) for x, y in zip(divergence, values, strict=True)]
    got = estimate(np.stack(rows, axis=1))
    axes.plot(grid, got.mean, line, color=colour, label=label)
    axes.fill_between(grid, got.low, got.high, color=colour, alpha=0.15, linewidth=0)
