"""Pictures from labelled results. No mathematics here: what is drawn was computed elsewhere."""

from toymodel.plots.curves import likelihoods, log_gradients, log_likelihoods
from toymodel.plots.ingredients import effects
from toymodel.plots.losses import gallery, portrait
from toymodel.plots.marginals import marginal, scatter
from toymodel.plots.phase import phase_diagram, three_phases
from toymodel.plots.pushes import contributions, interference
from toymodel.plots.style import CHOSEN, OUTSIDE, REJECTED, ROLE_COLOURS, new_figure
from toymodel.plots.tables import heat_map, policy_table

__all__ = [
    "CHOSEN",
    "OUTSIDE",
    "REJECTED",
    "ROLE_COLOURS",
    "contributions",
    "effects",
    "gallery",
    "heat_map",
    "interference",
    "likelihoods",
    "log_gradients",
    "log_likelihoods",
    "marginal",
    "new_figure",
    "phase_diagram",
    "policy_table",
    "portrait",
    "scatter",
    "three_phases",
]
