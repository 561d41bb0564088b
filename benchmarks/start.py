"""The toy's start, from toymodel's own fit."""

import jax
import numpy as np

import toymodel as tm
from benchmarks.toy import UNITS, Toy


def toy(cells: int, steps: int) -> Toy:
    """The toy with some configurations, from the start that toymodel's own fit gives."""
    params, _ = tm.MLP(hidden=(UNITS,)).fit(
        tm.scenarios.both_on_policy().log_table, jax.random.key(0)
    )
    first, last = (tuple(np.asarray(leaf) for leaf in layer) for layer in params)
    betas = np.geomspace(0.02, 0.2, cells).astype(np.float32)
    rates = np.geomspace(2e-4, 4e-4, cells)[::-1].astype(np.float32)
    return Toy(first, last, betas, rates, steps)
