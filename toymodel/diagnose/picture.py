"""The picture of a diagnosis: both halves over training, windows, onsets, and probes."""

import math
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toymodel.diagnose.log import Track
from toymodel.diagnose.series import Half, windows_of
from toymodel.plots.style import (
    CHOSEN,
    OUTSIDE,
    REJECTED,
    ROLE_COLOURS,
    legend_below,
    new_figure,
    style,
)
from toymodel.scenarios import Role

if TYPE_CHECKING:
    from toymodel.diagnose.diagnosis import Diagnosis

_PROBES = {
    "probes/greedy": ("own greedy answers", "black", "-"),
    "probes/sampled": ("own sampled answers", "black", "--"),
    "probes/other_chosen": ("other prompts' chosen", ROLE_COLOURS[Role.OTHER_CHOSEN], "-"),
    "probes/other_rejected": ("other prompts' rejected", ROLE_COLOURS[Role.OTHER_REJECTED], "-"),
    "probes/permuted": ("permuted tokens", OUTSIDE, "--"),
    "probes/random": ("random tokens", OUTSIDE, ":"),
}
_MASSES = {
    "outside": ("outside pair and samples", OUTSIDE, "-"),
    "support_mass": ("samples before training", "black", "--"),
    "mass/chosen": ("chosen", CHOSEN, "-"),
    "mass/rejected": ("rejected", REJECTED, "-"),
}
_OTHERS = ("#CC79A7", "#7F4F24", "#999999")


def draw(found: "Diagnosis") -> Figure:
    """A panel for each half, and one for probes where there are any.

    Args:
        found: the diagnosis.

    Returns:
        The figure.
    """
    drop, degradation, dispersion = found.findings
    metrics = found.log.main.metrics
    probes = [name for name in metrics if name.startswith("probes/")]
    masses = [name for name in _MASSES if name in metrics]
    panels = 2 + bool(probes) + bool(masses)
    with style():
        rows, columns = (2, 2) if panels == 4 else (1, panels)
        figure, grid = new_figure(rows, columns, panel=(4.8, 3.6))
        axes = grid.ravel()
        _half(axes[0], found.chosen, CHOSEN, degradation.since, degradation.peak)
        _half(axes[1], found.rejected, REJECTED, drop.since, math.nan)
        for panel, finding in zip(axes, (degradation, drop), strict=False):
            panel.set_title(f"{finding.name}: {finding.verdict}")
        if masses:
            _masses(axes[2], found.log.main, masses)
        if probes:
            _probes(axes[-1], found.log.main, probes)
        if panels > 2:
            axes[2].set_title(f"dispersion: {dispersion.verdict}")
            if math.isfinite(dispersion.since):
                axes[2].axvline(dispersion.since, color="black", linestyle=":")
                _beside(axes[2], dispersion.since, f"step {dispersion.since:g}")
        _explain(axes[0])
        legend_below(figure, axes[0], columns=5)
    return figure


def _half(axes: Axes, half: Half, colour: str, since: float, peak: float) -> None:
    """One half: records, windows, its band, its onset and its peak."""
    axes.plot(half.step, half.value, ".", color=colour, markersize=4, alpha=0.35)
    cut = half.windows
    if cut is not None:
        axes.plot(cut.step, cut.mean, "-", color=colour)
        low, high = cut.mean - cut.margin[0], cut.mean + cut.margin[0]
        axes.fill_between(cut.step, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.axhline(cut.mean[0], color="black", linewidth=0.8)
        if math.isfinite(peak):
            place = int(np.argmin(np.abs(cut.step - peak)))
            axes.plot(peak, cut.mean[place], "D", color=colour, markersize=6)
    if math.isfinite(since):
        axes.axvline(since, color=colour, linestyle=":")
        _beside(axes, since, f"step {since:g}")
    what = {"log-ratio": r"log $\pi$ − log $\pi_0$", "log-probability": r"log $\pi$"}
    axes.set(xlabel="training step (updates)")
    axes.set_ylabel(f"{half.name}: {what.get(half.kind, 'reward')}\n({half.unit})")


def _beside(axes: Axes, step: float, label: str) -> None:
    """A label at the top of a vertical line."""
    place = axes.get_xaxis_transform()
    back = {"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1}
    axes.text(step, 0.97, f" {label}", transform=place, va="top", fontsize=8, bbox=back)


def _explain(axes: Axes) -> None:
    """Entries of the legend that hold for both halves' panels."""
    axes.plot([], [], ".", color="#555555", label="records")
    axes.plot([], [], "-", color="#555555", label="windows")
    axes.fill_between([], [], [], color="#555555", alpha=0.15, label="95 % of change since start")
    axes.plot([], [], ":", color="#555555", label="shows since")
    axes.plot([], [], "D", color="#555555", label="peak")


def _masses(axes: Axes, track: Track, masses: list[str]) -> None:
    """Where the probability is."""
    for name in masses:
        label, colour, line = _MASSES[name]
        axes.plot(*track.curve(name), line, color=colour, label=label)
    axes.set(xlabel="training step (updates)", ylabel="probability, mean over prompts")
    axes.set_ylim(0, 1)
    axes.legend(fontsize=8, loc="best")


def _probes(axes: Axes, track: Track, probes: list[str]) -> None:
    """Change of each probe's mean log-probability since its first record or window."""
    others = iter(_OTHERS * len(probes))
    for name in sorted(probes, key=lambda x: list(_PROBES).index(x) if x in _PROBES else 99):
        step, value = track.curve(name)
        known = _PROBES.get(name)
        label, colour, line = known or (name.removeprefix("probes/"), next(others), "-.")
        if (cut := windows_of(track, name)) is not None:
            step, value = cut.step, cut.mean
        axes.plot(step, value - value[0], line, color=colour, label=label)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set(xlabel="training step (updates)", ylabel="change of log $\\pi$ (nats a sequence)")
    axes.set_title("probes")
    axes.legend(fontsize=8, loc="best")
