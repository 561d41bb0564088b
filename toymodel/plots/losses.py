"""Pictures of a loss: the portrait of its slopes and the phase portrait of its flow."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toymodel import losses as registry
from toymodel import portraits
from toymodel.losses import PreferenceLoss
from toymodel.plots.style import CHOSEN, OUTSIDE, REJECTED, legend_below, new_figure, style

_REFERENCE = "both_on_policy"


def portrait(loss: PreferenceLoss | str) -> Figure:
    """A loss in one figure: its slopes, and its flow over the triangle of probabilities.

    Args:
        loss: a loss, or the name of one.

    Returns:
        The figure.

    Example:
        >>> len(portrait("dpo").axes)
        2
    """
    loss = registry.get(loss)
    field = portraits.slope_field(loss)
    with style():
        if field.attrs["of_margin"]:
            figure, axes = new_figure(1, 2, panel=(4.6, 3.9))
            _slopes_over_margin(axes[0, 0], field)
        else:
            figure, axes = new_figure(1, 3, panel=(4.4, 3.9))
            for ax, half in zip(axes[0, :2], ("chosen", "rejected"), strict=True):
                _slopes_over_plane(figure, ax, field, half)
        phase(loss, axes[0, -1])
        figure.suptitle(f"{loss}: L = {loss.formula}", fontsize=9)
        legend_below(figure, axes[0, -1], columns=3)
    return figure


def phase(loss: PreferenceLoss, ax: Axes, *, small: bool = False) -> None:
    """Gradient flow over the triangle: arrows, paths from the four starts, where they rest."""
    reference = portraits.starts()[_REFERENCE]
    field = portraits.phase_field(loss, reference, points=9 if small else 13)
    speed = np.hypot(field["chosen_velocity"], field["rejected_velocity"])
    scale = np.where(speed > 1e-12, speed, np.inf)  # a point at rest has no arrow
    ax.quiver(
        field["chosen"], field["rejected"],
        field["chosen_velocity"] / scale, field["rejected_velocity"] / scale,
        color="0.6", angles="xy", scale=14 if small else 22, width=0.006, pivot="mid",
    )  # fmt: skip
    paths = portraits.phase_paths(loss, reference)
    for name in paths["start"].values:
        path = paths.sel(start=name)
        ax.plot(path["chosen"], path["rejected"], color=CHOSEN, lw=1.2, label="path")
        ax.plot(*_end(path, 0), "o", color=OUTSIDE, ms=3.5, label="start of a scenario")
        if not bool(path["moves"]):
            ax.plot(*_end(path, -1), "s", color=REJECTED, ms=5, label="rests (speed below 1e-9)")
    ax.plot([0, 1], [1, 0], color="black", lw=0.8)
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    if not small:
        ax.set(xlabel="pi(chosen)", ylabel="pi(rejected)", title="gradient flow, one tabular pair")


def gallery(names: Sequence[str] = (), columns: int = 6) -> Figure:
    """All losses as small phase portraits; arrows have unit length, so only directions compare.

    Args:
        names: of losses; default: all that are registered.
        columns: panels in a row.

    Example:
        >>> figure = gallery(["dpo", "ipo"], columns=2)
        >>> [axes.get_title() for axes in figure.axes]
        ['dpo', 'ipo']
    """
    shown = list(names) or registry.names()
    rows = -(-len(shown) // columns)
    with style():
        figure, axes = new_figure(rows, columns, panel=(1.9, 2.0))
        for ax in axes.flat[len(shown) :]:
            ax.set_visible(False)
        for ax, name in zip(axes.flat, shown, strict=False):
            phase(registry.get(name), ax, small=True)
            ax.set_title(name, fontsize=9)
            ax.set_xticks([0, 1])
            ax.set_yticks([0, 1])
        figure.supxlabel("pi(chosen)", fontsize=9)
        figure.supylabel("pi(rejected)", fontsize=9)
    return figure


def _end(path: xr.Dataset, at: int) -> tuple[Any, Any]:
    return path["chosen"].values[at], path["rejected"].values[at]


def _slopes_over_margin(ax: Axes, field: xr.Dataset) -> None:
    """Both slopes along c = -r, which covers margins to twice the plane's half-width."""
    diagonal = xr.DataArray(np.arange(field.sizes["c"]), dims="margin")
    line = field.isel(c=diagonal, r=diagonal[::-1])
    margin = line["c"].values - line["r"].values
    for half, colour, label in (("chosen", CHOSEN, "a+"), ("rejected", REJECTED, "a-")):
        ax.plot(margin, line[half], color=colour, label=label)
    ax.axhline(0, color="0.4", lw=0.8)
    ax.set(xlabel="margin m (nats)", ylabel="slope", title="slopes over the margin")
    ax.legend(loc="center right")


def _slopes_over_plane(figure: Figure, ax: Axes, field: xr.Dataset, half: str) -> None:
    values = field[half].values
    largest = float(np.quantile(np.abs(values), 0.95)) or 1.0
    image = ax.pcolormesh(
        field["r"], field["c"], values, cmap="PuOr", vmin=-largest, vmax=largest, shading="auto"
    )
    if values.min() < 0 < values.max():
        ax.contour(field["r"], field["c"], values, levels=[0.0], colors="black", linewidths=0.8)
    figure.colorbar(image, ax=ax, extend="both")
    sign = "+" if half == "chosen" else "-"
    ax.set(xlabel="r, log-ratio of rejected", ylabel="c, log-ratio of chosen", title=f"a{sign}")
    ax.grid(False)
