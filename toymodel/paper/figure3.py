"""Figure 3: likelihoods over training in the four scenarios, with the digitised curves on top."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from toymodel import scenarios
from toymodel.paper.compare import COMPARED, COVERAGE_AIM, DISTANCE_AIM, agreement
from toymodel.paper.data import DIGITISED, digitised
from toymodel.paper.setting import CALIBRATED, EPOCHS, Setting
from toymodel.plots.curves import LIKELIHOOD_LINES, line_with_band
from toymodel.plots.style import PAPER, legend_below, new_figure, style
from toymodel.studies.study import Claim, Study, register

_SHOWN = [line for line in LIKELIHOOD_LINES if line[0] != "rejected_mean"]


def figure3_curves(
    scenario: str,
    seeds: int = 100,
    *,
    setting: Setting = CALIBRATED,
    epochs: int = EPOCHS,
    drop_underflow: bool = False,
    progress: bool = False,
) -> xr.Dataset:
    """The curves of one panel of Figure 3.

    Args:
        scenario: the name of a scenario.
        seeds: number of seeds, 0 to ``seeds - 1``.
        setting: the toy's setting; default the calibrated one.
        epochs: full-batch updates.
        drop_underflow: reproduce the jumps of the printed unseen mean (see
            `toymodel.properties.likelihoods`).
        progress: show a progress bar.

    Returns:
        chosen_mean, chosen_min, rejected_mean, rejected_max and unseen_mean, each [seed, epoch],
        every tenth epoch.

    Example:
        >>> curves = figure3_curves("both_on_policy", seeds=2, epochs=20)
        >>> dict(curves.chosen_mean.sizes)
        {'seed': 2, 'epoch': 3}
    """
    run = setting.run(scenario, seeds=range(seeds), epochs=epochs, progress=progress)
    return run.likelihoods(drop_underflow=drop_underflow).rename(step="epoch")


def compute(seeds: int) -> xr.Dataset:
    """The curves of all four panels, [scenario, seed, epoch]."""
    names = list(scenarios.PAPER)
    panels = [figure3_curves(name, seeds).drop_attrs(deep=False) for name in names]
    return xr.concat(panels, xr.DataArray(names, dims="scenario", name="scenario"))


def draw(data: xr.Dataset) -> Figure:
    """Four panels: our median and 95 % band over seeds, the paper's digitised curves in black."""
    with style():
        figure, axes = new_figure(2, 2)
        for ax, name in zip(axes.flat, data["scenario"].values, strict=True):
            panel = data.sel(scenario=name).rename(epoch="step")
            for variable, label, colour, dashes in _SHOWN:
                line_with_band(ax, panel[variable], color=colour, linestyle=dashes, label=label)
            if name in DIGITISED:
                paper = digitised(name)
                for variable in (*COMPARED, "unseen_mean"):
                    curve = ax.plot(paper["epoch"], paper[variable], ":", color=PAPER, lw=1.1)
                curve[0].set_label("paper (digitised)")
            ax.set(ylim=(0, 1), xlabel="epoch (full-batch updates)", ylabel="probability")
            ax.set_title(name.replace("_", " "))
        legend_below(figure, axes[0, 0], columns=3)
    return figure


def compare(data: xr.Dataset) -> list[Claim]:
    """Peaks and ends against the paper's, coverage of every digitised curve, the best seed."""
    claims = []
    for name in DIGITISED:
        curves = data.sel(scenario=name).assign_attrs(scenario=name)
        paper = digitised(name)
        result = agreement(curves)
        for what, ours, theirs in (
            ("peak", curves.chosen_mean.max("epoch"), paper.chosen_mean.max()),
            ("final", curves.chosen_mean[:, -1], paper.chosen_mean[-1]),
        ):
            low, middle, high = np.quantile(ours, [0.025, 0.5, 0.975])
            inside = bool(low <= float(theirs) <= high)
            asked = f"{float(theirs):.3f}, in our central 95 % of seeds"
            claims.append(Claim(name, f"{what} mean chosen", middle, asked, inside))
        for curve, coverage in result.coverage.items():
            claims.append(
                Claim(
                    name,
                    f"coverage of {curve}",
                    coverage,
                    f"aim {COVERAGE_AIM}",
                    coverage >= COVERAGE_AIM,
                )
            )
        distance = result.best_distance
        what = f"distance of best seed ({result.best_seed})"
        claims.append(Claim(name, what, distance, f"aim {DISTANCE_AIM}", distance <= DISTANCE_AIM))
    return claims


register(
    Study(
        name="fig3",
        title="Likelihoods in the four scenarios",
        alt=(
            "Four panels of likelihood over 2,000 epochs: in each the chosen rises, peaks and "
            "falls, the rejected goes to zero, and the rest rises late."
        ),
        caption=(
            "Probability of the chosen (blue: mean and minimum over prompts), of the rejected "
            "(orange: maximum) and of one response outside the pair (green: mean), over 2,000 "
            "full-batch epochs of DPO. Lines: median over seeds; bands: central 95 %. Dotted "
            "black: the paper's curves, where they were digitised. One setting for all panels."
        ),
        compute=compute,
        draw=draw,
        compare=compare,
    )
)
