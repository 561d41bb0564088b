"""Curves over training: likelihoods, log-likelihoods and gradients, with a band over seeds."""

import math
from typing import Any, cast

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toymodel._errors import refuse
from toymodel.plots.style import CHOSEN, OUTSIDE, REJECTED, legend_below, new_figure, style
from toymodel.trajectory import Trajectory

_BAND = (0.025, 0.975)

#: The paper's likelihood curves: variable, label, colour, line style.
LIKELIHOOD_LINES = (
    ("chosen_mean", "chosen, mean over prompts", CHOSEN, "-"),
    ("chosen_min", "chosen, minimum", CHOSEN, "--"),
    ("rejected_mean", "rejected, mean over prompts", REJECTED, "-"),
    ("rejected_max", "rejected, maximum", REJECTED, "--"),
    ("unseen_mean", "outside the pair, mean of one response", OUTSIDE, "-"),
)


def line_with_band(axes: Axes, values: xr.DataArray, **line: Any) -> None:
    """A curve over steps; over seeds, its median with the central 95 % shaded.

    A dashed curve's band is outlined instead, so that two bands of one colour stay apart.
    """
    x = values["step"].values
    if "seed" not in values.dims:
        axes.plot(x, values.values, **line)
        return
    low, middle, high = np.quantile(
        values.transpose("seed", "step").values, [_BAND[0], 0.5, _BAND[1]], axis=0
    )
    if line.get("linestyle") == "--":
        for edge in (low, high):
            axes.plot(x, edge, color=line["color"], linestyle="--", linewidth=0.6)
    else:
        axes.fill_between(x, low, high, color=line["color"], alpha=0.18, linewidth=0)
    axes.plot(x, middle, **line)


def _axes(ax: Axes | None) -> tuple[Figure, Axes]:
    if ax is None:
        figure, grid = new_figure(panel=(6.4, 4.2))
        return figure, grid[0, 0]
    return cast(Figure, ax.get_figure()), ax


def likelihoods(
    run: Trajectory | xr.Dataset, ax: Axes | None = None, *, legend: bool = True
) -> Figure:
    """The paper's likelihood curves: chosen, rejected and outside the pair, over training.

    Args:
        run: a run, or what its `likelihoods()` gave.
        ax: axes to draw on; default a new figure.
        legend: whether to put a legend below the figure.

    Returns:
        The figure.

    Example:
        >>> import toymodel as tm
        >>> run = tm.simulate("both_on_policy", "tabular", "dpo", "sgd", learning_rate=1.0, steps=9)
        >>> tm.plots.likelihoods(run).axes[0].get_ylabel()
        'probability'
    """
    data = run.likelihoods() if isinstance(run, Trajectory) else run
    with style():
        figure, axes = _axes(ax)
        for name, label, colour, dashes in LIKELIHOOD_LINES:
            line_with_band(axes, data[name], color=colour, linestyle=dashes, label=label)
        axes.set(xlabel="training step (updates)", ylabel="probability", ylim=(0, None))
        axes.set_title(str(data.attrs.get("scenario", "")).replace("_", " "))
        if legend:
            legend_below(figure, axes, columns=2)
    return figure


def log_likelihoods(
    run: Trajectory | xr.Dataset, ax: Axes | None = None, *, legend: bool = True
) -> Figure:
    """log10 pi(y+) and log10 pi(y-), mean over pairs, over training.

    Args:
        run: a run, or what its `pair_log_probs()` gave (nats).
        ax: axes to draw on; default a new figure.
        legend: whether to put a legend below the figure.
    """
    data = run.pair_log_probs() if isinstance(run, Trajectory) else run
    return _pair_lines(data / math.log(10), ax, "log10 probability", "log10 pi({})", legend)


def log_gradients(
    run: Trajectory | xr.Dataset, ax: Axes | None = None, *, legend: bool = True
) -> Figure:
    """log10 |dL/dpi(y+)| and log10 |dL/dpi(y-)|, mean over pairs, over training.

    Args:
        run: a run, or what its `probability_gradients()` gave (log10).
        ax: axes to draw on; default a new figure.
        legend: whether to put a legend below the figure.
    """
    data = run.probability_gradients() if isinstance(run, Trajectory) else run
    return _pair_lines(data, ax, "log10 size of the gradient", "log10 |dL/dpi({})|", legend)


def _pair_lines(data: xr.Dataset, ax: Axes | None, ylabel: str, label: str, legend: bool) -> Figure:
    if "chosen" not in data:
        raise refuse("run", f"variables {list(data)}", "a Trajectory, or 'chosen' and 'rejected'")
    with style():
        figure, axes = _axes(ax)
        for name, colour in (("chosen", CHOSEN), ("rejected", REJECTED)):
            values = data[name].mean("pair")
            line_with_band(axes, values, color=colour, label=label.format(name))
        axes.set(xlabel="training step (updates)", ylabel=ylabel)
        if legend:
            legend_below(figure, axes, columns=2)
    return figure
