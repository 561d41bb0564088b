"""Many losses side by side: a row a loss, a panel a measure, dots with intervals."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toymodel.plots.style import CHOSEN, OUTSIDE, REJECTED, legend_below, new_figure, style

_COLOURS = {
    "final_chosen": CHOSEN,
    "drop": REJECTED,
    "drawdown": CHOSEN,
    "dispersion": OUTSIDE,
}
_MARKS = ("o", "s", "^", "D", "v", "P")
_GREY = "#8A8A8A"
#: Axes that are linear below the first number and logarithmic above, with their marks.
_LOGARITHMIC: dict[str, tuple[float, list[float]]] = {
    "drop": (10.0, [0, 10, 100]),
    "drawdown": (0.01, [0, 0.1, 1, 10, 100]),
}
_MARGIN = 0.04  # so that dots at zero and one are whole


def dots(summary: xr.Dataset, panels: Sequence[tuple[str, str, str]]) -> Figure:
    """For each panel the mean of the scenarios with its interval, each scenario in grey.

    Args:
        summary: for each measure [rule, loss, scenario, part], with parts mean and half (of the
            interval) and a scenario ``mean``; near [rule, loss, scenario], whether a loss is close
            to the best, which fills its dot; and balanced [loss], which sets its name in italics.
        panels: rule, measure and title of each; the second sorts the losses.

    Returns:
        The picture, the best loss on top.
    """
    rule, measure, _ = panels[1]
    final = summary[measure].sel(rule=rule, scenario="mean", part="mean").values
    ordered = summary.isel(loss=np.argsort(final, kind="stable"))
    names = ordered["loss"].values
    with style():
        figure, axes = new_figure(1, len(panels), panel=(2.9, 1.4 + 0.23 * len(names)))
        for ax, (rule, measure, title) in zip(axes[0], panels, strict=True):
            filled = measure != "final_chosen" or ordered.near.sel(rule=rule, scenario="mean")
            _panel(ax, ordered[measure].sel(rule=rule), _COLOURS[measure], np.asarray(filled))
            ax.set_title(title)
            ax.set_yticks(range(len(names)), [""] * len(names))
            ax.set_ylim(-0.7, len(names) - 0.3)
            if measure in _LOGARITHMIC:
                threshold, marks = _LOGARITHMIC[measure]
                ax.set_xscale("symlog", linthresh=threshold, linscale=0.5)
                ax.set_xticks(marks, [f"{mark:g}" for mark in marks])
                ax.minorticks_off()
                ax.set_xlim(
                    min(ax.dataLim.x0, 0) - threshold / 5, 1.5 * max(ax.dataLim.x1, threshold)
                )
            else:
                ax.set_xlim(-_MARGIN, 1 + _MARGIN)
        axes[0, 0].set_yticks(range(len(names)), names)
        for label, italic in zip(
            axes[0, 0].get_yticklabels(), ordered.balanced.values, strict=True
        ):
            label.set_style("italic" if italic else "normal")
        legend_below(figure, axes[0, 1], columns=3)
    return figure


def _panel(ax: Axes, values: xr.DataArray, colour: str, filled: np.ndarray) -> None:
    rows = np.arange(values.sizes["loss"])
    scenarios = [name for name in values["scenario"].values if name != "mean"]
    for name, mark in zip(scenarios, _MARKS, strict=False):
        each = values.sel(scenario=name, part="mean")
        label = str(name).replace("_", " ")
        ax.plot(each, rows, mark, color=_GREY, ms=3.5, mfc="none", mew=0.8, label=label)
    mean, half = (values.sel(scenario="mean", part=part).values for part in ("mean", "half"))
    full = np.broadcast_to(filled, rows.shape)
    for kind, face, label in (
        (full, colour, "mean of the scenarios, 95 % interval"),
        (~full, "white", "the same, more than 0.01 behind the best"),
    ):
        if kind.any():
            ax.errorbar(
                mean[kind],
                rows[kind],
                xerr=half[kind],
                fmt="o",
                color=colour,
                mfc=face,
                ms=6,
                lw=2,
                label=label,
            )
