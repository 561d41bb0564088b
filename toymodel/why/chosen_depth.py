"""The chosen's fall with two hidden layers: there it needs other prompts' pairs, but no Adam."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from toymodel import optimisers, scenarios, sweeps
from toymodel.paper.setting import CALIBRATED, EPOCHS
from toymodel.policies import MLP
from toymodel.scenarios import Scenario
from toymodel.studies.claims import DEGRADATION, DROP, claim, with_interval
from toymodel.studies.study import Claim
from toymodel.sweeps import Axis, Sweep

NETWORK = MLP(hidden=(100, 100))
SGD_RATE = 0.3
#: Optimisers of `adam_pooled`: learning rate, and how far second moments are pooled.
POOLED: Mapping[str, tuple[float, float, float]] = {
    "Adam": (1e-4, 0.0, 0.0),
    "one second moment an array": (5e-5, 0.0, 1.0),
    "one second moment a unit": (1e-4, 1.0, 0.0),
}
_EVERY, _CHUNK = 20, 64


def compute(seeds: int, alone: Scenario) -> xr.Dataset:
    """Drop and degradation with two hidden layers, [deep, deep_seed].

    Args:
        seeds: how many; half as many are trained, as many as two at least.
        alone: a world with one prompt and its pair.
    """
    count = max(2, seeds // 2)
    rates, rows, layers = zip(*POOLED.values(), strict=True)
    options = {"learning_rate": rates, "optimiser.row": rows, "optimiser.layer": layers}
    pooled = optimisers.get("adam_pooled", rates[0], row=0.0, layer=0.0)
    found = [
        _run(scenarios.both_on_policy(), optimisers.get("sgd", SGD_RATE), count),
        _run(alone, optimisers.get("sgd", SGD_RATE), count),
        _run(scenarios.both_on_policy(), pooled, count, Axis("changed", options)),
    ]
    names = ["SGD", "SGD, one prompt alone", *POOLED]
    columns = {
        f"deep_{name}": (("deep", "deep_seed"), np.concatenate([part[name] for part in found]))
        for name in ("drop", "drawdown")
    }
    return xr.Dataset(columns, {"deep": names, "deep_seed": range(count)})


def _run(world: Scenario, method: Any, seeds: int, *axes: Axis) -> dict[str, np.ndarray]:
    base = Sweep(world, NETWORK, CALIBRATED.loss, method, steps=EPOCHS)
    over: list[Any] = [*axes, {"seed": range(seeds)}]
    record = f"properties@{_EVERY}"
    found = sweeps.sweep(base, over, record=record, chunk=_CHUNK, progress=None)
    return {
        name: found[name].mean("prompt", skipna=False).values.reshape(-1, seeds)
        for name in ("drop", "drawdown")
    }


def compare(found: xr.Dataset) -> list[Claim]:
    """That the chosen falls without Adam, and that one prompt alone does not fall, though it drops.

    Args:
        found: what `compute` gave.
    """
    fall = found["deep_drawdown"]
    where = {name: f"2 x 100, {name}" for name in found["deep"].values}
    claims = [
        claim(where[name], "drawdown", fall.sel(deep=name), above=DEGRADATION)
        for name in ("SGD", "Adam", "one second moment an array")
    ]
    unit, alone = "one second moment a unit", "SGD, one prompt alone"
    return [
        *claims,
        claim(where[unit], "drawdown", fall.sel(deep=unit)),
        claim(where[alone], "drawdown", fall.sel(deep=alone), below=DEGRADATION),
        claim(where[alone], "drop", found["deep_drop"].sel(deep=alone), above=DROP),
    ]


def table(found: xr.Dataset) -> list[str]:
    """Rows for the table of `chosen`: method, rate, drop and degradation."""
    rates = dict.fromkeys(found["deep"].values, SGD_RATE) | {
        name: numbers[0] for name, numbers in POOLED.items()
    }
    seeds = found.sizes["deep_seed"]
    return [
        f"| two hidden layers ({seeds} seeds), {name} | rate {rates[name]:g} "
        f"| {with_interval(found['deep_drop'].sel(deep=name))} "
        f"| {with_interval(found['deep_drawdown'].sel(deep=name))} |"
        for name in found["deep"].values
    ]
