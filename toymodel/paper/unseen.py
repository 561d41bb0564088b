"""The printed unseen mean: what an underflow in float32 does to a curve of Figure 3."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from toymodel.paper.data import digitised
from toymodel.paper.setting import CALIBRATED
from toymodel.plots.curves import line_with_band
from toymodel.plots.style import OUTSIDE, PAPER, REJECTED, legend_below, new_figure, style
from toymodel.studies.study import Claim, Study, register

_SCENARIO = "rejected_off_policy"
_FULL_EXCESS = 8 / 5  # three of the eight responses left out
_PAPER_EPOCH = 1340  # where the paper's curve jumps


def compute(seeds: int) -> xr.Dataset:
    """The unseen mean with and without the entries that underflow, [seed, step]."""
    run = CALIBRATED.run(_SCENARIO, seeds=range(seeds))
    return xr.Dataset(
        {
            "exact": run.likelihoods().unseen_mean,
            "printed": run.likelihoods(drop_underflow=True).unseen_mean,
        },
        attrs={"scenario": _SCENARIO},
    )


def draw(data: xr.Dataset) -> Figure:
    """Both curves, and the paper's."""
    with style():
        figure, axes = new_figure(panel=(6.4, 3.6))
        ax = axes[0, 0]
        line_with_band(ax, data["exact"], color=OUTSIDE, label="all eight responses")
        line_with_band(
            ax, data["printed"], color=REJECTED, label="without those that underflow in float32"
        )
        paper = digitised(_SCENARIO)
        ax.plot(paper["epoch"], paper["unseen_mean"], ":", color=PAPER, label="paper (digitised)")
        ax.set(
            xlabel="epoch (full-batch updates)",
            ylabel="mean probability of one response\noutside the pair",
            ylim=(0, None),
            title=_SCENARIO.replace("_", " "),
        )
        legend_below(figure, ax, columns=1)
    return figure


def compare(data: xr.Dataset) -> list[Claim]:
    """By how much the printed mean exceeds the exact one at the end, and when half of that came."""
    middle = data.median("seed")
    excess = (middle["printed"] / middle["exact"]).values
    half = excess > (1 + _FULL_EXCESS) / 2
    when = float(middle["step"][int(np.argmax(half))]) if half.any() else float("nan")
    within = abs(when - _PAPER_EPOCH) <= 0.1 * _PAPER_EPOCH
    return [
        Claim(
            _SCENARIO,
            "final printed over exact mean",
            float(excess[-1]),
            f"{_FULL_EXCESS:.3f}",
            bool(abs(excess[-1] - _FULL_EXCESS) < 0.1),
        ),
        Claim(_SCENARIO, "epoch of half that excess", when, f"{_PAPER_EPOCH}", within),
    ]


register(
    Study(
        name="fig3_unseen",
        title="The printed unseen mean",
        alt=(
            "Two curves of the mean outside probability; the one without underflowed entries "
            "jumps by 8/5."
        ),
        caption=(
            "The mean probability of one response outside the pair. Green: over all eight such "
            "responses. Orange: leaving out those whose probability has underflowed to zero in "
            "float32, as the printed curve does; when the three other rejected responses vanish "
            "the mean is suddenly over five. Dotted black: the paper's curve."
        ),
        compute=compute,
        draw=draw,
        compare=compare,
    )
)
