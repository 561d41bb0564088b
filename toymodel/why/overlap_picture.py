"""The picture of the study of overlap."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toymodel.attribution.effects import estimate
from toymodel.plots.style import CHOSEN, OUTSIDE, REJECTED, legend_below, new_figure, style

_PLACES = {
    "prefix": (CHOSEN, "common prefix"),
    "later": (REJECTED, "common tokens after the split"),
}
_LINES = {"adam": ("-", "o", "Adam"), "sgd": ("--", "s", "SGD")}
_KINDS = (CHOSEN, REJECTED, OUTSIDE)
_TITLES = {
    "prefix_tabular": "nothing shared between prefixes: it rises",
    "autoregressive": "prefixes share embeddings: it falls",
}


def draw(found: xr.Dataset) -> Figure:
    """Displacement over overlap, mass by distance, and the chosen's tokens over training."""
    with style():
        figure, axes = new_figure(2, 3, panel=(4.4, 3.5))
        for panel, policy in zip(axes[0], _TITLES, strict=False):
            _over_overlap(panel, found.sel(policy=policy))
            panel.set_title(_TITLES[policy])
        _distances(axes[0, 2], found.sel(policy="autoregressive", optimiser="adam"))
        shown = (
            ("prefix_tabular", "prefix", "2 tokens in the prefix, nothing shared"),
            ("autoregressive", "prefix", "2 tokens in the prefix, shared embeddings"),
            ("autoregressive", "later", "2 tokens after the split, shared embeddings"),
        )
        for panel, (policy, place, title) in zip(axes[1], shown, strict=True):
            cell = found.sel(policy=policy, optimiser="adam", place=place, common=2)
            _tokens(panel, cell["chosen"])
            panel.set_title(title)
        axes[0, 0].set_ylim(-3.8, 6.6)  # the legend stands below the line at zero
        for panel in axes[0, :2]:
            panel.legend(fontsize=8, loc="lower left")
        axes[0, 2].legend(fontsize=8)
        legend_below(figure, _all_kinds(axes[1, 0]), columns=4)
        return figure


def _over_overlap(axes: Axes, found: xr.Dataset) -> None:
    chosen = found["chosen"].sum("kind")
    moved = (chosen.isel(step=-1) - chosen.isel(step=0)).mean("pair")
    for place, (colour, words) in _PLACES.items():
        for name, (line, marker, title) in _LINES.items():
            values = moved.sel(place=place, optimiser=name).transpose("common", "seed")
            got = estimate(np.asarray(values))
            size = [got.mean - got.low, got.high - got.mean]
            axes.errorbar(
                values["common"], got.mean, size, color=colour, linestyle=line, marker=marker,
                markersize=4, capsize=3, label=f"{words}, {title}",
            )  # fmt: skip
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks(found["common"].values)
    axes.set_xlabel("tokens in common, of 4")
    axes.set_ylabel("change of log π of the chosen (nats)")


def _distances(axes: Axes, found: xr.Dataset) -> None:
    shown = (("prefix", 0, "#999999", "none in common"), ("prefix", 3, CHOSEN, "prefix of 3"),
             ("later", 3, REJECTED, "3 after the split"))  # fmt: skip
    for offset, (place, common, colour, words) in enumerate(shown):
        cell = found["distance_rejected"].sel(place=place, common=common).mean("pair")
        for when, filled in (("before", False), ("after", True)):
            got = estimate(np.asarray(cell.sel(when=when).transpose("distance", "seed")))
            where = np.arange(len(got.mean)) + 0.27 * (offset - 1)
            size = [got.mean - got.low, got.high - got.mean]
            bar = {"color": colour, "alpha": 0.55} if filled else {"fill": False}
            label = words if filled else ("before training" if offset == 0 else None)
            axes.bar(where, got.mean, 0.25, yerr=size if filled else None, label=label, **bar)
    axes.set_title("where mass stands, Adam, shared embeddings")
    axes.set_xlabel("edits (Levenshtein) from the rejected")
    axes.set_ylabel("probability")


def _tokens(axes: Axes, chosen: xr.DataArray) -> None:
    moved = (chosen - chosen.isel(step=0)).mean("pair")
    for kind, colour in zip(moved["kind"].values, _KINDS, strict=True):
        values = moved.sel(kind=kind).transpose("step", "seed")
        if np.any(chosen.sel(kind=kind) != 0):
            _band(axes, values, colour, str(kind))
    _band(axes, moved.sum("kind").transpose("step", "seed"), "black", "whole response", "--")
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xlabel("step")
    axes.set_ylabel("change of log π (nats)")


def _band(axes: Axes, values: xr.DataArray, colour: str, label: str, line: str = "-") -> None:
    got = estimate(np.asarray(values))
    axes.plot(values["step"], got.mean, line, color=colour, label=label)
    axes.fill_between(values["step"], got.low, got.high, color=colour, alpha=0.2, linewidth=0)


def _all_kinds(axes: Axes) -> Axes:
    """A legend of every kind, though no panel has all three."""
    for colour, label in zip(_KINDS, ("common prefix", "common token after the split", "own token"),
                             strict=True):  # fmt: skip
        axes.plot([], [], color=colour, label=label)
    return axes
