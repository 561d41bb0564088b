"""DPO and its relatives against reward models with policy optimisation, at the same labels.

The paper's claim: DPO suffers from the three properties, alignment by a reward model does not, and
regularised DPO comes near it. ``docs/roads/contest.md`` has the answer.
"""

import concurrent.futures
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from toymodel.roads.contest_methods import METHODS, ORACLE
from toymodel.roads.contest_picture import draw
from toymodel.roads.contest_runs import (
    CANDIDATES,
    MEASURED,
    PRICE,
    RECORDED,
    chosen_rewards,
    contest,
    fitted,
    learned_rewards,
)
from toymodel.roads.contest_worlds import CONDITIONS, make
from toymodel.studies.claims import DEGRADATION, DISPERSION, DROP, claim, with_interval
from toymodel.studies.study import Claim, Study, register

#: Divergences at which the frontier is read (nats).
DIVERGENCES = (0.03, 0.1, 0.2, 0.4, 0.7, 1.0, 1.5, 2.0)
EQUAL = 0.7  # of these, where the properties are compared: every method gets so far
#: Seeds of the worlds on which settings are chosen start here.
SELECTION = 100_000
ROADS = ("reward model, exact RL", "reward model, PPO")
REGULARISED = ("Flex-DPO", "SFT-DPO", "IPO")
_THREADS = 2  # methods trained side by side; what they compute does not depend on it


