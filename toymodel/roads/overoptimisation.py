"""True against learnt reward, the further a policy is optimised on the learnt one.

A reward model is fitted on few noisy pairs; the exact optimum of RLHF on it is traced over beta,
and best-of-n over n. ``docs/roads/overoptimisation.md`` has the answer.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from toymodel import worlds
from toymodel.policies import MLP, Policy
from toymodel.roads.overoptimisation_picture import draw
from toymodel.roads.overoptimisation_runs import PATHS, trace
from toymodel.scenarios import build
from toymodel.studies.claims import claim, with_interval
from toymodel.studies.study import Claim, Study, register
from toymodel.worlds import World

#: The worlds: a seed each.
SIZES: Mapping[str, Any] = {
    **{"prompts": 128, "responses": 64, "features": 6, "pairs": 4, "heldout_prompts": 64},
    **{"shifted_prompts": 0, "heldout_responses": 0},
}
#: Bradley-Terry temperature of the labels; rewards are in its units.
TEMPERATURE = 1.0
#: How many pairs the reward model sees: the first of all, so data sets are nested.
PAIRS = (32, 128, 512)
#: How far the initial policy leans to good responses already: log pi0 gains this times the score.
LEANING, NOT_LEANING = 1.0, 0.0
WEIGHT_DECAY, UPDATES = 0.01, 300


def _perceptron(world: World) -> Policy:
    return worlds.mlp(world, MLP(hidden=(32,)))


#: Form of the reward model -> its making and Adam's learning rate.
FORMS: Mapping[str, tuple[Callable[[World], Policy], float]] = {
    "log-linear": (worlds.loglinear, 0.03),
    "feature MLP": (_perceptron, 0.01),
}


def compute(seeds: int) -> xr.Dataset:
    """KL, learnt and true reward along every path, over forms, leanings, pairs and worlds."""
    keys = jax.vmap(jax.random.key)(jnp.arange(seeds))
    plain = [worlds.generate(jax.random.key(seed), **SIZES) for seed in range(seeds)]
    by_leaning = []
    for leaning in (LEANING, NOT_LEANING):
        made = [leaning_world(world, seed, leaning) for seed, world in enumerate(plain)]
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *made)
        by_form = []
        for make, rate in FORMS.values():
            found = trace(
                *(stacked, keys, jnp.asarray(PAIRS), jnp.asarray(rate)),
                **{"make": make, "updates": UPDATES, "weight_decay": WEIGHT_DECAY},
            )
            dims = ("seed", "pairs", "path", "strength")
            columns = {name: (dims, np.asarray(value)) for name, value in found.items()}
            places = {"seed": np.arange(seeds), "pairs": list(PAIRS), "path": list(PATHS)}
            by_form.append(xr.Dataset(columns, places))
        by_leaning.append(xr.concat(by_form, xr.Variable("form", list(FORMS))))
    joined: xr.Dataset = xr.concat(by_leaning, xr.Variable("leaning", [LEANING, NOT_LEANING]))
    return joined


def leaning_world(world: World, seed: int, leaning: float) -> World:
    r"""The world with :math:`\log\pi_0 + \kappa s` for its initial policy, and noisy pairs from it.

    Args:
        world: a world of `worlds.generate`.
        seed: for the pairs.
        leaning: kappa.
    """
    table = jax.nn.log_softmax(world.scenario.log_table + leaning * world.score, axis=-1)
    key = jax.random.fold_in(jax.random.key(seed), 1)
    rows = np.asarray(worlds.draw_pairs(key, table, world.score, SIZES["pairs"], TEMPERATURE))
    rows = rows[rows[:, 0] < SIZES["prompts"]]
    scenario = build(log_table=table, pairs=rows, name=world.scenario.name)
    return dataclasses.replace(world, scenario=scenario, score=world.score / TEMPERATURE)


# Readings ----------------------------------------------------------------------------------------

#: Candidate laws of the gap between learnt and true reward over the KL: name -> its power.
LAWS: Mapping[str, float] = {"sqrt(KL)": 0.5, "KL": 1.0}


def explained(divergence: np.ndarray, gap: np.ndarray, power: float) -> np.ndarray:
    r"""The share of a gap explained by :math:`a\,\mathrm{KL}^p`, least squares through the origin.

    .. math:: 1 - \frac{\sum_i(g_i - a\,k_i^p)^2}{\sum_i g_i^2}, \qquad
        a = \frac{\sum_i g_i k_i^p}{\sum_i k_i^{2p}}

    Args:
        divergence: KL, increasing, [..., point].
        gap: learnt less true reward, [..., point].
        power: p.

    Returns:
        [...]; 1 for a perfect fit.

    Example:
        >>> kl = np.asarray([1.0, 4.0, 9.0])
        >>> float(explained(kl, 2 * np.sqrt(kl), 0.5)), float(explained(kl, 3 * kl, 1.0))
        (1.0, 1.0)
    """
    x = divergence**power
    slope = (gap * x).sum(axis=-1) / (x**2).sum(axis=-1)
    left = ((gap - slope[..., None] * x) ** 2).sum(axis=-1)
    share: np.ndarray = 1 - left / (gap**2).sum(axis=-1)
    return share


def gao(divergence: np.ndarray, gold: np.ndarray, law: str) -> np.ndarray:
    r"""The share of the true reward's variation that a law of Gao et al. explains, [...].

    With :math:`d = \sqrt{\mathrm{KL}}`: "linear" is :math:`d(\alpha - \beta d)`, theirs for
    best-of-n; "log" is :math:`d(\alpha - \beta\log d)`, theirs for reinforcement learning.

    Args:
        divergence: KL, positive, [..., point].
        gold: true reward less its value at the start, [..., point].
        law: "linear" or "log".

    Example:
        >>> d = np.linspace(0.2, 2, 20)
        >>> bool(np.isclose(gao(d**2, d * (2 - 0.5 * d), "linear"), 1))
        True

    References:
        Gao, Schulman and Hilton, "Scaling laws for reward model overoptimization" (2023),
        equations 1 and 2.
    """
    d = np.sqrt(divergence)
    columns = np.stack([d, d * (d if law == "linear" else np.log(d))], axis=-1)
    found = np.linalg.pinv(columns) @ gold[..., None]
    left = ((columns @ found)[..., 0] - gold) ** 2
    around = (gold - gold.mean(axis=-1, keepdims=True)) ** 2
    share: np.ndarray = 1 - left.sum(axis=-1) / around.sum(axis=-1)
    return share


def on_grid(found: xr.Dataset, what: str, grid: np.ndarray) -> np.ndarray:
    """A number at given divergences, [point, seed], by interpolation; NaN beyond a path's end.

    Args:
        found: one form, leaning, number of pairs and path.
        what: ``proxy`` or ``gold``.
        grid: KL (nats), [point].
    """
    divergence, values = (found[name].transpose("seed", "strength").values for name in ("kl", what))
    rows = [np.interp(grid, x, y, right=np.nan) for x, y in zip(divergence, values, strict=True)]
    return np.stack(rows, axis=1)


def common_grid(found: xr.Dataset, points: int = 40) -> np.ndarray:
    """Divergences that every world's path reaches, even in their square root, [point]."""
    reach = float(found["kl"].max("strength").min())
    grid: np.ndarray = np.linspace(0.05, np.sqrt(0.999 * reach), points) ** 2
    return grid


