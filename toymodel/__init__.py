"""toymodel: a laboratory for preference optimisation, small enough to be exact.

The layers, each of which imports only from those above it: scenarios, sampling and policies (the
world), losses, rewards, objectives and rl (the objective), gradients, exact, values, kernels and
identities (the calculus), simulation, trajectory, properties, decomposition, sweeps and attribution
(running), plots, studies, paper, why, roads and explorer (showing), diagnose and llm (the bridge),
cli.
"""

import importlib
from typing import TYPE_CHECKING

from toymodel import (
    attribution,
    decomposition,
    diagnose,
    exact,
    gradients,
    identities,
    kernels,
    losses,
    objectives,
    optimisers,
    paper,
    plots,
    policies,
    preconditioners,
    properties,
    rewards,
    rl,
    roads,
    sampling,
    scenarios,
    sequences,
    special_cases,
    studies,
    sweeps,
    values,
    why,
    worlds,
)
from toymodel._errors import InputError
from toymodel._version import __version__
from toymodel.attribution import attribute
from toymodel.explorer import explore
from toymodel.flow import gradient_flow
from toymodel.policies import (
    MLP,
    Autoregressive,
    FeatureMLP,
    LogLinear,
    PrefixTabular,
    Tabular,
)
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
    "Autoregressive",
    "FeatureMLP",
    "InputError",
    "LogLinear",
    "PrefixTabular",
    "Sweep",
    "Tabular",
    "Trajectory",
    "__version__",
    "attribute",
    "attribution",
    "between",
    "decomposition",
    "diagnose",
    "exact",
    "explore",
    "geomspace",
    "gradient_flow",
    "gradients",
    "identities",
    "kernels",
    "latin_hypercube",
    "linspace",
    "load",
    "losses",
    "objectives",
    "open_sweep",
    "optimisers",
    "paired",
    "paper",
    "plots",
    "policies",
    "preconditioners",
    "properties",
    "random",
    "resume",
    "rewards",
    "rl",
    "roads",
    "sampling",
    "scenarios",
    "sequences",
    "simulate",
    "special_cases",
    "studies",
    "sweep",
    "sweeps",
    "values",
    "why",
    "worlds",
]


if TYPE_CHECKING:
    from toymodel import llm as llm
else:

    def __getattr__(name: str) -> object:
        if name == "llm":  # late: nothing else of the library needs what it imports
            return importlib.import_module("toymodel.llm")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
