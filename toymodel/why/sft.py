"""What the SFT weight gamma does, and how much is enough. The answer: ``docs/why/sft.md``.

The dose is swept under Adam and gradient descent and its threshold set beside two closed forms
(`sft_thresholds`); then the SFT term is let into some weights only (`sft_quiet`).
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr

from toymodel import optimisers, sweeps
from toymodel.attribution import estimate
from toymodel.losses import SFTDPO
from toymodel.paper.report import Claim, PaperFigure, register
from toymodel.paper.setting import CALIBRATED, EPOCHS
from toymodel.scenarios import both_on_policy
from toymodel.sweeps import Sweep, paired
from toymodel.why import sft_rules
from toymodel.why._shared import half_dose, of_pairs
from toymodel.why.sft_picture import draw
from toymodel.why.sft_quiet import quiet_activity, train_split
from toymodel.why.sft_thresholds import quiet_sft_weight

RATES = {"adam": float(CALIBRATED.learning_rate), "sgd": 0.3}
#: (beta, rate as a multiple, Adam's epsilon) of each dose curve.
_ADAM = (
    *((0.02, 1.0, eps) for eps in (1e-9, 1e-8, 1e-7, 1e-6)),
    *((0.05, 1.0, 1e-8), (0.1, 1.0, 1e-8), (0.1, 1.0, 1e-7), (0.02, 0.7, 1e-8), (0.02, 2.0, 1e-8)),
)
_SGD = ((0.02, 1.0, 0.0), (0.05, 1.0, 0.0), (0.1, 1.0, 0.0), (0.1, 3.0, 0.0), (0.2, 1.0, 0.0))
CONDITIONS = {"adam": _ADAM, "sgd": _SGD}
GAMMAS = {
    "adam": (0.0, *(10 ** np.arange(-8.5, -3.9, 0.5)).tolist(), 1e-3, 1e-2, 0.1, 1.0),
    "sgd": (0.0, *(10 ** np.arange(-6, 0.1, 0.5)).tolist()),
}
MEASURED = {"adam": "drawdown", "sgd": "shortfall"}  # which the term is to halve
SPLIT_BETA, SPLIT_GAMMAS = 0.02, (1e-6, 1e-5, 1e-4)
SPLITS = {
    "neither": (0.0, 0.0),
    "quiet only": (1.0, 0.0),
    "loud only": (0.0, 1.0),
    "all": (1.0, 1.0),
}
LIMIT = 0.05  # nats: the onset of degradation
_EVERY = 50


def compute(seeds: int) -> xr.Dataset:
    """Dose curves, thresholds measured and predicted, the split, and the rules."""
    parts = [_doses(optimiser, seeds) for optimiser in RATES]
    return xr.merge([*parts, _split(seeds), sft_rules.judge(max(2, seeds // 4))])


def _doses(optimiser: str, seeds: int) -> xr.Dataset:
    """Numbers of one optimiser, their names with its own in front."""
    conditions, gammas = CONDITIONS[optimiser], GAMMAS[optimiser]
    cells = [(*condition, gamma) for condition in conditions for gamma in gammas]
    beta, multiple, epsilon, gamma = (list(column) for column in zip(*cells, strict=True))
    over: dict[str, Any] = {"loss.beta": beta, "loss.gamma": gamma}
    over["learning_rate"] = [RATES[optimiser] * m for m in multiple]
    method: Any = optimiser
    if optimiser == "adam":
        method = optimisers.get("adam", RATES["adam"], eps=1e-8)
        over["optimiser.eps"] = epsilon
        over["optimiser.learning_rate"] = over.pop("learning_rate")
    base = Sweep(policy=CALIBRATED.policy, loss=SFTDPO(), optimiser=method, steps=EPOCHS)
    axes = [paired(over), {"seed": range(seeds)}]
    found = sweeps.sweep(base, axes, record=f"log_probs@{_EVERY}", progress=None)
    chosen, rejected = of_pairs(found["log_probs"].values)
    shape = (len(conditions), len(gammas), seeds)
    fall = np.maximum.accumulate(chosen, axis=-2) - chosen
    values = {
        "drawdown": fall[..., -1, :],
        "shortfall": 1 - np.exp(chosen[..., -1, :]),
        "drop": rejected[..., 0, :] - rejected[..., -1, :],
    }
    numbers = {name: value.mean(axis=-1).reshape(shape) for name, value in values.items()}
    margin = chosen[..., -1, :] - chosen[..., 0, :] + values["drop"]
    margins = margin.mean(axis=-1).reshape(shape)[:, 0]
    halves = np.stack([half_dose(gammas, one) for one in numbers[MEASURED[optimiser]]], axis=1)
    expected = [
        _expected(optimiser, *condition, m, numbers["drawdown"][i, 0], seeds)
        for i, (condition, m) in enumerate(zip(conditions, margins, strict=True))
    ]
    dims, where = ("condition", "dose", "seed"), f"{optimiser}_"
    columns = zip(("half", "half_low", "half_high"), halves, strict=True)
    data: dict[str, Any] = {name: (dims, value) for name, value in numbers.items()}
    data |= {name: ("condition", value) for name, value in columns}
    data |= {"expected": ("condition", expected), "gamma": ("dose", list(gammas))}
    columns = zip(("beta", "multiple", "epsilon"), zip(*conditions, strict=True), strict=True)
    data |= {name: ("condition", list(values)) for name, values in columns}
    named = {where + key: value for key, value in data.items()}
    renamed = {"condition": where + "condition", "dose": where + "dose"}
    return xr.Dataset(named).rename(renamed)


def _expected(
    optimiser: str,
    beta: float,
    multiple: float,
    epsilon: float,
    margin: np.ndarray,
    fall: np.ndarray,
    seeds: int,
) -> float:
    """The threshold that theory gives, from the run without SFT alone."""
    if optimiser == "sgd":
        return float(beta / (1 + np.exp(beta * margin.mean())))  # where `crossover_margin` is m
    world = both_on_policy()
    activity = float(quiet_activity(world, CALIBRATED.policy, jnp.arange(seeds)).mean())
    return float(
        quiet_sft_weight(
            epsilon,
            needed=fall.mean() / 2,
            rate=RATES["adam"] * multiple,
            steps=EPOCHS,
            share=1 / len(world.pairs),
            probability=float(world.table[0, 1]),
            activity=activity,
        )
    )


def _split(seeds: int) -> xr.Dataset:
    """Degradation with the SFT term in some weights only, [gamma, which, seed]."""
    method = optimisers.get("adam", RATES["adam"])
    parts = (both_on_policy(), CALIBRATED.policy, SPLIT_BETA)
    falls = []
    for gamma in SPLIT_GAMMAS:
        for quiet, loud in SPLITS.values():
            run = (*parts, gamma, quiet, loud, method, jnp.arange(seeds))
            chosen = np.asarray(train_split(*run, records=EPOCHS // _EVERY, every=_EVERY))
            falls.append((chosen.max(axis=1) - chosen[:, -1]).mean(axis=-1))
    values = np.reshape(falls, (len(SPLIT_GAMMAS), len(SPLITS), seeds))
    places = {"split_gamma": list(SPLIT_GAMMAS), "which": list(SPLITS)}
    return xr.Dataset({"split": (("split_gamma", "which", "seed"), values)}, places)


# Claims -----------------------------------------------------------------------------------------


def compare(found: xr.Dataset) -> list[Claim]:
    """Each statement of the write-up, with its interval over seeds."""
    claims = []
    for optimiser in RATES:
        named = [found[f"{optimiser}_{key}"].values for key in ("half", "half_low", "half_high")]
        for i, (beta, multiple, epsilon) in enumerate(CONDITIONS[optimiser]):
            half, low, high = (float(column[i]) for column in named)
            expected = float(found[f"{optimiser}_expected"][i])
            rest = f", eps {epsilon:g}" if optimiser == "adam" else ""
            where = f"{optimiser}, beta {beta:g}, rate x{multiple:g}{rest}"
            what = f"log10 of half dose {half:.1e} [{low:.1e}, {high:.1e}] over {expected:.1e}"
            ok = expected / 5 < low and high < expected * 5
            claims.append(Claim(where, what, float(np.log10(half / expected)), "within x5", ok))
    eps = np.log10(found["adam_epsilon"].values[:4])
    power = float(np.polyfit(eps, np.log10(found["adam_half"].values[:4]), 1)[0])
    ok = abs(power - 1) < 0.2
    claims.append(Claim("adam, beta 0.02", "power of eps in the half dose", power, "1 +- 0.2", ok))
    for gamma in SPLIT_GAMMAS:
        one = found["split"].sel(split_gamma=gamma)
        none = one.sel(which="neither").values
        for which, aim in (("quiet only", True), ("loud only", False)):
            saved = estimate((none - one.sel(which=which).values) / none.mean())
            what = f"share of the fall saved [{float(saved.low):.3g}, {float(saved.high):.3g}]"
            ok = bool(saved.low > 0.9 if aim else saved.high < 0.1)
            where = f"gamma {gamma:g}, {which}"
            claims.append(Claim(where, what, float(saved.mean), "> 0.9" if aim else "< 0.1", ok))
    for rule in ("1e-6", "beta / 100", "beta / 10"):
        p, low, high = sft_rules.success(found.sel(rule=rule))
        what = f"no degradation [{low:.2f}, {high:.2f}]"
        claims.append(Claim(f"other settings, gamma {rule}", what, p, "low > 0.7", low > 0.7))
    return claims


FIGURE = register(
    PaperFigure(
        name="why_sft",
        title="The SFT weight: under Adam it need only exceed the optimiser's epsilon",
        caption=(
            "Top: degradation over the SFT weight gamma under Adam, for four values of Adam's "
            "epsilon (left); the dose that halves it (Adam), or halves 1 - pi(y+) (gradient "
            "descent), against theory (middle); the fall with the SFT term let into quiet weights "
            "only, or into all others only (right).\n"
            "Bottom: the same dose under gradient descent (left), what it costs of the drop "
            "(middle), and rules in settings they were not found on (right). Bands and bars are "
            "95 % intervals over seeds, those of rules Wilson's."
        ),
        compute=compute,
        draw=draw,
        compare=compare,
        table=sft_rules.table,
        on_request=True,
        group="why",
        seeds=32,
    )
)
