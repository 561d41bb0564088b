"""The explorer's maps: the policy at one step, and the slopes with the run's path on them."""

from collections.abc import Hashable

import numpy as np
from matplotlib import colors
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from toymodel.explorer.panels import WIDTH, Panel, legend_above
from toymodel.explorer.scales import ceiling
from toymodel.explorer.view import View
from toymodel.plots import heat_map
from toymodel.plots.style import CHOSEN, REJECTED

_MOST_NUMBERS = 12  # columns of a heat map whose cells have room for a number


class PolicyMap(Panel):
    """The policy at the step shown, as a heat map with the pair framed."""

    def arrange(self) -> None:
        self.figure.subplots_adjust(left=0.1, right=0.98, top=0.8, bottom=0.17)
        self._world: Hashable = None

    def begin(self, view: View) -> None:
        for colour, label in ((CHOSEN, "own chosen"), (REJECTED, "own rejected")):
            self.axes[0].plot([], [], "s", mfc="none", mec=colour, mew=2, ms=7, label=label)
        self.handles = [*self.axes[0].lines]
        self.heading("The policy")
        self.step = self.figure.text(0.975, 0.94, "", fontsize=9, ha="right", va="center")

    def show(self, view: View) -> None:
        world = (view.roles.tobytes(), view.shown.tobytes(), view.run.scenario.shape)
        if world == self._world:
            return
        self._world = world
        axes, everything = self.axes[0], view.run.scenario.shape[1]
        axes.clear()
        self.image = heat_map(axes, view.table[0], view.roles)
        axes.set_xticks(range(len(view.shown)), [str(number) for number in view.shown])
        if len(view.shown) > _MOST_NUMBERS:
            for text in [*axes.texts]:
                text.remove()
            axes.tick_params(axis="x", labelsize=7.5)
        if everything > len(view.shown):
            axes.set_xlabel(f"response (the likeliest {len(view.shown)} of {everything})")
        legend_above(axes, handles=self.handles)
        self.layers([], [self.image, *axes.patches, *axes.texts, self.step])

    def point(self, view: View, at: int) -> None:
        table = view.table[at]
        self.image.set_data(table)
        self.step.set_text(f"π(response | prompt) at step {view.run.steps[at]:,}")
        for text, value in zip(self.axes[0].texts, table.flat, strict=False):
            text.set_text(f"{value:.2f}" if value >= 0.005 else "0")
            text.set_color("black" if value > 0.4 else "white")

    def words(self, view: View, at: int) -> str:
        rows = [
            f"prompt {prompt}: response {view.shown[row.argmax()]} is likeliest, {row.max():.2f}"
            for prompt, row in enumerate(np.nan_to_num(view.table[at]))
        ]
        return f"Policy at step {view.run.steps[at]}. {'; '.join(rows)}."


class SlopeMaps(Panel):
    """Both slopes of the loss over the log-ratios, and the run's path on them."""

    def __init__(self) -> None:
        super().__init__(width=2 * WIDTH, columns=2)

    def arrange(self) -> None:
        self.figure.subplots_adjust(left=0.075, right=0.965, top=0.8, bottom=0.17, wspace=0.24)

    def begin(self, view: View) -> None:
        self.images: list[AxesImage] = []
        self.paths: list[Line2D] = []
        self.starts: list[Line2D] = []
        self.here: list[Line2D] = []
        for axes in self.axes:
            self._begin(axes)
        self.heading("Slope a₊: negative lifts the chosen")
        self.heading("Slope a₋: positive lowers the rejected", x=0.5)
        legend_above(self.axes[0])
        self.layers([*self.images, *self.paths, *self.starts], self.here)

    def _begin(self, axes: Axes) -> None:
        image = axes.imshow(
            np.zeros((2, 2)), cmap="PuOr", origin="lower", aspect="auto", interpolation="bilinear"
        )
        bar = self.figure.colorbar(image, ax=axes, pad=0.02)
        bar.locator = MaxNLocator(4)
        bar.ax.tick_params(labelsize=8.5)
        axes.grid(False)
        axes.set(xlabel="r, log-ratio of the rejected (nats)", ylabel="c, of the chosen")
        (halo,) = axes.plot([], [], color="white", linewidth=4)
        (path,) = axes.plot([], [], color="black", linewidth=1.8)
        (start,) = axes.plot([], [], "o", mfc="white", mec="black", ms=6, label="start")
        (here,) = axes.plot([], [], "D", mfc="black", mec="white", ms=7, label="step shown")
        self.images.append(image)
        self.paths += [halo, path]
        self.starts.append(start)
        self.here.append(here)

    def scale(self) -> Hashable:
        return super().scale(), tuple(image.get_clim() for image in self.images)

    def show(self, view: View) -> None:
        plane = view.plane
        r, c = plane.path_r.mean(axis=1), plane.path_c.mean(axis=1)
        for image, half in zip(self.images, ("chosen", "rejected"), strict=True):
            values = getattr(plane, half)
            image.set_data(values)
            image.set_extent((*plane.r[[0, -1]], *plane.c[[0, -1]]))
            largest = ceiling(float(np.abs(values[np.isfinite(values)]).max(initial=0)))
            if image.get_clim() != (-largest, largest):
                image.set_norm(colors.Normalize(-largest, largest))
        for line in self.paths:
            line.set_data(r, c)
        _put(self.starts, r[0], c[0])
        for axes in self.axes:
            axes.set(xlim=plane.r[[0, -1]], ylim=plane.c[[0, -1]])

    def point(self, view: View, at: int) -> None:
        _put(self.here, view.plane.path_r[at].mean(), view.plane.path_c[at].mean())

    def words(self, view: View, at: int) -> str:
        plane = view.plane
        return (
            f"Slopes of the loss over log-ratios, with the path of the mean pair: at step "
            f"{view.run.steps[at]} the chosen's log-ratio is {plane.path_c[at].mean():.3g} nats, "
            f"the rejected's {plane.path_r[at].mean():.3g}."
        )


def _put(marks: list[Line2D], x: float, y: float) -> None:
    for mark in marks:
        mark.set_data([x], [y])
