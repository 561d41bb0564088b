"""Heat maps of a policy's table: prompts down, responses across, roles marked."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Patch, Rectangle

from toymodel._typing import ArrayLike
from toymodel.plots.style import CHOSEN, PROBABILITY_MAP, REJECTED, new_figure, style
from toymodel.scenarios import Role
from toymodel.trajectory import Trajectory

_MARKED = {Role.OWN_CHOSEN: CHOSEN, Role.OWN_REJECTED: REJECTED}


def heat_map(axes: Axes, table: ArrayLike, roles: ArrayLike, title: str = "") -> AxesImage:
    """A table of probabilities with its numbers; own chosen and rejected framed in their colours.

    Colour grows with the square root of the probability, so that small ones can be told apart.

    Args:
        axes: axes to draw on.
        table: probabilities, [prompt, response].
        roles: `Role` of each entry, [prompt, response].
        title: above the panel.

    Returns:
        The image, for a colour bar.
    """
    values, kinds = np.asarray(table, float), np.asarray(roles)
    image = axes.imshow(values, cmap=PROBABILITY_MAP, norm=PowerNorm(0.5, 0, 1), aspect="auto")
    for (prompt, response), value in np.ndenumerate(values):
        axes.text(
            response,
            prompt,
            f"{value:.2f}" if value >= 0.005 else "0",
            ha="center",
            va="center",
            fontsize=7,
            color="black" if value > 0.4 else "white",
        )
        role = Role(int(kinds[prompt, response]))
        if role in _MARKED:
            corner = (response - 0.46, prompt - 0.44)
            axes.add_patch(
                Rectangle(corner, 0.92, 0.88, fill=False, edgecolor=_MARKED[role], linewidth=2.4)
            )
    axes.set(xlabel="response", ylabel="prompt", title=title)
    axes.set_xticks(range(values.shape[1]))
    axes.set_yticks(range(values.shape[0]))
    axes.grid(False)
    return image


def policy_table(run: Trajectory, step: int = -1) -> Figure:
    """The policy of a run at one recorded step, as a heat map; mean over seeds.

    Args:
        run: the run.
        step: which record: an index into ``run.steps``; default the last.

    Example:
        >>> import toymodel as tm
        >>> run = tm.simulate("both_on_policy", "tabular", "dpo", "sgd", learning_rate=1.0, steps=9)
        >>> tm.plots.policy_table(run).axes[0].get_title()
        'both on policy, step 9'
    """
    log_probs = np.asarray(run.log_probs)
    tables = np.exp(log_probs[..., step, :, :]).reshape(-1, *run.scenario.shape)
    with style():
        figure, axes = new_figure(panel=(6.0, 2.8))
        title = f"{run.scenario.name.replace('_', ' ')}, step {run.steps[step]}"
        image = heat_map(axes[0, 0], tables.mean(axis=0), run.scenario.roles, title)
        figure.colorbar(image, ax=axes, label="probability")
        mark_legend(figure)
    return figure


def mark_legend(figure: Figure) -> None:
    """Explain the frames of `heat_map`, under the figure."""
    patches = [
        Patch(facecolor="none", edgecolor=colour, linewidth=2.4, label=f"{role.title} response")
        for role, colour in _MARKED.items()
    ]
    figure.legend(handles=patches, loc="outside lower center", ncols=2)
