"""Rules for the SFT weight, judged on settings other than those they were found on."""

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr

from toymodel import scenarios, sweeps
from toymodel.losses import SFTDPO
from toymodel.policies import MLP
from toymodel.studies.claims import DEGRADATION, share
from toymodel.sweeps import Sweep, paired

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


def success(found: xr.Dataset, rule: str) -> tuple[float, float, float]:
    """Share, with its interval, of the settings that degrade without the term in which it stops.

    NaN where no setting degrades. A run that was not finite counts as degraded.
    """
    degrades, stopped = _degrades(found), found["rule_fall"].sel(rule=rule) < DEGRADATION
    count = int(degrades.sum())
    return share(int((degrades & stopped).sum()), count) if count else (np.nan,) * 3


def _degrades(found: xr.Dataset) -> xr.DataArray:
    """Which settings degrade without the term, [setting]."""
    return ~(found["rule_fall"].sel(rule="none", drop=True) < DEGRADATION)


def table(found: xr.Dataset) -> str:
    """What each rule achieves, as Markdown."""
    degrades = _degrades(found)
    count, rest = int(degrades.sum()), int((~degrades).sum())
    lines = [
        f"| gamma | stops, of {count} that degrade | share | of {rest} others, degrade with it "
        "| median share of DPO's drop, all settings | least |"
    ]
    lines.append("|---" * 6 + "|")
    for rule in found["rule"].values:
        one = found.sel(rule=rule)
        good = one["rule_fall"] < DEGRADATION
        p, low, high = success(found, rule)
        lines.append(
            f"| {rule} | {int((good & degrades).sum())} | {p:.2f} [{low:.2f}, {high:.2f}] "
            f"| {int((~good & ~degrades).sum())} | {float(one['rule_kept'].median()):.2f} "
            f"| {float(one['rule_kept'].min()):.2f} |"
        )
    return "\n".join(lines) + "\n"
