"""Curves and clouds of a sweep: a result against one axis, with bands over seeds; drawn cells."""

import warnings

import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.figure import Figure

from toymodel._errors import refuse
from toymodel.plots import labelled
from toymodel.plots.style import PROBABILITY_MAP, QUANTITY_MAP, ROLE_COLOURS, new_figure, style

_COUNTED = (1, 2)


def marginal(
    found: xr.Dataset,
    x: str,
    value: str = "drawdown",
    *,
    hue: str | None = None,
    columns: str | None = None,
    band: float = 0.95,
) -> Figure:
    """One result against one axis of a sweep: mean over the rest, with a band over seeds.

    Args:
        found: what `toymodel.sweep` returned.
        x: the axis across.
        value: a variable, such as ``drop``, ``drawdown``, ``dispersion``.
        hue: an axis with a curve for each of its values.
        columns: an axis with a panel for each of its values.
        band: share of seeds inside the band; each seed counts by its mean over the rest.

    Raises:
        InputError: an axis or variable that the sweep does not have, or an axis used twice.
    """
    labelled.check_variable(found, value)
    used = [axis for axis in (x, hue, columns) if axis is not None]
    for axis in used:
        labelled.check_axis(found, axis)
    if len(set(used)) < len(used):
        raise refuse("x, hue, columns", used, "different axes")
    if not 0 < band < 1:
        raise refuse("band", band, "a share between 0 and 1")
    array = found[value].astype(float)
    if "status" in found:
        array = array.where(found["status"].isin(_COUNTED))
    array = array.mean([dim for dim in array.dims if dim not in (*used, "seed")])
    across = [None] if columns is None else list(found[columns].values)
    curves = [None] if hue is None else list(found[hue].values)
    heads = [""] if columns is None else labelled.short(across)
    names = [""] if hue is None else labelled.short(curves)
    scale = labelled.Scale.of(found, x)
    with style():
        figure, panels = new_figure(1, len(across))
        for axes, place, head in zip(panels[0], across, heads, strict=True):
            part = array if place is None else array.sel({columns: place})
            colours = _colours(found, hue, len(curves))
            for colour, key, name in zip(colours, curves, names, strict=True):
                one = part if key is None else part.sel({hue: key})
                mean = one.mean("seed") if "seed" in one.dims and x != "seed" else one
                told = None if key is None else f"{labelled.words(str(hue))} = {name}"
                axes.plot(scale.places, mean.values, "o-", markersize=3, color=colour, label=told)
                if "seed" in one.dims and x != "seed" and one.sizes["seed"] > 1:
                    ends = _band(one, band).transpose(..., x)
                    axes.fill_between(scale.places, *ends.values, color=colour, alpha=0.2, lw=0)
            scale.apply(axes, "x")
            axes.sharey(panels[0, 0])
            if columns is not None:
                axes.set_title(f"{labelled.words(columns)} = {head}")
        panels[0, 0].set_ylabel(labelled.meaning(found[value]))
        if hue is not None:
            figure.legend(
                *panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3
            )
        over = labelled.rest(found[value], [*used, "seed"])
        notes = [f"mean over {over}"] if over else []
        if "seed" in array.dims and x != "seed" and array.sizes["seed"] > 1:
            notes.append(f"band: {band:.0%} of {array.sizes['seed']} seeds")
        figure.suptitle("; ".join(notes), fontsize=9, color="#444444")
    return figure


def scatter(found: xr.Dataset, x: str, y: str, value: str = "drawdown") -> Figure:
    """Drawn cells (random or Latin-hypercube designs) by two settings, coloured by a result.

    Args:
        found: what `toymodel.sweep` returned.
        x: the setting across.
        y: the setting upwards, which moves along the same dimension.
        value: the variable that gives the colour, a mean over the rest.

    Raises:
        InputError: settings that the sweep does not have, or that form a grid.
    """
    labelled.check_variable(found, value)
    for name in (x, y):
        if name not in found.coords:
            labelled.check_axis(found, name)
    if found[x].dims != found[y].dims:
        mend = "use toymodel.plots.phase_diagram"
        raise refuse("x, y", (x, y), "two settings along one dimension", mend)
    dim = found[x].dims[0]
    array = found[value].astype(float)
    if "status" in found:
        array = array.where(found["status"].isin(_COUNTED))
    means = array.mean([other for other in array.dims if other != dim])
    with style():
        figure, panels = new_figure(panel=(5.0, 3.6))
        axes = panels[0, 0]
        points = axes.scatter(
            found[x].values,
            found[y].values,
            c=means.values,
            cmap=QUANTITY_MAP,
            s=24,
            edgecolors="#666666",
            linewidths=0.4,
        )
        for name, which in ((x, "x"), (y, "y")):
            values = np.sort(found[name].values.astype(float))
            if values[0] > 0 and values[-1] / values[0] > 30:
                (axes.set_xscale if which == "x" else axes.set_yscale)("log")
        axes.set(xlabel=labelled.words(x), ylabel=labelled.words(y))
        figure.colorbar(points, ax=axes, label=labelled.meaning(found[value]))
        over = labelled.rest(found[value], [str(dim)])
        figure.suptitle(f"mean over {over}" if over else "", fontsize=9, color="#444444")
    return figure


def _band(one: xr.DataArray, share: float) -> xr.DataArray:
    """Both ends of the middle share of seeds; NaN where no seed counts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of a slice without numbers
        return one.quantile([(1 - share) / 2, (1 + share) / 2], "seed")


def _colours(found: xr.Dataset, hue: str | None, count: int) -> list:
    """Steps of the sequential map for numbers, the palette for a few names."""
    palette = list(ROLE_COLOURS.values())
    if hue is None or (found[hue].dtype.kind not in "iuf" and count <= len(palette)):
        return palette[:count]
    return [colormaps[PROBABILITY_MAP](share) for share in np.linspace(0.0, 0.9, count)]
