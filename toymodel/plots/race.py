"""Many losses side by side: a row a loss, a panel a measure, dots with intervals."""

from collections.abc import Mapping

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
_LOGARITHMIC = {"drop": 10.0, "drawdown": 0.01}  # linear below this, logarithmic above


def dots(summary: xr.Dataset, titles: Mapping[str, str]) -> Figure:
    """A panel a measure: the mean of the scenarios with its interval, each scenario in grey.

    Args:
        summary: for each measure [loss, scenario, part], with parts mean and half (of the
            interval) and a scenario ``mean``; tied [loss, scenario], whether a loss is
            indistinguishable from the best, which fills its dot in the first panel; and balanced
            [loss], which sets its name in italics.
        titles: the title of each measure, the one that sorts the losses first.

    Returns:
        The picture, the best loss on top.
    """
    first = next(iter(titles))
    final = summary[first].sel(scenario="mean", part="mean").values
    ordered = summary.isel(loss=np.argsort(final, kind="stable"))
    names = ordered["loss"].values
    with style():
        figure, axes = new_figure(1, len(titles), panel=(3.3, 1.2 + 0.235 * len(names)))
        for column, (ax, (measure, title)) in enumerate(zip(axes[0], titles.items(), strict=True)):
            filled = ordered.tied.sel(scenario="mean").values if measure == first else True
            _panel(ax, ordered[measure], _COLOURS.get(measure, CHOSEN), filled)
            if measure in _LOGARITHMIC:
                ax.set_xscale("symlog", linthresh=_LOGARITHMIC[measure])
                ax.set_xlim(left=0)
            else:
                ax.set_xlim(0, 1)
            ax.set_title(title)
            ax.set_yticks(range(len(names)), names if column == 0 else [""] * len(names))
            if column == 0:
                for text, italic in zip(ax.get_yticklabels(), ordered.balanced.values, strict=True):
                    text.set_style("italic" if italic else "normal")
            ax.set_ylim(-0.7, len(names) - 0.3)
        legend_below(figure, axes[0, 0], columns=3)
    return figure


def _panel(ax: Axes, values: xr.DataArray, colour: str, filled: np.ndarray | bool) -> None:
    rows = np.arange(values.sizes["loss"])
    scenarios = [name for name in values["scenario"].values if name != "mean"]
    for name, mark in zip(scenarios, _MARKS, strict=False):
        each = values.sel(scenario=name, part="mean")
        label = str(name).replace("_", " ")
        ax.plot(each, rows, mark, color=_GREY, ms=3.5, mfc="none", mew=0.8, label=label)
    mean, half = (values.sel(scenario="mean", part=part).values for part in ("mean", "half"))
    full = np.broadcast_to(filled, rows.shape)
    for kind, face, label in (
        (full, colour, "mean of the scenarios with 95 % interval"),
        (~full, "white", "the same, behind the best beyond chance"),
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
