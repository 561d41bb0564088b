"""What Flex-DPO's beta_rejected does, and a rule for choosing it. The answer: ``docs/why/flex.md``.

Flex-DPO is trained whole and with one of its three forces at a time (`flex_forces`), over
beta_rejected / beta_chosen, and read at equal times and at an equal drop. Rules are judged on other
settings (`flex_rules`).
"""

from typing import Any

import numpy as np
import xarray as xr

from toymodel import scenarios, sweeps
from toymodel.paper.setting import CALIBRATED, EPOCHS
from toymodel.studies.claims import DEGRADATION, claim, least_claim
from toymodel.studies.study import Claim, Study, register
from toymodel.sweeps import Sweep, paired
from toymodel.why import flex_rules
from toymodel.why._shared import of_pairs
from toymodel.why.flex_forces import FORMS, SplitFlex, strengths
from toymodel.why.flex_picture import draw

BETA = 0.1  # beta_chosen, as in the paper
RATES = {"sgd": 0.3, "adam": float(CALIBRATED.learning_rate)}
#: beta_rejected / beta_chosen: of Flex-DPO whole, and of one force at a time.
RATIOS = (0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.99, 0.9999, 1.0, 1.01, 1.1, 1.5, 2.0)
PART_RATIOS = (0.1, 0.2, 0.35, 0.5, 0.8, 1.0)
PART_SCENARIO = "both_on_policy"
LENGTHS = (200, 500, 1000, 2000)
DROP = 30.0  # nats, at which runs are compared
_EVERY = 25


