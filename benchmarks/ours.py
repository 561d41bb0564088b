"""toymodel's sweep engine on the toy: the same cells, through `toymodel.sweep`."""

import numpy as np

import toymodel as tm
from benchmarks.toy import UNITS, Toy


def train(toy: Toy, *, workers: int | None = None) -> np.ndarray:
    """Train through the public entry function; its own fit starts every cell alike (seed 0)."""
    found = tm.sweep(
        tm.Sweep("both_on_policy", tm.MLP(hidden=(UNITS,)), "dpo", "adam", steps=toy.steps),
        tm.paired({"loss.beta": toy.betas.tolist(), "learning_rate": toy.rates.tolist()}),
        record="final",
        workers=workers,
        progress=False,
    )
    return found["final_log_probs"].values
