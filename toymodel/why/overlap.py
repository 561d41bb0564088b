"""Does token overlap between chosen and rejected drag the chosen down?

The paper's Corollary 3 says that it does, in words. Here responses are sequences, so overlap can be
set: by a common prefix, or by common tokens after the split. Two policies write token by token:
one with free logits after each prefix, and one whose prefixes share embeddings.
"""

from typing import Any

import numpy as np
import xarray as xr
from scipy.stats import spearmanr

from toymodel.attribution.effects import estimate
from toymodel.paper.report import Claim, PaperFigure, register
from toymodel.policies import Autoregressive, PrefixTabular
from toymodel.sequences import TokenKind
from toymodel.why.overlap_picture import draw
from toymodel.why.overlap_runs import SPACE, trained, worlds

POLICIES = {
    "prefix_tabular": PrefixTabular(SPACE.vocabulary, SPACE.length),
    "autoregressive": Autoregressive(SPACE.vocabulary, SPACE.length),
}
RATES = {"adam": 0.01, "sgd": 1.0}
PLACES = ("prefix", "later")
COUNTS = tuple(range(SPACE.length))
#: Margin (nats) at which runs are compared that part the pair at different speeds.
MARGIN = 30.0
_PREFIX, _LATER, _OWN = (kind.title for kind in TokenKind)


def compute(seeds: int) -> xr.Dataset:
    """All arms: policy, optimiser, place and number of common tokens; and one prompt alone."""
    whole = _over_overlap({name: POLICIES[name] for name in POLICIES}, RATES, seeds, prompts=4)
    network = {"autoregressive": POLICIES["autoregressive"]}
    alone = _over_overlap(network, {"adam": RATES["adam"]}, seeds, prompts=1)
    whole["alone"] = displacement(alone).isel(policy=0, optimiser=0, drop=True).mean("pair")
    return whole


def _over_overlap(
    policies: dict[str, Any], rates: dict[str, float], seeds: int, prompts: int
) -> xr.Dataset:
    def arm(place: str, count: int) -> xr.Dataset:
        overlap = {"prefix": 0, "shared": 0, "prefix" if place == "prefix" else "shared": count}
        world = worlds(seeds, prompts, **overlap)
        rows = [
            xr.concat(
                [trained(world, policy, name, rate) for name, rate in rates.items()],
                xr.DataArray(list(rates), dims="optimiser"),
            )
            for policy in policies.values()
        ]
        return xr.concat(rows, xr.DataArray(list(policies), dims="policy"), join="outer")

    none = arm("prefix", 0)
    counts = xr.DataArray(list(COUNTS), dims="common")
    places = [
        xr.concat([none, *(arm(place, count) for count in COUNTS[1:])], counts) for place in PLACES
    ]
    return xr.concat(places, xr.DataArray(list(PLACES), dims="place"))


def displacement(found: xr.Dataset) -> xr.DataArray:
    """The change of log pi of the chosen from first to last record (nats)."""
    chosen = found["chosen"].sum("kind")
    return chosen.isel(step=-1) - chosen.isel(step=0)


def at_margin(found: xr.Dataset, margin: float = MARGIN) -> xr.DataArray:
    """The same change when a pair's margin first reaches `margin`; NaN if it never does."""
    chosen = found["chosen"].sum("kind")
    chosen = chosen - chosen.isel(step=0)
    reached = chosen - (found["rejected"] - found["rejected"].isel(step=0)) >= margin
    first = chosen.isel(step=reached.argmax("step"))
    return first.where(reached.any("step"))


def _claim(where: str, what: str, values: xr.DataArray, sign: int = -1) -> Claim:
    """A number that should be below (-1) or above (1) zero with its whole interval over seeds."""
    found = estimate(np.asarray(values.transpose("seed")))
    low, high = float(found.low), float(found.high)
    bound = high < 0 if sign < 0 else low > 0
    aim = f"{'<' if sign < 0 else '>'} 0; ours [{low:.2f}, {high:.2f}]"
    return Claim(where, what, float(found.mean), aim, bound)


def slope(values: xr.DataArray) -> xr.DataArray:
    """Least-squares slope over the number of common tokens, for each seed."""
    x = values["common"] - values["common"].mean()
    return (x * values).sum("common") / (x**2).sum()


