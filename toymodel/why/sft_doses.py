r"""Runs over the SFT weight: dose curves, the dose that halves what it fights, and theory's.

Under Adam they are in double precision: in single, :math:`s + \gamma` loses a gamma below 1e-9.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from toymodel import optimisers, sweeps
from toymodel.losses import SFTDPO
from toymodel.paper.setting import CALIBRATED, EPOCHS
from toymodel.scenarios import both_on_policy
from toymodel.sweeps import Sweep, paired
from toymodel.why._shared import half_dose, of_pairs
from toymodel.why.sft_quiet import own_kernel, quiet_activity
from toymodel.why.sft_thresholds import even_sft_weight, quiet_sft_weight

RATES = {"adam": float(CALIBRATED.learning_rate), "sgd": 0.3}
MEASURED = {"adam": "drawdown", "sgd": "shortfall"}  # which the term is to halve
_EVERY = 50


class Condition(NamedTuple):
    """Where a dose curve is taken.

    Args:
        beta: of SFT-DPO.
        multiple: the learning rate, as a multiple of `RATES`.
        epsilon: Adam's; gradient descent has none.
    """

    beta: float
    multiple: float = 1.0
    epsilon: float = 1e-8


#: The first few differ in epsilon alone.
CONDITIONS = {
    "adam": (
        *(Condition(0.02, epsilon=eps) for eps in (1e-11, 1e-10, 1e-8, 1e-7)),
        *(Condition(0.1, epsilon=eps) for eps in (1e-10, 1e-8)),
        Condition(0.02, 2.0, 1e-10),
    ),
    "sgd": (Condition(0.02), Condition(0.1), Condition(0.2), Condition(0.1, 3.0)),
}
EPSILONS = 4  # how many
#: Doses: under Adam as multiples of its epsilon, which need not be swept beyond.
DOSES = {
    "adam": np.concatenate([[0.0], 10 ** np.arange(-0.5, 3.6, 0.5)]),
    "sgd": np.concatenate([[0.0, 1e-5, 1e-4], 10 ** np.arange(-3.5, -1.4, 0.5), [0.1, 1.0]]),
}
#: Doses and betas of Adam's curves that show the cost.
WIDE, WIDE_BETAS = (0.0, 1e-8, 1e-6, 1e-4, 1e-3, 1e-2, 0.1, 1.0), (0.02, 0.1)


def curves(optimiser: str, seeds: int) -> xr.Dataset:
    """Numbers over dose, [condition, dose, seed], and thresholds; names start with the optimiser.

    Args:
        optimiser: "adam" or "sgd".
        seeds: how many.
    """
    conditions, doses = CONDITIONS[optimiser], DOSES[optimiser]
    scale = [c.epsilon if optimiser == "adam" else 1.0 for c in conditions]
    gammas = np.outer(scale, doses)
    cells = [(c, float(g)) for c, row in zip(conditions, gammas, strict=True) for g in row]
    with jax.enable_x64(optimiser == "adam"):
        flat = _run(optimiser, cells, seeds)
        numbers = {k: v.reshape(len(conditions), len(doses), seeds) for k, v in flat.items()}
        without = {name: value[:, 0].mean(axis=-1) for name, value in numbers.items()}
        expected = _expected(optimiser, without, seeds)
    pairs = zip(gammas, numbers[MEASURED[optimiser]], strict=True)
    half = np.asarray([half_dose(row, values) for row, values in pairs])
    beta = np.asarray([c.beta for c in conditions])
    slope = beta / (1 + np.exp(beta * without["margin"]))  # which `crossover_margin` equals gamma
    dims = ("condition", "dose", "seed")
    data: dict[str, Any] = {
        name: (dims, numbers[name]) for name in ("drawdown", "shortfall", "drop")
    }
    data |= {"gamma": (dims[:2], gammas), "half": (("condition", "end"), half)}
    data |= {"expected": ("condition", expected), "slope": ("condition", slope)}
    named = xr.Dataset({f"{optimiser}_{name}": value for name, value in data.items()})
    return named.rename({name: f"{optimiser}_{name}" for name in dims[:2]})


def costs(seeds: int) -> xr.Dataset:
    """Adam's drop over a wide range of doses, [wide_beta, wide, seed]."""
    cells = [(Condition(beta), gamma) for beta in WIDE_BETAS for gamma in WIDE]
    drop = _run("adam", cells, seeds)["drop"].reshape(len(WIDE_BETAS), len(WIDE), seeds)
    places = {"wide_beta": list(WIDE_BETAS), "wide": list(WIDE)}
    return xr.Dataset({"drop": ((*places, "seed"), drop)}, places)


def _run(optimiser: str, cells: list[tuple[Condition, float]], seeds: int) -> dict[str, np.ndarray]:
    """What is read of each cell, means over prompts, [cell, seed]."""
    method = optimisers.get(optimiser, RATES[optimiser])
    over: dict[str, Any] = {
        "loss.beta": [c.beta for c, _ in cells],
        "loss.gamma": [gamma for _, gamma in cells],
        "optimiser.learning_rate": [RATES[optimiser] * c.multiple for c, _ in cells],
    }
    if optimiser == "adam":
        method = optimisers.get(optimiser, RATES[optimiser], eps=1e-8)
        over["optimiser.eps"] = [c.epsilon for c, _ in cells]
    base = Sweep(policy=CALIBRATED.policy, loss=SFTDPO(), optimiser=method, steps=EPOCHS)
    axes: Any = [paired(over), {"seed": range(seeds)}]
    found = sweeps.sweep(base, axes, record=f"log_probs@{_EVERY}", progress=None)
    chosen, rejected = of_pairs(found["log_probs"].values)
    highest = chosen.max(axis=-2)
    drop = rejected[..., 0, :] - rejected[..., -1, :]
    return {
        "drawdown": (highest - chosen[..., -1, :]).mean(axis=-1),
        "shortfall": (1 - np.exp(chosen[..., -1, :])).mean(axis=-1),
        "drop": drop.mean(axis=-1),
        "margin": (chosen[..., -1, :] - chosen[..., 0, :] + drop).mean(axis=-1),
        "area": _EVERY * (1 - np.exp(chosen)).mean(axis=-1).sum(axis=-1),
    }


def _expected(optimiser: str, without: dict[str, np.ndarray], seeds: int) -> np.ndarray:
    """The thresholds that theory gives from runs without the SFT term alone, [condition]."""
    world, policy = both_on_policy(), CALIBRATED.policy
    parts = (world, policy, jnp.arange(seeds))
    multiple = np.asarray([c.multiple for c in CONDITIONS[optimiser]])
    common: Any = {"rate": RATES[optimiser] * multiple, "share": 1 / len(world.pairs)}
    if optimiser == "sgd":
        kernel = float(own_kernel(*parts).mean())
        area = jnp.asarray(without["area"])
        return np.asarray(even_sft_weight(area, kernel=kernel, **common))
    of_world = {
        "probability": float(world.table[0, 1]),
        "activity": float(quiet_activity(*parts).mean()),
    }
    epsilon = jnp.asarray([c.epsilon for c in CONDITIONS[optimiser]])
    needed = jnp.asarray(without["drawdown"] / 2)
    return np.asarray(quiet_sft_weight(epsilon, needed, steps=EPOCHS, **of_world, **common))
