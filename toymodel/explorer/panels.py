"""The explorer's pictures: drawn once, then only moved, so that a change shows at once.

A picture has three layers. Axes, titles and legends are drawn when a scale changes, and kept; the
run's data on a copy of these, and kept; what moves with the step shown on a copy of both.
"""

import abc
import io
from collections.abc import Hashable, Iterable
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from PIL import Image

from toymodel.explorer.scales import ceiling
from toymodel.explorer.view import View
from toymodel.plots.style import style

#: Inches, and dots an inch: more than a page shows, for sharp screens.
WIDTH, HEIGHT, DPI = 4.4, 2.75, 130
_GREY = "#444444"


class Panel(abc.ABC):
    """A picture that is kept and updated.

    Args:
        width: inches.
        columns: how many axes stand side by side.
    """

    def __init__(self, width: float = WIDTH, columns: int = 1) -> None:
        with style():
            self.figure = Figure(figsize=(width, HEIGHT), dpi=DPI)
            self.canvas: Any = FigureCanvasAgg(self.figure)
            self.axes: list[Axes] = list(self.figure.subplots(1, columns, squeeze=False)[0])
            self.arrange()
        self._data: list[Artist] = []
        self._moving: list[Artist] = []
        self._scale: Hashable = None
        self._has_begun = False
        self._axes_kept: Any = None
        self._all_kept: Any = None

    def arrange(self) -> None:
        """Fixed margins: laying out anew each time would cost more than the drawing."""
        self.figure.subplots_adjust(left=0.13, right=0.955, top=0.8, bottom=0.17)

    def heading(self, text: str, x: float = 0.02) -> None:
        """The picture's title, at its upper left."""
        self.figure.text(x, 0.94, text, fontsize=10, fontweight="bold", va="center")

    def layers(self, data: Iterable[Artist], moving: Iterable[Artist]) -> None:
        """Say which artists belong to a run, and which move with the step shown.

        Args:
            data: those of a run.
            moving: those that move; they are drawn on top.
        """
        self._data, self._moving, self._scale = [*data], [*moving], None
        for artist in (*self._data, *self._moving):
            artist.set_animated(True)

    def scale(self) -> Hashable:
        """What the kept axes hang on: where it changes they are drawn anew."""
        return tuple((*axes.get_xlim(), *axes.get_ylim()) for axes in self.axes)

    @abc.abstractmethod
    def begin(self, view: View) -> None:
        """Make all artists, once, from the first run."""

    @abc.abstractmethod
    def show(self, view: View) -> None:
        """Take over a run."""

    @abc.abstractmethod
    def point(self, view: View, at: int) -> None:
        """Take over the record shown, an index."""

    @abc.abstractmethod
    def words(self, view: View, at: int) -> str:
        """What the picture shows, in words with numbers, for who cannot see it."""

    def draw(self, view: View, at: int) -> bytes:
        """The picture of a run, as PNG."""
        with style():
            if not self._has_begun:
                self.begin(view)
                self._has_begun = True
            self.show(view)
            if self.scale() != self._scale:
                self.canvas.draw()
                self._axes_kept = self._copy()
                self._scale = self.scale()
            else:
                self._back_to(self._axes_kept)
            self._add(self._data)
        self._all_kept = self._copy()
        return self.mark(view, at)

    def mark(self, view: View, at: int) -> bytes:
        """The same picture with another record shown, as PNG."""
        self._back_to(self._all_kept)
        with style():
            self.point(view, at)
            self._add(self._moving)
        return self._png()

    def _copy(self) -> Any:
        return self.canvas.copy_from_bbox(self.figure.bbox)

    def _back_to(self, kept: Any) -> None:
        self.canvas.restore_region(kept)

    def _add(self, artists: Iterable[Artist]) -> None:
        for artist in artists:
            self.figure.draw_artist(artist)

    def _png(self) -> bytes:
        buffer = io.BytesIO()
        pixels = np.asarray(self.canvas.buffer_rgba())[..., :3]
        Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "png", compress_level=1)
        return buffer.getvalue()


def cursor(axes: Axes) -> Line2D:
    """The vertical line that says which step is shown."""
    return axes.axvline(0, color=_GREY, linewidth=1.2, linestyle=(0, (4, 2)))


def legend_above(axes: Axes, columns: int = 3, handles: list[Line2D] | None = None) -> None:
    """A legend in a row between the title and the data."""
    axes.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(-0.02, 0.98),
        ncols=columns,
        fontsize=8.5,
        handlelength=1.3,
        handletextpad=0.5,
        columnspacing=0.9,
        borderpad=0.1,
    )


def fit_x(axes: Axes, view: View) -> None:
    """Let the axis of steps end soon after the run."""
    axes.set_xlim(0, ceiling(float(view.run.steps[-1])))
    axes.xaxis.set_major_locator(MaxNLocator(5))