def compute(seeds: int) -> xr.Dataset:
    """Each method at the setting chosen on other worlds: `MEASURED`, and the frontier.

    Args:
        seeds: worlds to compare in; a quarter as many others decide settings.
    """
    chosen_on = max(2, seeds // 4)
    all_seeds = [*range(SELECTION, SELECTION + chosen_on), *range(seeds)]
    world, data = make(all_seeds)
    keys = jax.vmap(jax.random.key)(jnp.asarray(all_seeds))
    starts = fitted(world, keys)
    tables, accuracy = map(np.asarray, learned_rewards(world, data, starts, keys))
    learned, ranked = chosen_rewards(tables, accuracy, chosen_on)

    is_double = jnp.result_type(float) == jnp.float64  # in this thread: others would start anew

    def one(name: str) -> xr.Dataset:
        with jax.enable_x64(is_double):
            found = contest(world, data, jnp.asarray(learned), starts, keys, name=name)
        return _at_choice({key: np.asarray(part) for key, part in found.items()}, chosen_on)

    names = [*METHODS, ORACLE]
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        by_method = list(pool.map(one, names))
    joined: xr.Dataset = xr.concat(by_method, xr.Variable("contestant", names))
    joined["ranking"] = (("world", "condition"), ranked[chosen_on:])
    return joined


def _at_choice(found: dict[str, np.ndarray], selection: int) -> xr.Dataset:
    """A method's numbers where the selection worlds have the least mean regret."""
    regret = found["regret"][:selection].mean(axis=0)  # [condition, candidate, record]
    regret = np.where(np.isfinite(regret), regret, np.inf)
    best = regret.reshape(len(regret), -1).argmin(axis=-1)
    candidate, record = np.unravel_index(best, regret.shape[1:])
    conditions = np.arange(len(regret))
    columns: dict[str, Any] = {
        name: (("world", "condition"), part[selection:, conditions, candidate, record])
        for name, part in found.items()
    }
    settings = np.asarray(CANDIDATES)[candidate]
    wanted = ("divergence", "reward", "degradation", "dispersion")
    frontier = _frontier({name: found[name][:, 0] for name in wanted}, selection)  # base condition
    columns |= {
        "strength": ("condition", settings[:, 0]),
        "rate": ("condition", settings[:, 1]),
        "updates": ("condition", np.asarray(RECORDED)[record]),
        **{f"frontier_{name}": (("world", "at"), part) for name, part in frontier.items()},
    }
    worlds = np.arange(len(found["reward"]) - selection)
    places = {"world": worlds, "condition": list(CONDITIONS), "at": list(DIVERGENCES)}
    return xr.Dataset(columns, places)


def _frontier(paths: Mapping[str, np.ndarray], selection: int) -> dict[str, np.ndarray]:
    """What there is when a divergence is first reached, by the setting with most reward there.

    Args:
        paths: ``divergence``, ``reward`` and others, each [world, candidate, record].
        selection: the first so many worlds decide which setting is best.

    Returns:
        Name -> [world, divergence], without ``divergence`` and without the selection worlds; NaN
        where no setting takes all of these so far.
    """
    at, places = np.asarray(DIVERGENCES), np.arange(len(DIVERGENCES))
    reached = np.maximum.accumulate(paths["divergence"], axis=-1)
    shape = (*reached.shape[:2], len(at))
    read = {name: np.full(shape, np.nan) for name in paths if name != "divergence"}
    for place in np.ndindex(shape[:2]):
        first = np.searchsorted(reached[place], at)
        inside = (first > 0) & (first < reached.shape[-1])
        before, after = first[inside] - 1, first[inside]
        low, high = reached[place][before], reached[place][after]
        share = (at[inside] - low) / (high - low)
        for name, values in read.items():
            path = paths[name][place]
            values[place][inside] = path[before] + share * (path[after] - path[before])
    mean = read["reward"][:selection].mean(axis=0)  # NaN where some world does not get so far
    best = np.where(np.isnan(mean), -np.inf, mean).argmax(axis=0)
    is_there = np.isfinite(mean[best, places])
    return {
        name: np.where(is_there, values[selection:, best, places], np.nan)
        for name, values in read.items()
    }


# Claims -----------------------------------------------------------------------------------------


def compare(found: xr.Dataset) -> list[Claim]:
    """The paper's three statements as they stand, then what decides between the roads."""
    base = found.sel(condition="base")
    claims = []
    for measure, limit in (
        ("drop", DROP),
        ("degradation", DEGRADATION),
        ("dispersion", DISPERSION),
    ):
        of = {name: base[measure].sel(contestant=name).values for name in (*METHODS, ORACLE)}
        claims.append(claim("DPO", f"has it: {measure}", of["DPO"], above=limit))
        for road in (*ROADS, ORACLE):
            claims.append(claim(road, f"does not: {measure}", of[road], below=limit))
    equal = found.sel(at=EQUAL)
    for measure in ("degradation", "dispersion"):
        size = equal[f"frontier_{measure}"]
        for road in (*ROADS, ORACLE):
            less = size.sel(contestant="DPO").values - size.sel(contestant=road).values
            what = f"less {measure} than DPO at {EQUAL:g} nats"
            claims.append(claim(road, what, less, above=0))
    for condition in found["condition"].values:
        regret = found["regret"].sel(condition=condition)
        dpo = regret.sel(contestant="DPO").values
        for road in ROADS:
            saved = dpo - regret.sel(contestant=road).values
            claims.append(claim(str(condition), f"{road} saves on DPO's regret", saved, above=0))
    exact = base["regret"].sel(contestant=ROADS[0]).values
    for name in (*REGULARISED, "iterative DPO"):
        more = base["regret"].sel(contestant=name).values - exact
        claims.append(claim(name, "regret beyond the reward model's, exact RL", more, below=0.02))
    return claims


def table(found: xr.Dataset) -> str:
    """The counterparts of the paper's Tables 1, 2, 8 and 9, as Markdown."""
    base = found.sel(condition="base")
    names, conditions = found["contestant"].values, found["condition"].values
    lines = ["Under the base condition:", ""]
    lines += [f"| | {' | '.join(MEASURED)} |", "|---" * (len(MEASURED) + 1) + "|"]
    for name in names:
        row = [with_interval(base[measure].sel(contestant=name).values) for measure in MEASURED]
        lines.append(f"| {name} | {' | '.join(row)} |")
    lines += ["", *(f"- {name}: {meaning}." for name, meaning in MEASURED.items()), ""]
    header = " | ".join(f"{at:g}" for at in DIVERGENCES)
    for measure in ("reward", "degradation", "dispersion"):
        lines += [f"{measure.capitalize()} at equal divergence (nats), base condition:", ""]
        lines += [f"| | {header} |", "|---" * (len(DIVERGENCES) + 1) + "|"]
        for name in names:
            size = found[f"frontier_{measure}"].sel(contestant=name).transpose("at", "world")
            lines.append(f"| {name} | {' | '.join(map(with_interval, size.values))} |")
        lines.append("")
    for measure in ("regret", "degradation"):
        lines += [f"{measure.capitalize()} ({MEASURED[measure]}) in all conditions:", ""]
        lines += [f"| | {' | '.join(conditions)} |", "|---" * (len(conditions) + 1) + "|"]
        for name in names:
            row = [
                with_interval(found[measure].sel(contestant=name, condition=where).values)
                for where in conditions
            ]
            lines.append(f"| {name} | {' | '.join(row)} |")
        lines.append("")
    lines += ["Chosen settings (strength, learning rate, updates):", ""]
    lines += [f"| | {' | '.join(conditions)} |", "|---" * (len(conditions) + 1) + "|"]
    for name in names:
        one = found.sel(contestant=name)
        used = zip(one["strength"].values, one["rate"].values, one["updates"].values, strict=True)
        lines.append(f"| {name} | {' | '.join(f'{s:g}, {r:g}, {u}' for s, r, u in used)} |")
    ranked = found["ranking"].transpose("condition", "world").values
    cells = [with_interval(row) for row in ranked]
    lines += ["", f"Held-out accuracy of the reward models: {', '.join(cells)}.", ""]
    return "\n".join(lines)


FIGURE = register(
    Study(
        name="rm_vs_dpo",
        title="Preference losses against reward models with policy optimisation",
        alt=(
            "Reward over divergence, regret by condition, and degradation at equal divergence, "
            "for preference losses and reward models."
        ),
        caption="Left: expected true reward on held-out prompts against divergence from the "
        "reference, each method at the setting that is best at that divergence on other worlds. "
        f"Middle: regret at {PRICE:g} of reward a nat as data get fewer, noisier and off-policy "
        "(settings chosen on other worlds, for each method and condition alike). Right: "
        "degradation on prompts with labels at equal divergence; dashed: the onset.\n"
        "Means over worlds with 95 % intervals. All methods see the same labelled pairs, start "
        "from the same SFT policy and make the same number of updates at most.",
        compute=compute,
        draw=draw,
        compare=compare,
        table=table,
        on_request=True,
        group="roads",
        seeds=64,
    )
)
