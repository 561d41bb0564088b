"""Sweeps: named axes in, labelled arrays out; computed in chunks, stored block by block."""

from toymodel.sweeps.axes import (
    Axis,
    between,
    geomspace,
    latin_hypercube,
    linspace,
    paired,
    random,
)
from toymodel.sweeps.plan import Sweep
from toymodel.sweeps.run import open_sweep, resume, sweep

__all__ = [
    "Axis",
    "Sweep",
    "between",
    "geomspace",
    "latin_hypercube",
    "linspace",
    "open_sweep",
    "paired",
    "random",
    "resume",
    "sweep",
]
