"""Figure 2: likelihoods; and, of a faster run, gradients and likelihoods as logarithms."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from toymodel import plots
from toymodel.paper.data import digitised
from toymodel.paper.setting import CALIBRATED, EPOCHS, FAST, FAST_EPOCHS
from toymodel.plots.curves import LIKELIHOOD_LINES, line_with_band
from toymodel.plots.style import legend_below, new_figure, style
from toymodel.studies.study import Claim, Study, register

_SCENARIO = "both_on_policy"
_FLOAT32_FLOOR = -45  # log10 of the smallest float32: where the paper's curve of pi- ends


def compute(seeds: int) -> xr.Dataset:
    """Likelihoods of the slow run and, of the fast run, log10 gradients and log10 likelihoods."""
    slow = CALIBRATED.run(_SCENARIO, seeds=range(seeds), epochs=EPOCHS)
    fast = FAST.run(_SCENARIO, seeds=range(seeds), epochs=FAST_EPOCHS, record=5)
    gradients = fast.probability_gradients().rename(
        chosen="gradient_chosen", rejected="gradient_rejected", step="fast_step"
    )
    log10 = fast.pair_log_probs() / np.log(10)
    log10 = log10.rename(chosen="log10_chosen", rejected="log10_rejected", step="fast_step")
    return xr.merge([slow.likelihoods(), gradients, log10]).assign_attrs(scenario=_SCENARIO)


def _of_fast_run(data: xr.Dataset, prefix: str) -> xr.Dataset:
    names = {f"{prefix}_{half}": half for half in ("chosen", "rejected")}
    return data[list(names)].rename(names).rename(fast_step="step")


def draw(data: xr.Dataset) -> Figure:
    """Three panels."""
    with style():
        figure, axes = new_figure(1, 3)
        left, middle, right = axes[0]
        for name, label, colour, dashes in LIKELIHOOD_LINES:
            line_with_band(left, data[name], color=colour, linestyle=dashes, label=label)
        left.set(xlabel="epoch", ylabel="probability", ylim=(0, None), title="likelihoods")
        plots.log_gradients(_of_fast_run(data, "gradient"), middle, legend=False)
        middle.set(xlabel="epoch (faster run)", title="gradients in probability space")
        nats = _of_fast_run(data, "log10") * np.log(10)
        plots.log_likelihoods(nats, right, legend=False)
        right.axhline(_FLOAT32_FLOOR, color="0.5", lw=1, ls=":")
        right.text(0, _FLOAT32_FLOOR + 0.8, "smallest float32", color="0.4", fontsize=8)
        right.set(xlabel="epoch (faster run)", title="likelihoods, as logarithms")
        legend_below(figure, left, columns=3)
    return figure


def compare(data: xr.Dataset) -> list[Claim]:
    """The rejected and its gradient where the paper's run ends, and the rise and fall."""
    middle = data.median("seed")
    at_485 = middle.sel(fast_step=485).mean("pair")
    floor = float(at_485["log10_rejected"])
    size = float(at_485["gradient_rejected"])
    rises = float(middle["chosen_mean"].max() - middle["chosen_mean"][0])
    falls = float(middle["chosen_mean"].max() - middle["chosen_mean"][-1])
    paper = digitised(_SCENARIO).chosen_mean
    rise, fall = float(paper.max() - paper[0]), float(paper.max() - paper[-1])

    def near(ours: float, theirs: float) -> bool:
        return abs(ours - theirs) < 0.15

    return [
        Claim("fast run", "log10 pi- at 485 (fitted)", floor, "-45 +- 2", abs(floor + 45) <= 2),
        Claim("fast run", "log10 |dL/dpi-| there", size, "43 +- 2", abs(size - 43) <= 2),
        Claim("slow run", "rise of mean chosen", rises, f"{rise:.3f} +- 0.15", near(rises, rise)),
        Claim("slow run", "fall of mean chosen", falls, f"{fall:.3f} +- 0.15", near(falls, fall)),
    ]


register(
    Study(
        name="fig2",
        title="Likelihoods, gradients and log-likelihoods",
        alt=(
            "Left, the chosen likelihood rises and falls over 2,000 epochs. Middle, the rejected "
            "gradient in probability space grows beyond 1e40. Right, log10 of the rejected "
            "likelihood falls to -45."
        ),
        caption=(
            "Left: likelihoods over 2,000 epochs (scenario both_on_policy). Middle and right: a "
            "run at a higher learning rate over 500 epochs. As pi(rejected) vanishes its gradient "
            "in probability space explodes, here drawn from exact logarithms far beyond the range "
            "of float32. Lines: median over seeds, mean over pairs; bands: central 95 %."
        ),
        compute=compute,
        draw=draw,
        compare=compare,
    )
)
