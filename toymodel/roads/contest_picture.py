"""The picture of the contest: the frontier, regret over conditions, and degradation."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toymodel.attribution.effects import estimate
from toymodel.plots.style import legend_below, new_figure, style
from toymodel.studies.claims import DEGRADATION

#: Method -> colour, line and marker: preference losses in warm colours, rewards in blue.
_LOOKS = {
    "DPO": ("#D55E00", "-", "o"),
    "Flex-DPO": ("#E69F00", "--", "s"),
    "SFT-DPO": ("#CC79A7", "-.", "^"),
    "IPO": ("#7F4F24", ":", "v"),
    "iterative DPO": ("#999999", "-", "D"),
    "reward model, exact RL": ("#0072B2", "-", "P"),
    "reward model, PPO": ("#56B4E9", "--", "X"),
    "true reward, exact RL": ("black", ":", "*"),
}


def draw(found: xr.Dataset) -> Figure:
    """Three panels and one legend."""
    with style():
        figure, grid = new_figure(1, 3, panel=(5.2, 4.2))
        left, middle, right = grid[0]
        _over_divergence(left, found, "reward")
        left.set(ylabel="gain in true reward, held-out prompts", title="frontier, base condition")
        _conditions(middle, found)
        _over_divergence(right, found, "degradation")
        right.axhline(DEGRADATION, color="black", linestyle="--", linewidth=1)
        right.set(ylabel="degradation (nats)", yscale="log", ylim=(3e-3, 10))
        right.set_title("degradation at equal divergence")
        legend_below(figure, left, columns=4)
    return figure


def _over_divergence(axes: Axes, found: xr.Dataset, measure: str) -> None:
    at = found["at"].values
    for name, (colour, line, marker) in _LOOKS.items():
        values = found[f"frontier_{measure}"].sel(contestant=name).transpose("at", "world").values
        got = estimate(values)
        axes.plot(at, got.mean, line, color=colour, marker=marker, markersize=5, label=name)
        axes.fill_between(at, got.low, got.high, color=colour, alpha=0.12, linewidth=0)
    axes.set(xscale="log", xlabel="KL to the reference, held-out prompts (nats)")


def _conditions(axes: Axes, found: xr.Dataset) -> None:
    names = [str(name) for name in found["condition"].values]
    places = np.arange(len(names))
    for number, (name, (colour, _, marker)) in enumerate(_LOOKS.items()):
        got = estimate(found["regret"].sel(contestant=name).transpose("condition", "world").values)
        x = places + 0.09 * (number - len(_LOOKS) / 2)
        error = [got.mean - got.low, got.high - got.mean]
        looks: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 5}
        axes.errorbar(x, got.mean, yerr=error, linestyle="none", linewidth=1, **looks)
    labels = [name.replace(" %", "%").replace(" ", "\n") for name in names]
    axes.set_xticks(places, labels, fontsize=8)
    axes.set(ylabel="regret, held-out prompts (reward)", title="regret by condition")
    axes.set_ylim(bottom=0)
