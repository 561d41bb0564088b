"""toymodel: a laboratory for preference optimisation, small enough to be exact.

The layers, each of which imports only from those above it: scenarios, sampling and policies (the
world), losses and rewards (the objective), gradients, exact and identities (the calculus),
simulation, trajectory and properties (running), plots and paper (showing), cli.
"""

from toymodel import (
    exact,
    gradients,
    identities,
    losses,
    optimisers,
    paper,
    plots,
    policies,
    properties,
    rewards,
    scenarios,
)
from toymodel._errors import InputError
from toymodel._version import __version__
from toymodel.flow import gradient_flow
from toymodel.policies import MLP, LogLinear, Tabular
from toymodel.simulation import simulate
from toymodel.trajectory import Trajectory, load

__all__ = [
    "MLP",
    "InputError",
    "LogLinear",
    "Tabular",
    "Trajectory",
    "__version__",
    "exact",
    "gradient_flow",
    "gradients",
    "identities",
    "load",
    "losses",
    "optimisers",
    "paper",
    "plots",
    "policies",
    "properties",
    "rewards",
    "scenarios",
    "simulate",
]
