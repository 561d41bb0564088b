"""Why a response moved: contributions stacked over training, and interference between pairs."""

from typing import cast

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toymodel._errors import refuse
from toymodel._typing import ArrayLike
from toymodel.decomposition import grouped
from toymodel.plots.style import CHOSEN, REJECTED, legend_below, new_figure, style

#: Parts of a step as they are stacked: label and colour.
_PARTS = {
    "own chosen": CHOSEN,
    "own rejected": REJECTED,
    "other pairs": "#56B4E9",
    "preconditioning": "#CC79A7",
    "momentum": "#F0E442",
    "unsplit": "#999999",
    "residual": "#000000",
}
#: Parts that are left out where nobody would see them: most runs have no use for them.
_RARE = ("unsplit", "residual")
_VISIBLE = 0.01  # of the picture's height


def contributions(
    parts: xr.Dataset, prompt: int, response: int, ax: Axes | None = None, *, legend: bool = True
) -> Figure:
    """What moved one response's log-probability, step by step, stacked over training.

    Args:
        parts: what `Trajectory.decompose` gave; several seeds are averaged.
        prompt: which prompt.
        response: which response.
        ax: axes to draw on; default: a new figure.
        legend: explain the colours under the figure.

    Raises:
        InputError: a prompt or response that the world has not.

    Example:
        >>> import toymodel as tm
        >>> run = tm.simulate("both_on_policy", "tabular", "dpo", "adam",
        ...                   learning_rate=1e-2, steps=9)
        >>> figure = tm.plots.contributions(run.decompose(at=5), prompt=0, response=0)
        >>> figure.axes[0].get_xlabel()
        'training step'
    """
    for name, value in (("prompt", prompt), ("response", response)):
        if not 0 <= value < parts.sizes[name]:
            raise refuse(name, value, f"a whole number from 0 to {parts.sizes[name] - 1}")
    found = grouped(parts, prompt).isel(response=response)
    found = found.mean("seed") if "seed" in found.dims else found
    with style():
        if ax is None:
            made, grid = new_figure(panel=(7.0, 4.0))
            figure, axes = cast(Figure, made), grid[0, 0]
        else:
            figure, axes = cast(Figure, ax.get_figure()), ax
        stacked(axes, found)
        axes.set(
            title=f"prompt {prompt}, response {response}",
            ylabel="change of log-probability (nats a step)",
        )
        if legend:
            legend_below(figure, axes, columns=3)
    return figure


def stacked(axes: Axes, found: xr.Dataset) -> None:
    """Stack the parts of `decomposition.grouped` over steps, gains above zero, losses below.

    They add up to the line. What is unsplit and the residual are left out where they are less than
    a hundredth of the picture's height, as nobody would see them.

    Args:
        axes: where to draw.
        found: what `grouped` gave, of one response, over steps.
    """
    steps = found["step"].values
    above, below = np.zeros(len(steps)), np.zeros(len(steps))
    sizes = {name: np.abs(found[name].values) for name in _PARTS}
    height = np.sum(list(sizes.values()), axis=0).max()
    for name, colour in _PARTS.items():
        values = found[name].values
        if name in _RARE and sizes[name].max() <= _VISIBLE * height:
            continue
        gain, loss = np.maximum(values, 0), np.minimum(values, 0)
        axes.fill_between(
            steps, above, above + gain, color=colour, alpha=0.8, linewidth=0, label=name
        )
        axes.fill_between(steps, below, below + loss, color=colour, alpha=0.8, linewidth=0)
        above, below = above + gain, below + loss
    axes.plot(steps, found["change"].values, color="black", linewidth=1.4, label="in all")
    axes.axhline(0, color="black", linewidth=0.6)
    axes.set_xlabel("training step")


def interference(matrix: ArrayLike, ax: Axes | None = None, *, of: str = "margin") -> Figure:
    """Which pair helps (blue) or hurts (red) which: the matrix of `kernels.interference`.

    Args:
        matrix: [pair moved, pair moving], nats per unit of time.
        ax: axes to draw on; default: a new figure.
        of: what is moved, for the title.

    Example:
        >>> figure = interference([[1.0, -0.2], [0.1, 0.8]])
        >>> figure.axes[0].get_ylabel()
        'pair moved'
    """
    values = np.asarray(matrix, float)
    if values.ndim != 2 or values.shape[0] != values.shape[1]:
        raise refuse("matrix", f"shape {values.shape}", "[pair moved, pair moving]")
    largest = float(np.abs(values).max()) or 1.0
    with style():
        if ax is None:
            made, grid = new_figure(panel=(5.0, 4.2))
            figure, axes = cast(Figure, made), grid[0, 0]
        else:
            figure, axes = cast(Figure, ax.get_figure()), ax
        image = axes.imshow(values, cmap="RdBu", vmin=-largest, vmax=largest)
        for (moved, moving), value in np.ndenumerate(values):
            dark = abs(value) > 0.6 * largest
            axes.text(
                *(moving, moved, f"{value:.2g}"),
                ha="center",
                va="center",
                fontsize=7,
                color="white" if dark else "black",
            )
        axes.set(xlabel="pair moving", ylabel="pair moved", title=f"effect on the {of}")
        axes.set_xticks(range(len(values)))
        axes.set_yticks(range(len(values)))
        axes.grid(False)
        figure.colorbar(image, ax=axes, label="nats per unit of time; positive helps")
    return figure
