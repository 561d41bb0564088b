"""Counterparts of the paper's Figures 4 to 9 from the miniature's records."""

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toymodel.llm.miniature.plan import FLEX_BETAS, SCENARIOS
from toymodel.llm.miniature.rates import rates
from toymodel.llm.miniature.records import Records
from toymodel.llm.miniature.tables import ASPECTS, ON_POLICY
from toymodel.plots.curves import line_with_band
from toymodel.plots.style import CHOSEN, OUTSIDE, REJECTED, legend_below, new_figure, style

_DPO_BETA = 0.1  # where DPO stands among Flex-DPO's beta_rejected


def figure_4(records: Records) -> Figure | None:
    """Aspects of verses over beta_rejected, a panel a learning rate; None without verses."""
    tried = rates(records, task="verses", method="dpo")
    if not tried:
        return None
    betas = sorted((*FLEX_BETAS, _DPO_BETA))
    with style():
        figure, axes = new_figure(1, len(tried))
        for panel, rate in zip(axes[0], tried, strict=True):
            for at, aspect in enumerate(ASPECTS["verses"]):
                values = np.array(
                    [
                        records.values(
                            f"test/aspect/{aspect}",
                            task="verses",
                            method="dpo" if beta == _DPO_BETA else f"flex_dpo@{beta:g}",
                            learning_rate=rate,
                        )
                        for beta in betas
                    ]
                )
                panel.plot(betas, np.nanmean(values, axis=1), "osD^v"[at] + "-", label=aspect, ms=5)
            panel.axvline(_DPO_BETA, color="0.6", lw=1, ls=":")
            panel.set(
                title=f"learning rate {rate:g}",
                xlabel="beta_rejected (beta_chosen 0.1; dotted: DPO)",
                ylabel="score of verses (0 to 1)",
                ylim=(0, 1.02),
            )
        legend_below(figure, axes[0, 0], columns=5)
    return figure


def figures_5_and_7(records: Records) -> Figure:
    """Held-out accuracy while a reward model and DPO are trained on the same pairs."""
    tried = rates(records, **ON_POLICY)
    with style():
        figure, axes = new_figure(1, 1 + len(tried))
        runs: list[tuple[str, dict[str, Any], str]] = [
            ("reward model", {"task": "arithmetic", "method": "reward_model"}, OUTSIDE)
        ]
        runs += [(f"DPO, rate {r:g}", {**ON_POLICY, "learning_rate": r}, CHOSEN) for r in tried]
        for panel, (title, cell, colour) in zip(axes[0], runs, strict=True):
            _curve(panel, records, "accuracy", cell, color=colour, label=title)
            panel.set(
                title=title, xlabel="update", ylabel="accuracy on held-out pairs", ylim=(0, 1.02)
            )
    return figure


def figure_6(records: Records) -> Figure:
    """Both halves of DPO's gradient, in probability space above and in parameter space below."""
    tried = rates(records, **ON_POLICY)
    with style():
        figure, axes = new_figure(2, len(tried))
        for column, rate in enumerate(tried):
            cell = {**ON_POLICY, "learning_rate": rate}
            for half, colour, dashes in (("chosen", CHOSEN, "-"), ("rejected", REJECTED, "--")):
                line = {"color": colour, "linestyle": dashes, "label": half}
                _curve(axes[0, column], records, f"log10_{half}", cell, **line)
                _curve(axes[1, column], records, f"gradient_{half}", cell, **line)
            axes[0, column].set(
                title=f"learning rate {rate:g}",
                xlabel="update",
                ylabel="log10 |dL/dpi|, mean over pairs",
            )
            axes[1, column].set(
                xlabel="update", ylabel="norm of the half's gradient\nin parameters", ylim=(0, None)
            )
        legend_below(figure, axes[0, 0], columns=2)
    return figure


def figures_8_and_9(records: Records) -> Figure:
    """Loss and log-probabilities in training with one and with two epochs of DPO."""
    tried = rates(records, **ON_POLICY)
    quantities = {"train_loss": "loss on 64 training pairs", "accuracy": "held-out accuracy"}
    with style():
        figure, axes = new_figure(2, len(tried))
        for column, rate in enumerate(tried):
            for row, (name, label) in enumerate(quantities.items()):
                for epochs, colour, dashes in ((1, CHOSEN, "-"), (2, REJECTED, "--")):
                    cell = {**ON_POLICY, "learning_rate": rate, "epochs": epochs}
                    line = {"color": colour, "linestyle": dashes, "label": f"epochs: {epochs}"}
                    _curve(axes[row, column], records, name, cell, **line)
                axes[row, column].set(xlabel="update", ylabel=label)
            axes[0, column].set(title=f"learning rate {rate:g}")
        legend_below(figure, axes[0, 0], columns=2)
    return figure


def likelihoods(records: Records) -> Figure:
    """Log-probabilities of chosen and rejected under DPO, by scenario and learning rate."""
    tried = rates(records, **ON_POLICY)
    with style():
        figure, axes = new_figure(len(tried), len(SCENARIOS), panel=(3.3, 2.8))
        for row, rate in enumerate(tried):
            for column, scenario in enumerate(SCENARIOS):
                panel = axes[row, column]
                cell = {**ON_POLICY, "scenario": scenario, "learning_rate": rate}
                for half, colour, dashes in (("chosen", CHOSEN, "-"), ("rejected", REJECTED, "--")):
                    line = {"color": colour, "linestyle": dashes, "label": half}
                    _curve(panel, records, half, cell, **line)
                panel.set(title=f"{scenario}\nrate {rate:g}", xlabel="update")
            axes[row, 0].set(ylabel="log-probability of a response\n(nats, mean over pairs)")
        legend_below(figure, axes[0, 0], columns=2)
    return figure


#: Name of the file -> what draws it and what it shows.
PICTURES: dict[str, tuple[Callable[[Records], Figure | None], str]] = {
    "llm_likelihoods": (likelihoods, "Log-probabilities under DPO by scenario (Figure 3, Table 7)"),
    "llm_fig4": (figure_4, "Scores of verses over beta_rejected (Figure 4)"),
    "llm_fig5": (figures_5_and_7, "Held-out accuracy: reward model and DPO (Figures 5 and 7)"),
    "llm_fig6": (figure_6, "Both halves of the gradient, in two spaces (Figure 6)"),
    "llm_fig8": (figures_8_and_9, "One and two epochs of DPO (Figures 8 and 9)"),
}


def _curve(axes: Axes, records: Records, name: str, cell: dict[str, Any], **line: str) -> None:
    """Median over seeds with the band of all of them."""
    steps, values = _log10_gradient(records, name, cell) or records.curves(name, **cell)
    if len(steps):
        line_with_band(axes, xr.DataArray(values, {"step": steps}, ("seed", "step")), **line)


def _log10_gradient(
    records: Records, name: str, cell: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray] | None:
    """Steps and log10 |dL/dpi| of a half, from the logarithms that were recorded."""
    if not name.startswith("log10_"):
        return None
    steps, values = records.curves("log_rejected", **cell)
    if name == "log10_chosen":
        values = values - records.curves("log_ratio", **cell)[1]
    return steps, values / np.log(10)
