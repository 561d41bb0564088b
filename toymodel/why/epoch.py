"""Do the three properties survive one epoch over many pairs? Few pairs often against many once.

Same number of updates, same batches, same rates; only the number of different pairs varies. Worlds
have features, so prompts without pairs can be measured too. ``docs/why/epoch.md`` has the answer.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from toymodel import worlds
from toymodel.losses import DPO
from toymodel.policies import MLP, Policy, Tabular
from toymodel.studies.claims import DEGRADATION, DISPERSION, claim, with_interval
from toymodel.studies.study import Claim, Study, register
from toymodel.why.epoch_picture import draw
from toymodel.why.epoch_runs import MEASURED, schedule, trace
from toymodel.worlds import Split, World

#: The worlds: a seed each.
SIZES: Mapping[str, Any] = {
    **{"prompts": 256, "responses": 12, "features": 6, "heldout_prompts": 32},
    **{"shifted_prompts": 32, "heldout_responses": 2},
}
BATCH, UPDATES, EVERY = 4, 64, 4
#: Different pairs: each is seen in 64, 8 and 1 epochs.
PAIRS = (4, 32, 256)
BETA = 0.1
_STEPS = (1.0, 3.0, 10.0, 30.0, 100.0)
#: Learning rates, from hardly moving to far beyond use, fixed after a pilot of four worlds.
RATES: Mapping[str, tuple[float, ...]] = {
    "adam": tuple(1e-3 * step for step in _STEPS),
    "sgd": tuple(0.1 * step for step in _STEPS),
}


def _perceptron(world: World) -> Policy:
    return worlds.mlp(world, MLP(hidden=(32,)))


def _tabular(world: World) -> Policy:
    del world
    return Tabular()


POLICIES: Mapping[str, Callable[[World], Policy]] = {
    "feature MLP": _perceptron,
    "log-linear": worlds.loglinear,
    "tabular": _tabular,
}


def compute(seeds: int) -> xr.Dataset:
    """`MEASURED` over policies, optimisers, numbers of pairs, rates and splits; a world a seed."""
    made = [worlds.generate(jax.random.key(seed), **SIZES) for seed in range(seeds)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *made)
    roles = jnp.stack(
        [jnp.stack([w.with_pairs(count).scenario.roles for count in PAIRS]) for w in made]
    )
    orders = [[schedule(count, BATCH, UPDATES, seed) for count in PAIRS] for seed in range(seeds)]
    keys = jax.vmap(jax.random.key)(jnp.arange(seeds))
    dims = ("seed", "pairs", "rate")
    places = {
        "seed": np.arange(seeds),
        "pairs": list(PAIRS),
        "rate": list(_STEPS),
        "step": EVERY * np.arange(UPDATES // EVERY + 1),
        "split": [split.title for split in Split],
    }
    by_policy = []
    for make in POLICIES.values():
        by_optimiser = []
        for optimiser, rates in RATES.items():
            found = trace(
                *(stacked, roles, jnp.asarray(orders), jnp.asarray(rates), keys),
                make=make,
                loss=DPO(beta=BETA),
                optimiser=optimiser,
                every=EVERY,
            )
            columns = {name: ((*dims, "split"), np.asarray(found[name])) for name in MEASURED} | {
                name: ((*dims, "step", "split"), np.asarray(found[name]))
                for name in ("chosen", "rejected")
            }
            by_optimiser.append(xr.Dataset(columns, places))
        by_policy.append(xr.concat(by_optimiser, xr.Variable("optimiser", list(RATES))))
    joined: xr.Dataset = xr.concat(by_policy, xr.Variable("policy", list(POLICIES)))
    return joined


# Claims -----------------------------------------------------------------------------------------

#: Drops (nats) on training prompts at which runs are compared: an early one and a late one.
EARLY, LATE = 0.3, 5.0


def at_drop(found: xr.Dataset, what: str, split: str, drop: float) -> np.ndarray:
    """A measured number at an equal drop on training prompts, [seed].

    Linear between the two rates around it, for every seed; NaN where no rate goes so far.

    Args:
        found: one policy, optimiser and number of pairs.
        what: of `MEASURED`.
        split: of the prompts that are measured.
        drop: on training prompts (nats).
    """
    drops = found["drop"].sel(split="training").transpose("seed", "rate").values
    values = found[what].sel(split=split).transpose("seed", "rate").values
    found_at = []
    for x, y in zip(drops, values, strict=True):
        order = np.argsort(x)
        found_at.append(np.interp(drop, x[order], y[order], np.nan, np.nan))
    return np.asarray(found_at)


def compare(found: xr.Dataset) -> list[Claim]:
    """Each statement of the write-up, with its interval over worlds."""
    claims = []
    for policy in ("feature MLP", "log-linear"):
        for optimiser in RATES:
            one = found.sel(policy=policy, optimiser=optimiser)
            claims += _of_a_sharing_policy(f"{policy}, {optimiser}", one)
    for optimiser in RATES:
        control = found.sel(policy="tabular", optimiser=optimiser)
        fall = control["drawdown"].sel(split="training").max(("pairs", "rate"), skipna=False).values
        claims.append(_claim(f"tabular, {optimiser}", "largest degradation", fall, below=1e-3))
        moved = (
            abs(control["chosen_change"].sel(split="held-out"))
            .max(("pairs", "rate"), skipna=False)
            .values
        )
        claims.append(_claim(f"tabular, {optimiser}", "held-out: any change", moved, below=1e-3))
    return claims


def _of_a_sharing_policy(where: str, found: xr.Dataset) -> list[Claim]:
    few, once = (found.sel(pairs=count) for count in (PAIRS[0], PAIRS[-1]))

    def late(runs: xr.Dataset, what: str, split: str = "training") -> np.ndarray:
        return at_drop(runs, what, split, LATE)

    early = at_drop(once, "chosen_change", "training", EARLY)
    fall = "mean_drawdown"
    return [
        _claim(where, "1 epoch, drop 0.3: change of chosen", early, above=0),
        _claim(where, "1 epoch: degradation", late(once, fall), above=DEGRADATION),
        _claim(where, "1 epoch less 64: degradation", late(once, fall) - late(few, fall), above=0),
        _claim(where, "1 epoch: dispersion", late(once, "dispersion"), above=DISPERSION),
        _claim(where, "1 epoch: mass on the better", late(once, "better_gain"), above=0),
        _claim(
            where, "held-out, 1 epoch: degradation", late(once, fall, "held-out"), above=DEGRADATION
        ),
        _claim(
            where,
            "held-out, 64 less 1: degradation",
            late(few, fall, "held-out") - late(once, fall, "held-out"),
            above=0,
        ),
        _claim(where, "held-out, 1 epoch: accuracy", late(once, "accuracy", "held-out"), above=0.5),
        _claim(
            where, "held-out, 1 epoch: true score", late(once, "score_gain", "held-out"), above=0
        ),
        _claim(
            where,
            "held-out, 1 less 64: true score",
            late(once, "score_gain", "held-out") - late(few, "score_gain", "held-out"),
            above=0,
        ),
    ]


def _claim(where: str, what: str, by_seed: np.ndarray, **ends: float) -> Claim:
    """`claim`, in half of the worlds at least: in some no rate reaches the drop of a comparison."""
    return claim(where, what, by_seed, least=0.5, **ends)


def table(found: xr.Dataset) -> str:
    """Numbers at a drop of 5 nats on training prompts, as Markdown."""
    columns = (
        *("mean_drawdown", "chosen_change", "dispersion", "accuracy"),
        *("drift", "better_gain", "score_gain", "heldout_gain"),
    )
    lines = [
        f"At a drop of {LATE:g} nats on training prompts, mean [95 %]; - where no rate reaches it.",
        "",
        f"| policy | optimiser | pairs | prompts | {' | '.join(columns)} |",
        "|---" * (4 + len(columns)) + "|",
    ]
    for policy in ("feature MLP", "log-linear"):
        for optimiser in RATES:
            for count in found["pairs"].values:
                one = found.sel(policy=policy, optimiser=optimiser, pairs=count)
                for split in found["split"].values:
                    cells = [with_interval(at_drop(one, w, split, LATE), ".2f") for w in columns]
                    row = (policy, optimiser, str(count), split, *cells)
                    lines.append(f"| {' | '.join(row)} |")
    meanings = (f"- {name}: {MEASURED[name]}" for name in columns)
    return "\n".join([*lines, "", *meanings, ""])


FIGURE = register(
    Study(
        name="why_epoch",
        title="Do the effects survive one epoch over many pairs?",
        alt=(
            "Degradation against drop for 4, 32 and 256 pairs: at equal drop more pairs in one "
            "epoch degrade more."
        ),
        caption=(
            "DPO (beta 0.1) in worlds with features, 64 updates of 4 pairs each: 4 pairs in 64 "
            "epochs, 32 in 8, or 256 in one. A world a seed; a dot a learning rate (Adam 0.001 to "
            "0.1, SGD 0.1 to 10), bars and bands are 95 % of the mean over worlds. Vertical axes "
            "of the first four panels are linear within 0.1 nats of zero, logarithmic beyond.\n"
            "Top: degradation on training prompts against the drop there. Below: prompts without "
            "pairs, and the curves of the one epoch."
        ),
        compute=compute,
        draw=draw,
        compare=compare,
        table=table,
        on_request=True,
        group="why",
        seeds=32,
    )
)
