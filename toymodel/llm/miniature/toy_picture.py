"""The toy's predictions beside the language models' changes, as maps of signs and sizes."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure

from toymodel.attribution.effects import estimate
from toymodel.llm.miniature.plan import SCENARIOS
from toymodel.llm.miniature.toy import QUANTITIES, Effects
from toymodel.plots.style import new_figure, style

_TITLES = {
    "chosen": "chosen (nats)",
    "rejected": "rejected (nats)",
    "outside": "outside (probability)",
}
_NORMS = {"chosen": (0.1, 10.0), "rejected": (0.1, 100.0), "outside": (0.01, 1.0)}


def draw(toy: Effects, models: Mapping[str, Effects]) -> Figure:
    """A row for the toy and one for each model; a column for each quantity.

    Red falls, blue rises. Under a model's number: ``=`` where the toy has the same sign, ``x``
    where the other, nothing where one of the two cannot be told from 0 (in brackets).

    Args:
        toy: predicted.
        models: title -> measured, of the same losses.
    """
    rows = {"toy": toy, **models}
    with style():
        figure, axes = new_figure(
            len(rows), len(QUANTITIES), panel=(4.3, 0.55 * len(toy.losses) + 1)
        )
        for row, (title, effects) in enumerate(rows.items()):
            for column, quantity in enumerate(QUANTITIES):
                marks = None if title == "toy" else _marks(toy, effects, column)
                panel = axes[row, column]
                _map(panel, effects, column, marks)
                panel.set_title(f"{title}: change of {_TITLES[quantity]}")
                panel.set_yticks(range(len(toy.losses)), toy.losses if column == 0 else [])
                names = [name.replace("_policy", "").replace("_", " ") for name in SCENARIOS]
                panel.set_xticks(range(len(SCENARIOS)), names, fontsize=8)
    return figure


def _map(axes: Axes, effects: Effects, at: int, marks: np.ndarray | None) -> None:
    """One map with its numbers; those that cannot be told from 0 are in brackets."""
    means = estimate(effects.changes[at]).mean
    linear, most = _NORMS[QUANTITIES[at]]
    norm = SymLogNorm(linear, vmin=-most, vmax=most)
    axes.imshow(means, cmap="RdBu", norm=norm, aspect="auto")
    axes.grid(False)
    signs = effects.signs()[at]
    for place, value in np.ndenumerate(means):
        number = f"{value:+.2g}" if signs[place] else f"({value:+.2g})"
        text = number + (f"\n{marks[place]}" if marks is not None else "")
        colour = "white" if abs(norm(value) - 0.5) > 0.3 else "black"
        axes.text(place[1], place[0], text, ha="center", va="center", color=colour, fontsize=8)


def _marks(toy: Effects, model: Effects, at: int) -> np.ndarray:
    one, other = toy.signs()[at], model.signs()[at]
    decided = (one != 0) & (other != 0)
    return np.where(decided, np.where(one == other, "=", "x"), "")
