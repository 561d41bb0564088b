"""Does token overlap between chosen and rejected drag the chosen down?

The paper's Corollary 3 says that it does, in words. Here responses are sequences, so overlap can be
set: by a common prefix, or by common tokens after the split. Two policies write token by token:
one with free logits after each prefix, and one whose prefixes share embeddings.
"""

from typing import Any

import numpy as np
import xarray as xr
from scipy.stats import spearmanr

from toymodel._typing import ArrayLike
from toymodel.policies import Autoregressive, PrefixTabular
from toymodel.sequences import TokenKind
from toymodel.studies.claims import claim, least_claim, with_interval
from toymodel.studies.study import Claim, Study, register
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
    alone = displacement(_over_overlap(network, RATES, seeds, prompts=1))
    whole["alone"] = alone.isel(policy=0, pair=0, drop=True)
    pairs = worlds(seeds, 4, prefix=0, shared=0).pairs
    whole["bag"] = (("seed", "pair"), tokens_in_common(pairs.chosen, pairs.rejected))
    return whole


def tokens_in_common(one: ArrayLike, other: ArrayLike) -> np.ndarray:
    """How many tokens two responses share wherever they stand, each counted as often as in both.

    Args:
        one: responses of `SPACE`, any shape.
        other: as many.
    """
    alphabet = np.arange(SPACE.vocabulary)
    counts = [
        (SPACE.tokens[np.asarray(of)][..., None] == alphabet).sum(axis=-2) for of in (one, other)
    ]
    return np.asarray(np.minimum(*counts).sum(axis=-1))


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


def slope(values: xr.DataArray) -> xr.DataArray:
    """Least-squares slope over the number of common tokens, for each seed."""
    x = values["common"] - values["common"].mean()
    return (x * values).sum("common", skipna=False) / (x**2).sum()


def compare(found: xr.Dataset) -> list[Claim]:
    """What overlap does without and with shared weights, by place, optimiser and data."""
    moved = displacement(found)
    tabular, network = (moved.sel(policy=name) for name in POLICIES)
    parts = found["chosen"] - found["chosen"].isel(step=0)
    still = float(abs(parts.sel(policy="prefix_tabular", kind=_PREFIX)).max(skipna=False))
    worst = float(tabular.min(skipna=False))
    claims = [
        Claim("prefix_tabular", "least change of log pi+ (nats)", worst, "> 0", worst > 0),
        Claim("prefix_tabular", "largest change on common prefix", still, "0", still < 1e-5),
        claim("no overlap by place", "tokens in common elsewhere", found["bag"].mean("pair")),
    ]
    matched = at_margin(found.sel(policy="autoregressive"))
    for name in RATES:
        arm = network.mean("pair", skipna=False).sel(optimiser=name)
        equal = matched.mean("pair", skipna=False).sel(optimiser=name)
        claims += _of_network(name, arm, equal, found["alone"].sel(optimiser=name))
    adam = parts.sel(policy="autoregressive", optimiser="adam", common=2).isel(step=-1)
    for place, kind in (("prefix", _PREFIX), ("later", _LATER)):
        at = adam.sel(place=place).mean("pair", skipna=False)
        gap = at.sel(kind=kind) - at.sel(kind=_OWN)
        claims.append(claim(f"autoregressive, {place} 2", "common minus own tokens", gap, below=0))
    score = found["ches"].sel(policy="autoregressive")
    for name in RATES:
        of_all, within = _ranks(score.sel(optimiser=name), network.sel(optimiser=name))
        where = f"autoregressive, {name}"
        claims.append(claim(where, "rank corr. of CHES and change", of_all, below=0))
        claims.append(claim(where, "the same within arms", within, below=0))
    return claims