def compute(seeds: int) -> xr.Dataset:
    """Shortfall 1 - pi(y+), drop and degradation over ratio; then the rules."""
    whole = [_train(name, "all", RATIOS, seeds) for name in scenarios.PAPER]
    found = xr.concat(whole, xr.DataArray(list(scenarios.PAPER), dims="scenario"))
    found = found.assign_coords(scenario=list(scenarios.PAPER))
    parts = [_train(PART_SCENARIO, form, PART_RATIOS, seeds) for form in FORMS[1:]]
    alone = xr.concat(parts, xr.DataArray(list(FORMS[1:]), dims="form"))
    alone = alone[["shortfall"]].rename(shortfall="part", ratio="part_ratio")
    return xr.merge(
        [found, alone.assign_coords(form=list(FORMS[1:])), flex_rules.judge(max(2, seeds // 4))]
    )


def _train(scenario: str, form: str, ratios: tuple[float, ...], seeds: int) -> xr.Dataset:
    """Numbers of `compute`, [optimiser, ratio, seed, ...]."""
    return xr.concat(
        [_of_optimiser(optimiser, scenario, form, ratios, seeds) for optimiser in RATES],
        xr.DataArray(list(RATES), dims="optimiser", coords={"optimiser": list(RATES)}),
    )


def _of_optimiser(
    optimiser: str, scenario: str, form: str, ratios: tuple[float, ...], seeds: int
) -> xr.Dataset:
    base = Sweep(
        scenario, CALIBRATED.policy, SplitFlex(), optimiser, RATES[optimiser], steps=EPOCHS
    )
    cells = [strengths(form, BETA, ratio) for ratio in ratios]
    over = paired({f"loss.{name}": [cell[name] for cell in cells] for name in cells[0]})
    axes: Any = [over, {"seed": range(seeds)}]
    found = sweeps.sweep(base, axes, record=f"log_probs@{_EVERY}", progress=None)
    chosen, rejected = of_pairs(found["log_probs"].values)  # [ratio, seed, step, pair]
    at = [length // _EVERY for length in LENGTHS]
    probability = np.exp(chosen).mean(axis=-1)
    drop = (rejected[..., :1, :] - rejected).mean(axis=-1)
    fall = np.maximum.accumulate(chosen, axis=-2) - chosen
    dims = ("ratio", "seed")
    return xr.Dataset(
        {
            "shortfall": ((*dims, "length"), 1 - probability[..., at]),
            "drop": ((*dims, "length"), drop[..., at]),
            "drawdown": (dims, fall[..., -1, :].mean(axis=-1)),
            "chosen_at_drop": (dims, _when(drop >= DROP, probability)),
        },
        {"ratio": list(ratios), "seed": range(seeds), "length": list(LENGTHS)},
    )


def _when(came: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values where something first came, [..., step]; NaN where it does not come in every seed."""
    first = came.argmax(axis=-1)[..., None]
    then = np.take_along_axis(values, first, axis=-1)[..., 0]
    return np.where(came.any(axis=-1).all(axis=-1, keepdims=True), then, np.nan)


# Claims -----------------------------------------------------------------------------------------


def compare(found: xr.Dataset) -> list[Claim]:
    """Each statement of the write-up, with its interval over seeds."""
    claims = []
    for form, sign in (("pace", -1), ("sum", 1), ("clock", 1)):
        part = found["part"].sel(optimiser="sgd", form=form, length=500)
        way = "falls" if sign < 0 else "rises"
        steps = sign * part.diff("part_ratio").transpose("part_ratio", "seed").values
        claims.append(least_claim(f"sgd, {form} alone", f"shortfall {way} with ratio", steps))
    for optimiser, limit in (("sgd", 0.05), ("adam", 0.01)):
        part = found["part"].sel(optimiser=optimiser, form="pace", length=500)
        change = (part.sel(part_ratio=0.1) - part.sel(part_ratio=1.0)).values
        sign = 1 if change.mean() > 0 else -1
        where, what = f"{optimiser}, pace alone", "size of change, ratio 0.1 to 1"
        claims.append(_on_one_side(sign * change, where, what, limit, above=optimiser == "sgd"))
    for name in scenarios.PAPER:
        short = found["shortfall"].sel(optimiser="sgd", scenario=name, length=500)
        best = float(short.mean("seed", skipna=False).idxmin())
        edges = xr.concat(
            [short.sel(ratio=end) - short.sel(ratio=best) for end in (0.05, 1.0)], "e"
        )
        ends = edges.transpose("e", "seed").values
        claims.append(least_claim(f"sgd, {name}", f"ends above the best ratio, {best:g}", ends))
    short = found["shortfall"].sel(optimiser="sgd", length=[200, 2000])
    at = short.transpose("length", "scenario", "seed", "ratio").values.argmin(axis=-1)
    moved = -np.diff(np.log(RATIOS)[at], axis=0)[0].mean(axis=0)
    claims.append(
        _on_one_side(moved, "sgd", "log best ratio, 200 less 2,000 steps", 0.5, above=True)
    )
    for optimiser in RATES:
        for name in scenarios.PAPER:
            level = found["chosen_at_drop"].sel(optimiser=optimiser, scenario=name)
            level = level.sel(ratio=list(PART_RATIOS)).dropna("ratio", how="any")
            steps = -level.diff("ratio").transpose("ratio", "seed").values
            what = "pi+ falls with ratio, equal drop"
            claims.append(least_claim(f"{optimiser}, {name}", what, steps))
    for ratio, above in ((0.9, False), (0.99, False), (0.9999, False), (1.0, True), (1.01, True)):
        fall = (
            found["drawdown"]
            .sel(optimiser="adam", ratio=ratio)
            .mean("scenario", skipna=False)
            .values
        )
        claims.append(_on_one_side(fall, f"adam, ratio {ratio:g}", "drawdown", DEGRADATION, above))
    return claims + _of_rules(found)


def _of_rules(found: xr.Dataset) -> list[Claim]:
    """The rule against the best fixed ratio, paired over worlds."""
    claims = []
    fixed = ["0.2", "0.5", "0.8", "0.9"]
    for optimiser in RATES:
        lost = found["lost"].sel(optimiser=optimiser).mean("length")
        best = str(lost.sel(rule=fixed).mean("world").idxmin("rule").item())
        gain = (lost.sel(rule=best) - lost.sel(rule="exp(1 - u/2)")).values
        claims.append(_on_one_side(gain, f"{optimiser}, rule over {best}", "pi+ gained", 0.0, True))
    return claims


def _on_one_side(values: np.ndarray, where: str, what: str, limit: float, above: bool) -> Claim:
    """That a number's whole interval lies above, or below, a limit."""
    return claim(where, what, values, **({"above": limit} if above else {"below": limit}))


FIGURE = register(
    Study(
        name="why_flex",
        title="Flex-DPO: a force that helps, a clock that helps, and a pace that does not",
        alt=(
            "Shortfall of the chosen over the ratio of betas, a hump under SGD and a cliff at 1 "
            "under Adam, and each force alone."
        ),
        caption=(
            "Over beta_rejected / beta_chosen, with beta_chosen = 0.1: how far the chosen is from "
            "probability 1 after 200 to 2,000 steps (top left, gradient descent; bottom left, "
            "Adam); each force of Flex-DPO alone, after 500 steps (top middle; bottom middle); the "
            "chosen at an equal drop of 30 nats (top right).\n"
            "Bottom right: how often each rule comes within 0.02 of the best ratio, in settings it "
            "was not found on. Bands are 95 % intervals over seeds, those of rules Wilson's."
        ),
        compute=compute,
        draw=draw,
        compare=compare,
        table=flex_rules.table,
        on_request=True,
        group="why",
        seeds=32,
    )
)
