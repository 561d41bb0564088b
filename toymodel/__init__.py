"""toymodel: a laboratory for preference optimisation, small enough to be exact.

The layers, each of which imports only from those above it: scenarios, sampling and policies (the
world), losses and rewards (the objective), gradients, exact and identities (the calculus),
simulation, trajectory, properties and sweeps (running), plots and paper (showing), cli.
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
    sweeps,
)
from toymodel._errors import InputError
from toymodel._version import __version__
from toymodel.flow import gradient_flow
from toymodel.policies import MLP, LogLinear, Tabular
from toymodel.simulation import simulate
from toymodel.sweeps import (
    Sweep,
    between,
    geomspace,
    latin_hypercube,
    linspace,
    open_sweep,
    paired,
    random,
    resume,
    sweep,
)
from toymodel.trajectory import Trajectory, load

__all__ = [
    "MLP",
    "InputError",
    "LogLinear",
    "Sweep",
    "Tabular",
    "Trajectory",
    "__version__",
    "between",
    "exact",
    "geomspace",
    "gradient_flow",
    "gradients",
    "identities",
    "latin_hypercube",
    "linspace",
    "load",
    "losses",
    "open_sweep",
    "optimisers",
    "paired",
    "paper",
    "plots",
    "policies",
    "properties",
    "random",
    "resume",
    "rewards",
    "scenarios",
    "simulate",
    "sweep",
    "sweeps",
]
