"""The picture of `toymodel.why.sft`."""

import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toymodel.attribution import estimate
from toymodel.plots.style import CHOSEN, OUTSIDE, REJECTED, new_figure, style
from toymodel.why.sft_rules import success

_COLOURS = {"adam": REJECTED, "sgd": CHOSEN}
_NAMES = {"adam": "Adam", "sgd": "gradient descent"}
_SPLITS = {"neither": "0.5", "quiet only": OUTSIDE, "loud only": REJECTED, "all": "black"}


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


def _curve(axes: Axes, found: xr.Dataset, optimiser: str, name: str, at: int, **look: str) -> None:
    """A number over gamma, gamma = 0 left out."""
    gamma = found[f"{optimiser}_gamma"].values[1:]
    interval = estimate(found[f"{optimiser}_{name}"].values[at, 1:])
    axes.plot(gamma, interval.mean, **look)  # type: ignore[arg-type]
    axes.fill_between(
        gamma, interval.low, interval.high, color=look["color"], alpha=0.2, linewidth=0
    )
    axes.set_xscale("log")
    axes.set_xlabel(r"SFT weight $\gamma$")


def _adam(axes: Axes, found: xr.Dataset) -> None:
    shades = colormaps["viridis"](np.linspace(0, 0.85, 4))
    for at, shade in enumerate(shades):
        label = rf"$\epsilon$ = {found['adam_epsilon'].values[at]:.0e}"
        _curve(axes, found, "adam", "drawdown", at, color=shade, label=label)
        axes.axvline(float(found["adam_expected"][at]), color=shade, linestyle=":", linewidth=1.2)
    axes.set(ylabel="degradation (nats)", title=r"Adam, $\beta$ = 0.02 (dotted: theory)")
    axes.legend(fontsize=8, loc="upper right")


def _thresholds(axes: Axes, found: xr.Dataset) -> None:
    ends = np.array([1e-9, 1.0])
    axes.plot(ends, ends, color="0.6", linewidth=1)
    axes.fill_between(ends, ends / 5, ends * 5, color="0.9", linewidth=0)
    for optimiser, marker in (("adam", "o"), ("sgd", "s")):
        x, y, low, high = (
            found[f"{optimiser}_{k}"].values for k in ("expected", "half", "half_low", "half_high")
        )
        there = np.isfinite(y) & np.isfinite(high)
        bars = np.abs(np.stack([y - low, high - y])[:, there])
        look = {"color": _COLOURS[optimiser], "label": _NAMES[optimiser]}
        axes.errorbar(x[there], y[there], yerr=bars, fmt=marker, markersize=5, linestyle="", **look)
    axes.set(xscale="log", yscale="log", xlim=(3e-9, 0.1), ylim=(3e-9, 0.1))
    axes.set(xlabel=r"predicted $\gamma$", ylabel=r"measured $\gamma$ that halves the effect")
    axes.set_title("two thresholds (grey: within a factor of 5)")
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
    betas = found["sgd_beta"].values
    wanted = [at for at, multiple in enumerate(found["sgd_multiple"].values) if multiple == 1]
    for at, shade in zip(
        wanted, colormaps["viridis"](np.linspace(0, 0.85, len(wanted))), strict=True
    ):
        _curve(axes, found, "sgd", "shortfall", at, color=shade, label=rf"$\beta$ = {betas[at]:g}")
        axes.axvline(float(found["sgd_expected"][at]), color=shade, linestyle=":", linewidth=1.2)
    axes.set(ylabel=r"$1 - \pi(y_+)$ at the end", yscale="log")
    axes.set_title("gradient descent (dotted: slope at the end)")
    axes.legend(fontsize=8)


def _cost(axes: Axes, found: xr.Dataset) -> None:
    for optimiser, colour in _COLOURS.items():
        beta = found[f"{optimiser}_beta"].values
        plain = found[f"{optimiser}_multiple"].values == 1
        if optimiser == "adam":
            plain &= found["adam_epsilon"].values == 1e-8
        for value, line in ((0.02, "-"), (0.1, "--")):
            at = int(np.flatnonzero(plain & (beta == value))[0])
            label = rf"{_NAMES[optimiser]}, $\beta$ = {value:g}"
            look = {"color": colour, "linestyle": line, "label": label}
            _curve(axes, found, optimiser, "drop", at, **look)
    axes.set(ylabel="drop of the rejected (nats)", title="what too much costs", ylim=(0, None))
    axes.legend(fontsize=8, loc="lower left")


def _rules(axes: Axes, found: xr.Dataset) -> None:
    rules = found["rule"].values
    for place, rule in enumerate(rules):
        one = found.sel(rule=rule)
        share, low, high = success(one)
        first = place == 0
        axes.plot([low, high], [place] * 2, color=REJECTED)
        axes.plot(share, place, "o", color=REJECTED, label="no degradation" if first else None)
        kept = float(one["rule_kept"].median())
        axes.plot(kept, place, "D", color=CHOSEN, label="drop kept, median" if first else None)
    axes.set_yticks(range(len(rules)), [rule.replace("beta", r"$\beta$") for rule in rules])
    axes.invert_yaxis()
    axes.set(xlim=(0, 1.05), xlabel="share", ylabel=r"rule for $\gamma$")
    axes.set_title("rules under Adam, judged on other settings")
    axes.legend(fontsize=8, loc="lower left")
