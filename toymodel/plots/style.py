"""One look for all pictures: a role has the same colour everywhere, safe for colour-blind eyes.

Colours are Okabe and Ito's palette. Legends stand outside the data.
"""

import io
from contextlib import AbstractContextManager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toymodel.scenarios import Role

#: The colour of each role. Curves of the pair and of everything outside it use the same ones.
ROLE_COLOURS = {
    Role.OWN_CHOSEN: "#0072B2",
    Role.OWN_REJECTED: "#D55E00",
    Role.OTHER_CHOSEN: "#56B4E9",
    Role.OTHER_REJECTED: "#E69F00",
    Role.UNSEEN: "#009E73",
}
CHOSEN, REJECTED = ROLE_COLOURS[Role.OWN_CHOSEN], ROLE_COLOURS[Role.OWN_REJECTED]
OUTSIDE = ROLE_COLOURS[Role.UNSEEN]
PAPER = "black"

#: Sequential map for probabilities: even in lightness, so it survives print and colour blindness.
PROBABILITY_MAP = "cividis"
#: Sequential map for other sizes: nothing is pale, so that black lines show.
QUANTITY_MAP = "YlGnBu"

_SETTINGS: dict[Any, Any] = {
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E5E5E5",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "savefig.dpi": 150,
    "svg.hashsalt": "toymodel",
}


def style() -> AbstractContextManager[None]:
    """The settings every picture is drawn with, as a context."""
    context: AbstractContextManager[None] = mpl.rc_context(_SETTINGS)
    return context


class Picture(Figure):
    """A figure that stands alone: a notebook shows it, and no global state of pyplot holds it."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()


def new_figure(
    rows: int = 1, columns: int = 1, *, panel: tuple[float, float] = (4.2, 3.1)
) -> tuple[Picture, Any]:
    """A figure in the house style and its axes, laid out so that nothing overlaps.

    Args:
        rows: of panels.
        columns: of panels.
        panel: width and height of each (inches).

    Returns:
        The figure, which a notebook shows, and a 2-d array of axes, [row, column].

    Example:
        >>> import toymodel as tm
        >>> figure, axes = tm.plots.new_figure(1, 2)
        >>> axes.shape
        (1, 2)
    """
    with style():
        figure = Picture(figsize=(panel[0] * columns, panel[1] * rows), layout="constrained")
        return figure, figure.subplots(rows, columns, squeeze=False)


def legend_below(figure: Figure, axes: Axes, *, columns: int = 4) -> None:
    """One legend for the whole figure, under the data; each label once."""
    handles, labels = axes.get_legend_handles_labels()
    first = dict(reversed(list(zip(labels, handles, strict=True))))
    ordered = list(dict.fromkeys(labels))
    figure.legend(
        [first[label] for label in ordered], ordered, loc="outside lower center", ncols=columns
    )
