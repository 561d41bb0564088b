"""Pictures of an attribution: effects with their intervals, and how ingredients interact."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toymodel.attribution import Attribution
from toymodel.attribution.result import TITLES
from toymodel.plots.style import CHOSEN, OUTSIDE, REJECTED, new_figure, style

_KINDS = {
    "removing": ("lost where it is taken out", REJECTED, 0.2),
    "adding": ("gained where it is put in alone", CHOSEN, 0.0),
    "main": ("mean over all combinations", OUTSIDE, -0.2),
}


def effects(found: Attribution) -> Figure:
    """Effects of each ingredient on each measure; below, interactions, where all were run.

    Args:
        found: of `toymodel.attribution.attribute`.

    Returns:
        A panel a measure: dots are means over seeds, whiskers their intervals. A red cell of the
        lower row says that two ingredients do more together than apart.

    Example:
        >>> import toymodel as tm
        >>> base = tm.Sweep(policy="tabular", learning_rate=0.1, steps=9)
        >>> found = tm.attribute(base, {"momentum": {"optimiser.b1": 0.0}}, seeds=2)
        >>> figure = tm.plots.effects(found)
        >>> figure.axes[0].get_title()
        'drop (nats)'
    """
    data, measures = found.to_xarray(), list(found.limits)
    has_all = "interaction" in data
    with style():
        figure, axes = new_figure(1 + has_all, len(measures), panel=(4.4, 3.2))
        for column, measure in enumerate(measures):
            one = data.sel(measure=measure)
            _effects(axes[0, column], one, TITLES.get(measure, measure), names=column == 0)
            if has_all:
                _interactions(figure, axes[1, column], one, names=column == 0)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def _effects(axes: Axes, one: xr.Dataset, title: str, *, names: bool) -> None:
    ingredients = one["ingredient"].values.tolist()
    places = np.arange(len(ingredients))[::-1]
    for kind, (label, colour, shift) in _KINDS.items():
        if kind in one:
            mean, low, high = (one[f"{kind}{end}"].values for end in ("", "_low", "_high"))
            ends = np.abs([mean - low, high - mean])
            axes.errorbar(
                mean, places + shift, xerr=ends, fmt="o", markersize=5, color=colour, label=label
            )
    axes.axvline(0, color="black", linewidth=1)
    axes.set_yticks(places, ingredients if names else [""] * len(ingredients))
    axes.set(xlabel=f"effect on {title}", ylim=(-0.5, len(ingredients) - 0.5), title=title)


def _interactions(figure: Figure, axes: Axes, one: xr.Dataset, *, names: bool) -> None:
    values = one["interaction"].transpose("ingredient", "other").values
    ingredients = one["ingredient"].values.tolist()
    most = float(np.nanmax(np.abs(values), initial=1e-9, where=np.isfinite(values)))
    image = axes.imshow(values, cmap="RdBu_r", vmin=-most, vmax=most, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            colour = "white" if abs(value) > 0.6 * most else "black"
            axes.text(
                column, row, f"{value:.2g}", ha="center", va="center", fontsize=8, color=colour
            )
    places = range(len(ingredients))
    axes.set_xticks(places, ingredients, rotation=30, ha="right", fontsize=8)
    axes.set_yticks(places, ingredients if names else [""] * len(ingredients))
    axes.grid(False)
    axes.set_title("interactions of two")
    figure.colorbar(image, ax=axes)
