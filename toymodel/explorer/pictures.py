"""The explorer's curves and areas over training: likelihoods, log-likelihoods, masses."""

import math

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.text import Text

from toymodel.explorer.panels import Panel, cursor, fit_x, legend_above
from toymodel.explorer.scales import ceiling
from toymodel.explorer.view import View
from toymodel.plots import likelihoods, log_likelihoods
from toymodel.plots.curves import LIKELIHOOD_LINES
from toymodel.plots.style import ROLE_COLOURS
from toymodel.scenarios import Role

_LABELS = ("chosen", "_", "rejected", "_", "outside, each")


class OverTime(Panel):
    """A panel over training steps, with a line at the step shown; `begin` makes the line."""

    cursor: Line2D

    def point(self, view: View, at: int) -> None:
        self.cursor.set_xdata([view.run.steps[at]] * 2)


class Likelihoods(OverTime):
    """Probabilities of chosen, rejected and outside the pair, over training."""

    def begin(self, view: View) -> None:
        axes = self.axes[0]
        likelihoods(view.likelihoods, axes, legend=False)
        self.lines = [*axes.lines]
        for line, label in zip(self.lines, _LABELS, strict=True):
            line.set_label(label)
        axes.plot([], [], color="#666666", linestyle="--", label="worst prompt")
        axes.set(xlabel="training step", title="")
        self.heading("Likelihoods")
        legend_above(axes, columns=4)
        self.cursor = cursor(axes)
        self.layers(self.lines, [self.cursor])

    def show(self, view: View) -> None:
        values = [view.likelihoods[name].values for name, *_ in LIKELIHOOD_LINES]
        for line, curve in zip(self.lines, values, strict=True):
            line.set_data(view.run.steps, curve)
        self.axes[0].set_ylim(0, min(1.03, ceiling(1.02 * _most(values))))
        fit_x(self.axes[0], view)

    def words(self, view: View, at: int) -> str:
        data = view.likelihoods
        names = {
            "chosen": "chosen_mean",
            "rejected": "rejected_mean",
            "one response outside the pair": "unseen_mean",
        }
        parts = [
            f"{label} {float(data[name][0]):.2g} at the start, {float(data[name][at]):.2g} now"
            for label, name in names.items()
        ]
        return f"Likelihoods at step {view.run.steps[at]}: {'; '.join(parts)}."


class LogLikelihoods(OverTime):
    """The same of the pair on a logarithmic scale, where the drop shows."""

    def begin(self, view: View) -> None:
        axes = self.axes[0]
        log_likelihoods(view.pairs, axes, legend=False)
        self.lines = [*axes.lines]
        for line, label in zip(self.lines, ("chosen", "rejected"), strict=True):
            line.set_label(label)
        axes.set(xlabel="training step", ylabel="log₁₀ probability")
        self.heading("Log-likelihoods, mean over pairs")
        legend_above(axes)
        self.cursor = cursor(axes)
        self.layers(self.lines, [self.cursor])

    def show(self, view: View) -> None:
        values = self._values(view)
        for line, curve in zip(self.lines, values, strict=True):
            line.set_data(view.run.steps, curve)
        low = ceiling(1.05 * _most([-curve for curve in values]))
        self.axes[0].set_ylim(-low, 0.03 * low)
        fit_x(self.axes[0], view)

    @staticmethod
    def _values(view: View) -> list[np.ndarray]:
        means = [view.pairs[name].values.mean(axis=1) for name in ("chosen", "rejected")]
        return [mean / math.log(10) for mean in means]

    def words(self, view: View, at: int) -> str:
        chosen, rejected = (float(values[at]) for values in self._values(view))
        step = view.run.steps[at]
        return f"Log10 likelihoods at step {step}: chosen {chosen:.3g}, rejected {rejected:.3g}."


class Masses(OverTime):
    """Where the probability is, by role, stacked over training: where the mass went."""

    def arrange(self) -> None:
        self.figure.subplots_adjust(left=0.13, right=0.64, top=0.86, bottom=0.17)

    def begin(self, view: View) -> None:
        axes = self.axes[0]
        self.areas = [
            axes.fill_between(
                view.run.steps, 0, 1, facecolor=ROLE_COLOURS[role], edgecolor="white", linewidth=0.4
            )
            for role in Role
        ]
        axes.set(xlabel="training step", ylabel="probability", ylim=(0, 1))
        axes.grid(False)
        self.heading("Where the mass went")
        self.labels = {role: self._label(role) for role in Role}
        self.cursor = cursor(axes)
        self.layers(self.areas, [self.cursor, *self.labels.values()])

    def _label(self, role: Role) -> Text:
        """A line of the legend, with the mass of a role; they stand in the order of the areas."""
        height = 0.21 + 0.145 * role
        self.figure.text(0.68, height, "■", fontsize=14, va="center", color=ROLE_COLOURS[role])
        return self.figure.text(0.735, height, "", fontsize=8.5, va="center")

    def show(self, view: View) -> None:
        edges = np.cumsum(view.mass, axis=1)
        lows = edges - view.mass
        for role, area in zip(Role, self.areas, strict=True):
            area.set_data(view.run.steps, lows[:, role], edges[:, role])
        fit_x(self.axes[0], view)

    def point(self, view: View, at: int) -> None:
        super().point(view, at)
        for role, label in self.labels.items():
            title = role.title.replace("another prompt's", "others'")
            label.set_text(f"{title}\n{view.mass[at, role]:.2f}")

    def words(self, view: View, at: int) -> str:
        parts = [f"{role.title} {view.mass[at, role]:.2f}" for role in Role]
        return f"Probability by role at step {view.run.steps[at]}: {', '.join(parts)}."


def _most(curves: list[np.ndarray]) -> float:
    """The largest finite number of all curves."""
    return max(float(np.nan_to_num(curve, posinf=0, neginf=0).max()) for curve in curves)
