"""Phase diagrams: any result of a sweep over two of its axes, and where a property sets in."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke

from toymodel._errors import refuse
from toymodel.plots import labelled
from toymodel.plots.style import QUANTITY_MAP, new_figure, style

#: The onset that belongs to each property's size.
ONSETS = {
    "drop": "drop_onset",
    "drawdown": "degradation_onset",
    "dispersion": "dispersion_onset",
}
_TITLES = {"drop": "Drop", "drawdown": "Degradation", "dispersion": "Dispersion"}
_LINES: dict[float, Any] = {0.05: ":", 0.5: "-", 0.95: "--"}
_COUNTED = (1, 2)  # status of cells that count: ok and poor fit
_NARROW = 6.0  # inches, below which a legend of two columns would be cut off


def phase_diagram(
    found: xr.Dataset,
    x: str,
    y: str,
    value: str = "drawdown",
    *,
    columns: str | None = None,
    rows: str | None = None,
) -> Figure:
    """A map of one result over two axes of a sweep, as small multiples over up to two more.

    Colours are means over everything else (prompts, seeds and remaining axes). Black lines enclose
    where a property set in for 5 %, 50 % and 95 % of all seeds and prompts. Cells that were not
    computed, or whose numbers are not finite, are hatched.

    Args:
        found: what `toymodel.sweep` returned.
        x: the axis across, such as ``loss.beta_rejected``.
        y: the axis upwards.
        value: a variable, such as ``drop``, ``drawdown``, ``dispersion``, ``outside_final``.
        columns: an axis whose values stand side by side.
        rows: an axis whose values stand one above the other.

    Raises:
        InputError: an axis or variable that the sweep does not have, or an axis used twice.

    Example:
        >>> import toymodel as tm
        >>> base = tm.Sweep(policy="tabular", optimiser="sgd", steps=50)
        >>> over = {"loss.beta": [0.1, 0.3, 1.0], "learning_rate": [0.1, 1.0]}
        >>> figure = phase_diagram(tm.sweep(base, over), "learning_rate", "loss.beta", "drop")
        >>> figure.axes[0].get_xlabel()
        'learning rate'
    """
    labelled.check_variable(found, value)
    return _maps(found, x, y, [value], columns, rows)


def three_phases(found: xr.Dataset, x: str, y: str, *, columns: str | None = None) -> Figure:
    """Drop, degradation and dispersion one above the other, by the values of a third axis.

    Args:
        found: what `toymodel.sweep` returned, with properties recorded.
        x: the axis across.
        y: the axis upwards.
        columns: an axis whose values stand side by side.
    """
    return _maps(found, x, y, list(ONSETS), columns, None)


def _maps(
    found: xr.Dataset, x: str, y: str, values: Sequence[str], columns: str | None, rows: str | None
) -> Figure:
    used = [axis for axis in (x, y, columns, rows) if axis is not None]
    for axis in used:
        labelled.check_axis(found, axis)
    if len(set(used)) < len(used):
        raise refuse("x, y, columns, rows", used, "different axes")
    down = [(value, None) for value in values] if rows is None else []
    down = down or [(values[0], label) for label in found[rows].values]
    across = [None] if columns is None else list(found[columns].values)
    heads = [""] if columns is None else labelled.short(across)
    sides = [""] * len(down) if rows is None else labelled.short(found[rows].values)
    with style():
        figure, panels = new_figure(len(down), len(across), panel=(3.5, 2.9))
        missing = False
        for at, (value, label) in enumerate(down):
            chosen = found if label is None else found.sel({rows: label})
            limits = _limits(chosen if rows is None else found, value, x, y, columns, rows)
            for axes, place, name in zip(panels[at], across, heads, strict=True):
                part = chosen if place is None else chosen.sel({columns: place})
                image, holes = _map(axes, part, x, y, value, limits)
                missing |= holes
                named = [f"{labelled.words(columns)} = {name}"] if columns else []
                named += [f"{labelled.words(rows)} = {sides[at]}"] if rows else []
                head = [_TITLES.get(value, labelled.words(value))] if rows is None else []
                axes.set_title(", ".join(head + named))
            figure.colorbar(image, ax=list(panels[at]), label=labelled.meaning(found[value]))
        _legend(figure, any(ONSETS.get(value) in found for value, _ in down), missing)
        rest = labelled.rest(found[values[0]], used)
        figure.suptitle(f"mean over {rest}" if rest else "", fontsize=9, color="#444444")
    return figure


def _averaged(found: xr.Dataset, name: str, keep: Sequence[str]) -> xr.DataArray:
    """The mean of a variable over all dims but some, of the cells that count."""
    array = found[name].astype(float)
    if "status" in found:
        array = array.where(found["status"].isin(_COUNTED))
    return array.mean([dim for dim in array.dims if dim not in keep])


def _limits(
    found: xr.Dataset, value: str, x: str, y: str, columns: str | None, rows: str | None
) -> Normalize:
    """One scale for all panels of a row of the figure."""
    keep = [axis for axis in (x, y, columns, rows) if axis is not None]
    means = _averaged(found, value, keep).values
    finite = means[np.isfinite(means)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    if low >= 0 and low < 0.5 * high:
        low = 0.0
    return Normalize(low, high if high > low else low + 1)


def _map(
    axes: Axes, part: xr.Dataset, x: str, y: str, value: str, limits: Normalize
) -> tuple[QuadMesh, bool]:
    """One panel; returns its image and whether cells are missing."""
    table = _averaged(part, value, (x, y)).transpose(y, x)
    scales = [labelled.Scale.of(part, axis) for axis in (x, y)]
    image = axes.pcolormesh(
        scales[0].edges, scales[1].edges, table.values, cmap=QUANTITY_MAP, norm=limits
    )
    holes = ~np.isfinite(table.values)
    for row, column in np.argwhere(holes):
        corner = scales[0].edges[column], scales[1].edges[row]
        size = np.diff(scales[0].edges)[column], np.diff(scales[1].edges)[row]
        axes.add_patch(Rectangle(corner, *size, fill=False, hatch="////", linewidth=0))
    onset = ONSETS.get(value)
    if onset in part and min(table.shape) > 1:
        came = part[onset].notnull().astype(float)
        if "status" in part:
            came = came.where(part["status"].isin(_COUNTED))
        share = came.mean([dim for dim in came.dims if dim not in (x, y)]).transpose(y, x).values
        levels = [level for level in _LINES if np.nanmin(share) < level <= np.nanmax(share)]
        if levels:
            lines = axes.contour(
                *(scale.places for scale in scales),
                share,
                levels,
                colors="black",
                linewidths=[_width(level) for level in levels],
                linestyles=[_LINES[level] for level in levels],
            )
            lines.set_path_effects([withStroke(linewidth=3.5, foreground="white", alpha=0.7)])
    for scale, which in zip(scales, "xy", strict=True):
        scale.apply(axes, which)
    axes.grid(False)
    return image, bool(holes.any())


def _width(share: float) -> float:
    return 2.2 if share == 0.5 else 1.1


def _legend(figure: Figure, has_onset: bool, missing: bool) -> None:
    handles: list[Line2D | Patch] = []
    if has_onset:
        handles += [
            Line2D(
                [],
                [],
                color="black",
                linestyle=line,
                linewidth=_width(share),
                label=f"sets in for {share:.0%} of seeds and prompts",
            )
            for share, line in _LINES.items()
        ]
    if missing:
        handles.append(Patch(facecolor="none", hatch="///", label="not computed or not finite"))
    if handles:
        columns = 2 if figure.get_figwidth() > _NARROW else 1
        figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=9)