def _of_network(
    name: str, arm: xr.DataArray, equal: xr.DataArray, alone: xr.DataArray
) -> list[Claim]:
    """Claims about one optimiser with shared embeddings; arrays over place, common and seed."""
    where, own = f"autoregressive, {name}", f"one prompt alone, {name}"
    none = {"common": 0, "place": "prefix"}
    claims = [
        claim(where, "no overlap: change (nats)", arm.sel(none), below=0),
        claim(own, "no overlap: change (nats)", alone.sel(none)),
        claim(where, "no overlap: four prompts less one", arm.sel(none) - alone.sel(none), below=0),
    ]
    for place in PLACES:
        at = {"place": place}
        claims.append(claim(where, f"{place}: nats a token", slope(arm.sel(at)), below=0))
        margin = f"{place}: same, margin {MARGIN:.0f}"
        claims.append(claim(where, margin, slope(equal.sel(at)), below=0))
        steps = -arm.sel(at).diff("common").transpose("common", "seed")
        claims.append(least_claim(where, f"{place}: fall with each token", steps))
        claims.append(claim(own, f"{place}: nats a token", slope(alone.sel(at)), below=0))
        last = {**at, "common": COUNTS[-1]}
        claims.append(claim(own, f"{place}: change, 3 tokens", alone.sel(last), below=0))
    gap = (arm.sel(place="prefix") - arm.sel(place="later")).sel(common=COUNTS[-1])
    return [*claims, claim(where, "prefix minus later, 3 tokens", gap, below=0)]


def _ranks(score: xr.DataArray, moved: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """Rank correlation of CHES and change, over all arms and within them (their mean), [seed].

    With three common tokens in the prefix CHES is zero for all pairs: that arm has no ranks.
    """
    arms: list[dict[str, Any]] = [{"place": "prefix", "common": 0}]
    arms += [{"place": place, "common": count} for place in PLACES for count in COUNTS[1:]]
    x, y = (
        np.stack([of.sel(arm).transpose("seed", "pair").values for arm in arms], axis=1)
        for of in (score, moved)
    )

    def rank(one: np.ndarray, other: np.ndarray) -> float:
        if np.ptp(one) == 0 or np.ptp(other) == 0:
            return np.nan
        return float(spearmanr(np.ravel(one), np.ravel(other)).statistic)

    seeds = range(len(x))
    of_all = [rank(x[seed], y[seed]) for seed in seeds]
    within = [np.nanmean([rank(*arm) for arm in zip(x[s], y[s], strict=True)]) for s in seeds]
    return np.asarray(of_all), np.asarray(within)


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
                    masses = (
                        ", ".join(f"{n:.3f}" for n in of.sel(at).values) for of in near.values()
                    )
                    pairs = equal.sel(at)
                    matched = (
                        f"{float(pairs.mean()):.2f}" if pairs.notnull().all() else "not reached"
                    )
                    lines.append(
                        f"| {policy} | {name} | {place} | {count} "
                        f"| {with_interval(one.mean('pair', skipna=False), '.2f')} "
                        f"| {float((one < 0).mean()):.0%} | {matched} | {' | '.join(masses)} |"
                    )
    return "\n".join([*lines, *_alone(found)]) + "\n"


def _alone(found: xr.Dataset) -> list[str]:
    """More of the table: one prompt alone, and how many pairs share no token at all."""
    lines = ["", "One prompt alone, `autoregressive`:", ""]
    lines += ["| optimiser | place | common tokens | change (nats) | chosen that fall |"]
    lines += ["|---" * 5 + "|"]
    for name in RATES:
        for place in PLACES:
            for count in COUNTS:
                one = found["alone"].sel(optimiser=name, place=place, common=count)
                lines.append(
                    f"| {name} | {place} | {count} | {with_interval(one, '.2f')} "
                    f"| {float((one < 0).mean()):.0%} |"
                )
    bare, count = int((found["bag"] == 0).sum()), found["bag"].size
    return [*lines, "", f"With nothing in common by place, {bare} of {count} pairs share no token."]


FIGURE = register(
    Study(
        name="why_overlap",
        title="Does token overlap drag the chosen down?",
        alt=(
            "Change of the chosen over the number of common tokens: flat with free logits, "
            "falling with shared weights, most for a prefix."
        ),
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
