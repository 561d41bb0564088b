"""Rules for the SFT weight, judged on settings other than those they were found on."""

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr

from toymodel import scenarios, sweeps
from toymodel.losses import SFTDPO
from toymodel.policies import MLP
from toymodel.sweeps import Sweep, paired
from toymodel.why._shared import share

WIDTH, BETAS, RATES, STEPS = 32, (0.02, 0.1, 0.3), (1e-4, 1e-3), 2000
#: Ways to choose gamma from beta.
RULES: dict[str, Callable[[float], float]] = {
    "none": lambda beta: 0.0,
    "1e-6": lambda beta: 1e-6,
    "beta / 1000": lambda beta: beta / 1000,
    "beta / 100": lambda beta: beta / 100,
    "beta / 10": lambda beta: beta / 10,
    "beta": lambda beta: beta,
}
LIMIT = 0.05  # nats: the onset of degradation
_EVERY = 20


def judge(seeds: int) -> xr.Dataset:
    """Degradation under each rule, and the share of DPO's drop it keeps, [rule, setting].

    A setting is a scenario, a rate and a beta, all with Adam.
    """
    cells = [(beta, rule(beta)) for beta in BETAS for rule in RULES.values()]
    over = paired({"loss.beta": [b for b, _ in cells], "loss.gamma": [g for _, g in cells]})
    base = Sweep(policy=MLP(hidden=(WIDTH,)), loss=SFTDPO(), optimiser="adam", steps=STEPS)
    axes: Any = [
        {"scenario": list(scenarios.PAPER), "learning_rate": RATES},
        over,
        {"seed": range(seeds)},
    ]
    found = sweeps.sweep(base, axes, record=f"properties@{_EVERY}", progress=None)

    def by_rule(name: str) -> np.ndarray:
        values = found[name].values.mean(axis=(-2, -1))
        return np.asarray(values.reshape(-1, len(RULES)).T)

    drop = by_rule("drop")
    data = {"rule_fall": by_rule("drawdown"), "rule_kept": drop / drop[:1]}
    dims = ("rule", "setting")
    return xr.Dataset({k: (dims, v) for k, v in data.items()}, {"rule": list(RULES)})


def success(found: xr.Dataset) -> tuple[float, float, float]:
    """Share of settings, with its interval, without degradation."""
    good = found["rule_fall"] < LIMIT
    return share(int(good.sum()), good.size)


def table(found: xr.Dataset) -> str:
    """What each rule achieves, as Markdown."""
    lines = ["| gamma | no degradation | settings | median share of DPO's drop | least |"]
    lines.append("|---" * 5 + "|")
    for rule in found["rule"].values:
        one = found.sel(rule=rule)
        p, low, high = success(one)
        lines.append(
            f"| {rule} | {p:.2f} [{low:.2f}, {high:.2f}] | "
            f"{int((one['rule_fall'] < LIMIT).sum())} of {one.sizes['setting']} | "
            f"{float(one['rule_kept'].median()):.2f} | {float(one['rule_kept'].min()):.2f} |"
        )
    return "\n".join(lines) + "\n"