def compare(found: xr.Dataset) -> list[Claim]:
    """What overlap does without and with shared weights, by place, optimiser and data."""
    moved = displacement(found)
    tabular, network = (moved.sel(policy=name) for name in POLICIES)
    parts = found["chosen"] - found["chosen"].isel(step=0)
    still = float(np.abs(parts.sel(policy="prefix_tabular", kind=_PREFIX)).max())
    worst = float(tabular.min())
    claims = [
        Claim("prefix_tabular", "least change of log pi+ (nats)", worst, "> 0", worst > 0),
        Claim("prefix_tabular", "largest change on common prefix", still, "0", still < 1e-5),
    ]
    per_seed, equal = network.mean("pair"), at_margin(found.sel(policy="autoregressive"))
    for name in RATES:
        where = f"autoregressive, {name}"
        arm, matched = per_seed.sel(optimiser=name), equal.sel(optimiser=name).mean("pair")
        claims.append(_claim(where, "no overlap: change (nats)", arm.sel(common=0, place="prefix")))
        for place in PLACES:
            claims.append(_claim(where, f"{place}: nats a token", slope(arm.sel(place=place))))
            at = slope(matched.sel(place=place))
            claims.append(_claim(where, f"{place}: same, margin {MARGIN:.0f}", at))
        gap = (arm.sel(place="prefix") - arm.sel(place="later")).sel(common=COUNTS[-1])
        claims.append(_claim(where, "prefix minus later, 3 tokens", gap))
    for place in PLACES:
        alone = slope(found["alone"].sel(place=place))
        claims.append(_claim("one prompt alone, adam", f"{place}: nats a token", alone))
    adam = parts.sel(policy="autoregressive", optimiser="adam", common=2).isel(step=-1).mean("pair")
    for place, kind in (("prefix", _PREFIX), ("later", _LATER)):
        gap = adam.sel(place=place, kind=kind) - adam.sel(place=place, kind=_OWN)
        claims.append(_claim(f"autoregressive, {place} 2", "common minus own tokens", gap))
    score = found["ches"].sel(policy="autoregressive")
    for name in RATES:
        x, y = score.sel(optimiser=name), network.sel(optimiser=name)
        ranks = [
            spearmanr(np.ravel(x.sel(seed=s)), np.ravel(y.sel(seed=s))).statistic
            for s in found["seed"]
        ]
        of_seeds = xr.DataArray(np.asarray(ranks), dims="seed")
        claims.append(_claim(f"autoregressive, {name}", "rank corr. of CHES and change", of_seeds))
    return claims


def table(found: xr.Dataset) -> str:
    """The change of log pi+ and the mass by edit distance, for each arm, as Markdown."""
    moved, equal = displacement(found), at_margin(found)
    lines = [
        f"| policy | optimiser | place | common tokens | change (nats) | chosen that fall "
        f"| change at margin {MARGIN:.0f} | mass 0 or 1 edit from chosen, before and after "
        "| from rejected |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    near = {
        half: found[f"distance_{half}"].isel(distance=[0, 1]).sum("distance").mean(("seed", "pair"))
        for half in ("chosen", "rejected")
    }
    for policy in POLICIES:
        for name in RATES:
            for place in PLACES:
                for count in COUNTS:
                    at = {"policy": policy, "optimiser": name, "place": place, "common": count}
                    one = moved.sel(at)
                    got = estimate(np.asarray(one.mean("pair")))
                    masses = (
                        ", ".join(f"{n:.3f}" for n in of.sel(at).values) for of in near.values()
                    )
                    pairs = equal.sel(at)
                    matched = (
                        f"{float(pairs.mean()):.2f}" if pairs.notnull().all() else "not reached"
                    )
                    lines.append(
                        f"| {policy} | {name} | {place} | {count} | {float(got.mean):.2f} "
                        f"[{float(got.low):.2f}, {float(got.high):.2f}] "
                        f"| {float((one < 0).mean()):.0%} | {matched} | {' | '.join(masses)} |"
                    )
    return "\n".join(lines) + "\n"


FIGURE = register(
    PaperFigure(
        name="why_overlap",
        title="Does token overlap drag the chosen down?",
        caption="DPO on responses of four tokens out of four, one pair for each of four prompts; a "
        "world a seed, bands and bars are 95 % of the mean over worlds.\n"
        "Top: how log pi+ has changed after training, over the number of tokens that chosen and "
        "rejected have in common, and where mass stands by edits from the rejected. Bottom: the "
        "chosen's tokens, the sums of two common and of two own ones.",
        compute=compute,
        draw=draw,
        compare=compare,
        table=table,
        on_request=True,
        group="why",
        seeds=32,
    )
)
