"""The picture of the study of held-out accuracy."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toymodel.attribution.effects import estimate
from toymodel.plots.style import CHOSEN, OUTSIDE, REJECTED, legend_below, new_figure, style
from toymodel.roads.accuracy_runs import SCALE

_LOOKS = {
    "reward model": (CHOSEN, "-", "o"),
    "reward model, SFT start": (OUTSIDE, "-.", "s"),
    "DPO": (REJECTED, "--", "^"),
}


def draw(found: xr.Dataset) -> Figure:
    """A row a form: accuracy over training, clean and noisy; jumpiness over rates."""
    with style():
        figure, axes = new_figure(2, 3, panel=(4.6, 3.4))
        for row, form in zip(axes, found["form"].values, strict=True):
            one = found.sel(form=form)
            for panel, label in zip(row[:2], found["label"].values, strict=True):
                _curves(panel, one.sel(label=label))
                panel.set_title(f"{form}, {label} labels")
            _jumps(row[2], one.sel(label=found["label"].values[-1]))
            row[2].set_title(f"{form}, {found['label'].values[-1]} labels")
        legend_below(figure, axes[0, 0], columns=3)
    return figure


def _curves(axes: Axes, found: xr.Dataset) -> None:
    steps = found["step"].values
    for arm, (colour, line, _) in _LOOKS.items():
        got = estimate(found["heldout"].sel(arm=arm).transpose("step", "seed").values)
        axes.plot(steps, got.mean, line, color=colour, label=arm)
        axes.fill_between(steps, got.low, got.high, color=colour, alpha=0.15, linewidth=0)
    axes.set(xlabel="updates", ylabel="accuracy on held-out pairs", ylim=(0.48, 1.0))
    axes.set_xlim(0, float(steps[-1]))


def _jumps(axes: Axes, found: xr.Dataset) -> None:
    rates = found["reward_step"].values
    for arm, (colour, line, marker) in _LOOKS.items():
        one = found.sel(arm=arm)
        got = estimate(one["tried_jumpiness"].transpose("reward_step", "other").values)
        axes.plot(rates, got.mean, line, color=colour, label=arm)
        axes.fill_between(rates, got.low, got.high, color=colour, alpha=0.15, linewidth=0)
        at = int(np.argmin(np.abs(np.log(rates / (float(one["rate"]) * SCALE[arm])))))
        axes.plot(rates[at], got.mean[at], marker, color=colour, markersize=8, zorder=5)
    axes.set(xscale="log", yscale="log", xlabel="learning rate, in units of reward")
    axes.set_ylabel("jumpiness of accuracy")