def compare(found: xr.Dataset) -> list[Claim]:
    """Peak and decline of the true reward, and which law the gap follows; intervals over worlds."""
    claims = []
    for form in found["form"].values:
        for pairs in found["pairs"].values:
            for path in ("optimum", "best of n"):
                one = found.sel(form=form, pairs=pairs, path=path, leaning=LEANING)
                claims += _of_a_path(f"{form}, {pairs} pairs, {path}", one)
        one = found.sel(form=form, path="optimum", leaning=LEANING)
        falls = [_fall(one.sel(pairs=pairs)) for pairs in PAIRS]
        claims.append(claim(form, "decline, fewest less most pairs", falls[0] - falls[-1], above=0))
        for pairs in found["pairs"].values:
            bare = found.sel(form=form, pairs=pairs, path="optimum", leaning=NOT_LEANING)
            words = "decline, leaning less not leaning"
            more = _fall(one.sel(pairs=pairs)) - _fall(bare)
            claims.append(claim(f"{form}, {pairs} pairs", words, more, above=0))
    return claims


def _of_a_path(where: str, found: xr.Dataset) -> list[Claim]:
    grid = common_grid(found)
    gold, proxy = (on_grid(found, what, grid).T for what in ("gold", "proxy"))
    gap = proxy - gold
    root, linear = (explained(grid, gap, power) for power in LAWS.values())
    forms = [gao(np.broadcast_to(grid, gold.shape), gold, law) for law in ("log", "linear")]
    return [
        claim(where, "decline of true reward after its peak", _fall(found), above=0),
        claim(where, "gap: fit by sqrt(KL) less by KL", root - linear, above=0),
        claim(
            where,
            "true reward: fit by d(a - b d) less d(a - b log d)",
            forms[1] - forms[0],
            above=0,
        ),
    ]


