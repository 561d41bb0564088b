"""Rules for beta_rejected, judged on settings other than those they were found on."""

from typing import Any

import numpy as np
import xarray as xr

from toymodel import scenarios, sweeps
from toymodel.attribution import estimate
from toymodel.losses import FlexDPO
from toymodel.policies import MLP
from toymodel.studies.claims import share
from toymodel.sweeps import Sweep, paired
from toymodel.why._shared import of_pairs
from toymodel.why.flex_forces import RULES

WIDTH, BETAS = 32, (0.05, 0.3)
RATES = {"sgd": (0.1, 1.0), "adam": (1e-4, 1e-3)}
RATIOS = (0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 1.0)
LENGTHS = (200, 500, 1000, 2000)
CLOSE = 0.02  # of pi(y+): a rule succeeds if it comes as near as this to the best ratio
_EVERY = 100


def judge(seeds: int) -> xr.Dataset:
    """What each rule loses of pi(y+) against the best ratio: [optimiser, rule, world, length].

    A world is a scenario, a beta_chosen and a rate; a length is that of the run, the one with DPO
    that the rule is told of included.
    """
    lost = np.stack([_lost(optimiser, seeds) for optimiser in RATES])
    dims = ("optimiser", "rule", "world", "length")
    places = {"optimiser": list(RATES), "rule": list(RULES), "length": list(LENGTHS)}
    return xr.Dataset({"lost": (dims, lost)}, places)


def _lost(optimiser: str, seeds: int) -> np.ndarray:
    base = Sweep(
        policy=MLP(hidden=(WIDTH,)), loss=FlexDPO(), optimiser=optimiser, steps=LENGTHS[-1]
    )
    columns = [(beta, beta * ratio) for beta in BETAS for ratio in RATIOS]
    strengths = paired(
        {
            "loss.beta_chosen": [chosen for chosen, _ in columns],
            "loss.beta_rejected": [rejected for _, rejected in columns],
        }
    )
    axes: Any = [
        {"scenario": list(scenarios.PAPER), "learning_rate": RATES[optimiser]},
        strengths,
        {"seed": range(seeds)},
    ]
    found = sweeps.sweep(base, axes, record=f"log_probs@{_EVERY}", progress=None)
    chosen, rejected = of_pairs(found["log_probs"].values)  # [scenario, rate, columns, seed, ...]
    at = [length // _EVERY for length in LENGTHS]
    shape = (*chosen.shape[:2], len(BETAS), len(RATIOS), len(LENGTHS))

    def mean(values: np.ndarray) -> np.ndarray:
        return np.asarray(values.mean(axis=(-3, -1)).reshape(shape))

    reached = mean(np.exp(chosen[..., at, :]))
    fall = mean(rejected[..., :1, :] - rejected[..., at, :])[:, :, :, -1]  # of DPO
    rise = mean(chosen[..., at, :] - chosen[..., :1, :])[:, :, :, -1]
    beta = np.asarray(BETAS)[None, None, :, None]
    best = reached.max(axis=3)
    lost = []
    for rule in RULES.values():
        wanted = np.asarray(rule(beta * (fall + rise), beta * fall))
        distance = np.abs(np.log(RATIOS)[:, None] - np.log(wanted)[..., None, :])
        nearest = distance.argmin(axis=-2)[..., None, :]
        lost.append(best - np.take_along_axis(reached, nearest, axis=3)[..., 0, :])
    return np.stack(lost).reshape(len(RULES), -1, len(LENGTHS))


def success(lost: xr.DataArray) -> tuple[float, float, float]:
    """Share of settings, with its interval, in which a rule comes close to the best ratio."""
    return share(int((lost < CLOSE).sum()), lost.size)


def table(found: xr.Dataset) -> str:
    """Each rule's success and loss, as Markdown."""
    lines = ["| optimiser | rule for beta_rejected / beta_chosen | close | mean loss | worst |"]
    lines.append("|---" * 5 + "|")
    for optimiser in found["optimiser"].values:
        for rule in found["rule"].values:
            lost = found["lost"].sel(optimiser=optimiser, rule=rule)
            p, low, high = success(lost)
            mean = estimate(lost.mean("length").values)
            lines.append(
                f"| {optimiser} | {rule} | {p:.2f} [{low:.2f}, {high:.2f}] | {mean.mean:.3f} "
                f"[{mean.low:.3f}, {mean.high:.3f}] | {float(lost.max()):.3f} |"
            )
    return "\n".join(lines) + "\n"
