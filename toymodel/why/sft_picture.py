"""The picture of `toymodel.why.sft`."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toymodel.attribution import estimate
from toymodel.plots.style import CHOSEN, OUTSIDE, REJECTED, new_figure, style
from toymodel.why.sft_doses import CONDITIONS, EPSILONS
from toymodel.why.sft_rules import success

_COLOURS = {"adam": REJECTED, "sgd": CHOSEN}
_NAMES = {"adam": "Adam", "sgd": "gradient descent"}
_SPLITS = {"neither": "0.5", "quiet only": OUTSIDE, "all others only": REJECTED, "all": "black"}


def draw(found: xr.Dataset) -> Figure:
    """Six panels; see the figure's caption."""
    with style():
        figure, axes = new_figure(2, 3, panel=(4.6, 3.6))
        _adam(axes[0, 0], found)
        _thresholds(axes[0, 1], found)
        _split(axes[0, 2], found)
        _descent(axes[1, 0], found)
        _cost(axes[1, 1], found)
        _rules(axes[1, 2], found)
    return figure


def _curve(axes: Axes, gamma: np.ndarray, values: np.ndarray, **look: Any) -> None:
    """A number over gamma, [gamma, seed], with gamma = 0 left out."""
    interval = estimate(values[1:])
    axes.plot(gamma[1:], interval.mean, **look)
    axes.fill_between(
        gamma[1:], interval.low, interval.high, color=look["color"], alpha=0.2, linewidth=0
    )
    axes.set(xscale="log", xlabel=r"SFT weight $\gamma$")


def _adam(axes: Axes, found: xr.Dataset) -> None:
    shades = colormaps["viridis"](np.linspace(0, 0.85, EPSILONS))
    for at, shade in enumerate(shades):
        gamma, fall = found["adam_gamma"].values[at], found["adam_drawdown"].values[at]
        label = rf"$\epsilon$ = {CONDITIONS['adam'][at].epsilon:.0e}"
        _curve(axes, gamma, fall, color=shade, label=label)
        axes.axvline(float(found["adam_expected"][at]), color=shade, linestyle=":", linewidth=1.2)
    axes.set(ylabel="degradation (nats)", title=r"Adam, $\beta$ = 0.02 (dotted: theory)")
    axes.set_ylim(0, 1.9)
    axes.legend(fontsize=8, loc="upper right", ncols=2)


def _thresholds(axes: Axes, found: xr.Dataset) -> None:
    ends = np.array([1e-11, 1.0])
    axes.plot(ends, ends, color="0.6", linewidth=1)
    axes.fill_between(ends, ends / 5, ends * 5, color="0.9", linewidth=0)
    for optimiser, marker in (("adam", "o"), ("sgd", "s")):
        half = found[f"{optimiser}_half"].values
        expected, colour = found[f"{optimiser}_expected"].values, _COLOURS[optimiser]
        axes.plot([expected] * 2, half[:, 1:].T, color=colour)
        axes.plot(expected, half[:, 0], marker, color=colour, label=_NAMES[optimiser])
    axes.set(xscale="log", yscale="log", xlim=(1e-11, 0.1), ylim=(1e-11, 0.1))
    axes.set(xlabel=r"predicted $\gamma$", ylabel=r"measured $\gamma$ that halves the effect")
    axes.set_title("half doses (grey: within a factor of 5)")
    axes.legend(fontsize=8, loc="upper left")


def _split(axes: Axes, found: xr.Dataset) -> None:
    gammas = found["split_gamma"].values
    width = 0.2
    for shift, (which, colour) in enumerate(_SPLITS.items()):
        fall = estimate(found["split"].sel(which=which).values)
        bars = np.stack([fall.mean - fall.low, fall.high - fall.mean])
        place = np.arange(len(gammas)) + (shift - 1.5) * width
        axes.bar(place, fall.mean, width, yerr=bars, color=colour, label=which, capsize=2)
    axes.set_xticks(range(len(gammas)), [f"{gamma:.0e}" for gamma in gammas])
    axes.set(xlabel=r"SFT weight $\gamma$", ylabel="degradation (nats)", ylim=(0, 1.6))
    axes.set_title("where the SFT term acts: quiet weights")
    axes.legend(fontsize=8, ncols=2, loc="upper right")


def _descent(axes: Axes, found: xr.Dataset) -> None:
    wanted = [at for at, c in enumerate(CONDITIONS["sgd"]) if c.multiple == 1]
    shades = colormaps["viridis"](np.linspace(0, 0.85, len(wanted)))
    for at, shade in zip(wanted, shades, strict=True):
        gamma, short = found["sgd_gamma"].values[at], found["sgd_shortfall"].values[at]
        label = rf"$\beta$ = {CONDITIONS['sgd'][at].beta:g}"
        _curve(axes, gamma, short, color=shade, label=label)
        axes.axvline(float(found["sgd_expected"][at]), color=shade, linestyle=":", linewidth=1.2)
    axes.set(ylabel=r"$1 - \pi(y_+)$ at the end", yscale="log", ylim=(1e-6, 1))
    axes.set_title("gradient descent (dotted: theory)")
    axes.legend(fontsize=8, loc="lower left")


def _cost(axes: Axes, found: xr.Dataset) -> None:
    for beta, line in zip(found["wide_beta"].values, ("-", "--"), strict=True):
        curves = {"adam": (found["wide"].values, found["drop"].sel(wide_beta=beta).values)}
        at = next(i for i, c in enumerate(CONDITIONS["sgd"]) if c.beta == beta)
        curves["sgd"] = (found["sgd_gamma"].values[at], found["sgd_drop"].values[at])
        for optimiser, (gamma, drop) in curves.items():
            label = rf"{_NAMES[optimiser]}, $\beta$ = {beta:g}"
            look = {"color": _COLOURS[optimiser], "linestyle": line, "label": label}
            _curve(axes, gamma, drop, **look)
    axes.set(ylabel="drop of the rejected (nats)", title="what too much costs", ylim=(0, 230))
    axes.legend(fontsize=7, loc="upper left", ncols=2, columnspacing=1.0, handlelength=1.6)


def _rules(axes: Axes, found: xr.Dataset) -> None:
    rules = found["rule"].values
    for place, rule in enumerate(rules):
        one = found.sel(rule=rule)
        share, low, high = success(found, rule)
        first = place == 0
        axes.plot([low, high], [place] * 2, color=REJECTED)
        axes.plot(share, place, "o", color=REJECTED, label="falls stopped" if first else None)
        kept = float(one["rule_kept"].median())
        axes.plot(kept, place, "D", color=CHOSEN, label="drop kept, median" if first else None)
    axes.set_yticks(range(len(rules)), [rule.replace("beta", r"$\beta$") for rule in rules])
    axes.invert_yaxis()
    axes.set(xlim=(0, 1.05), xlabel="share", ylabel=r"rule for $\gamma$")
    axes.set_title("rules under Adam, judged on other settings")
    axes.legend(fontsize=8, loc="lower left")
