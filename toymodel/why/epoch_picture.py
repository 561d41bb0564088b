"""The picture of the study of one epoch."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toymodel.attribution.effects import estimate
from toymodel.plots.style import CHOSEN, OUTSIDE, REJECTED, legend_below, new_figure, style

_COLOURS = (REJECTED, OUTSIDE, CHOSEN)
_LINES = {"adam": ("-", "o", "Adam"), "sgd": ("--", "s", "SGD")}


def draw(found: xr.Dataset) -> Figure:
    """Degradation against drop by policy; below, held-out prompts and one run's curves."""
    with style():
        figure, axes = new_figure(2, 3, panel=(4.6, 3.6))
        for panel, policy in zip(axes[0], found["policy"].values, strict=True):
            one = found.sel(policy=policy)
            _against_drop(panel, one, "mean_drawdown", "training")
            panel.set_yscale("symlog", linthresh=0.1)
            panel.set(ylim=(-0.05, 40), ylabel=r"degradation: fall of mean $\log\pi(y_+)$ (nats)")
            panel.set_title(f"training prompts: {policy}")
            _announce(panel)
        network = found.sel(policy="feature MLP")
        _against_drop(axes[1, 0], network, "chosen_change", "held-out")
        axes[1, 0].set_yscale("symlog", linthresh=0.1)
        axes[1, 0].set(ylabel=r"change of $\log\pi$ of the better (nats)")
        axes[1, 0].set_title("held-out prompts: feature MLP")
        _announce(axes[1, 0])
        _against_drop(axes[1, 1], network, "score_gain", "held-out")
        axes[1, 1].set(ylabel="rise of the expected true score")
        axes[1, 1].set_title("held-out prompts: feature MLP")
        _curves(axes[1, 2], found)
        legend_below(figure, axes[0, 0], columns=3)
    return figure


def _announce(axes: Axes) -> None:
    """Say where the vertical axis is linear."""
    where = (0.02, 0.02)
    words = "linear within 0.1, logarithmic beyond"
    axes.annotate(words, where, xycoords="axes fraction", fontsize=7, color="0.3")


def _against_drop(axes: Axes, found: xr.Dataset, what: str, split: str) -> None:
    """A number against the drop on training prompts; a dot a rate, bars are 95 % of the mean."""
    for colour, pairs in zip(_COLOURS, found["pairs"].values, strict=True):
        for optimiser, (line, marker, title) in _LINES.items():
            one = found.sel(pairs=pairs, optimiser=optimiser)
            drop = one["drop"].sel(split="training").mean("seed").values
            got = estimate(one[what].sel(split=split).transpose("rate", "seed").values)
            axes.errorbar(
                drop,
                got.mean,
                [got.mean - got.low, got.high - got.mean],
                color=colour,
                linestyle=line,
                marker=marker,
                markersize=4,
                capsize=2,
                label=f"{pairs} pairs, {_epochs(found, pairs)}, {title}",
            )
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set(xscale="log", xlabel=r"drop of $\log\pi(y_-)$ on training prompts (nats)")


def _epochs(found: xr.Dataset, pairs: int) -> str:
    count = int(found["pairs"].max()) // int(pairs)
    return "1 epoch" if count == 1 else f"{count} epochs"


def _curves(axes: Axes, found: xr.Dataset) -> None:
    """Chosen and rejected over the one epoch, of training and of held-out prompts."""
    one = found.sel(policy="feature MLP", optimiser="adam", rate=30.0, pairs=found["pairs"].max())
    for name, colour, words in (("chosen", CHOSEN, "$y_+$"), ("rejected", REJECTED, "$y_-$")):
        for split, line in (("training", "-"), ("held-out", ":")):
            curve = one[name].sel(split=split)
            got = estimate((curve - curve.isel(step=0)).transpose("step", "seed").values)
            steps = one["step"].values
            axes.plot(steps, got.mean, line, color=colour, label=f"{words}, {split}")
            axes.fill_between(steps, got.low, got.high, color=colour, alpha=0.12, linewidth=0)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set(xlabel="updates in the one epoch", ylabel=r"change of mean $\log\pi$ (nats)")
    axes.set_title("one epoch, feature MLP, Adam at 0.03")
    axes.legend(fontsize=8)
    axes.set_xlim(0, float(np.max(one["step"])))