def _mean_curves(found: xr.Dataset) -> tuple[np.ndarray, np.ndarray, int]:
    grid = common_grid(found)
    gold, proxy = (on_grid(found, what, grid) for what in ("gold", "proxy"))
    return gold, proxy, int(gold.mean(axis=1).argmax())


def _fall(found: xr.Dataset) -> np.ndarray:
    """Fall of each world's true reward from the KL at which the mean over worlds peaks, [seed].

    The place of the peak is one for all worlds: at each world's own it would fall by chance alone.
    """
    gold, _, peak = _mean_curves(found)
    fall: np.ndarray = gold[peak] - gold[-1]
    return fall


def table(found: xr.Dataset) -> str:
    """Where the true reward peaks, how high, how far it falls, and which laws fit, as Markdown."""
    columns = (
        *(
            "KL at the peak",
            "true reward there",
            "at the end",
            "learnt at the end",
            "KL at the end",
        ),
        *("gap: sqrt(KL)", "gap: KL", "true: d(a - b log d)", "true: d(a - b d)"),
    )
    lines = [
        "True and learnt reward less their values at the start, mean [95 %] over worlds; the peak "
        "is that of the mean curve, the end the largest KL that every world reaches. Fits: share "
        "explained, median over worlds.",
        "",
        f"| leaning | form | pairs | path | {' | '.join(columns)} |",
        "|---" * (4 + len(columns)) + "|",
    ]
    for leaning in found["leaning"].values:
        for form in found["form"].values:
            for pairs in found["pairs"].values:
                for path in found["path"].values:
                    one = found.sel(leaning=leaning, form=form, pairs=pairs, path=path)
                    row = (f"{leaning:g}", form, str(pairs), path, *_row(one))
                    lines.append(f"| {' | '.join(row)} |")
    return "\n".join([*lines, ""])


def _row(found: xr.Dataset) -> list[str]:
    grid = common_grid(found)
    gold, proxy, peak = _mean_curves(found)
    gap = (proxy - gold).T
    fits = [explained(grid, gap, power) for power in LAWS.values()]
    fits += [gao(np.broadcast_to(grid, gap.shape), gold.T, law) for law in ("log", "linear")]
    return [
        f"{grid[peak]:.2f}",
        *(with_interval(by_seed, ".2f") for by_seed in (gold[peak], gold[-1], proxy[-1])),
        f"{grid[-1]:.2f}",
        *(f"{float(np.median(fit)):.3f}" for fit in fits),
    ]


FIGURE = register(
    Study(
        name="roads_overoptimisation",
        title="True against learnt reward, the harder the learnt one is pursued",
        alt=(
            "True and learnt reward over KL in six panels: the true one peaks at one to two nats "
            "where data are few."
        ),
        caption=(
            "A reward model (rows) is fitted on 32, 128 or 512 noisy pairs (columns); "
            "on 64 other prompts a policy pursues it: RLHF's exact optimum over beta, or the best "
            "of n samples over n (both exact, no training). Rewards are means over prompts, less "
            "their values under the initial policy, in units of the Bradley-Terry temperature; "
            "bands are 95 % of the mean over worlds. The initial policy leans to good responses "
            "already (log pi0 gains the true score once).\n"
            "Dotted: the optimum on the true reward, the most that a KL can buy. The learnt reward "
            "leaves the panel where it is larger."
        ),
        compute=compute,
        draw=draw,
        compare=compare,
        table=table,
        on_request=True,
        group="roads",
        seeds=64,
    )
)
