"""The race: every preference loss on the paper's four scenarios, each at its own best setting.

The toy's counterpart of the paper's Table 9. Each loss gets the same grid of learning rates and
strengths; one rule, fixed in advance, picks its setting on seeds of their own; other seeds measure.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from scipy import stats
from tqdm import tqdm

from toymodel import losses, optimisers, scenarios
from toymodel._struct import number, struct
from toymodel._typing import PairArray, Scalar
from toymodel.losses.base import PairBatch, PreferenceLoss
from toymodel.paper.data import tables
from toymodel.paper.report import Claim, PaperFigure, register
from toymodel.paper.setting import CALIBRATED, EPOCHS
from toymodel.plots.race import dots
from toymodel.simulation import simulate
from toymodel.trajectory import Trajectory

#: What is measured, each a mean over prompts, with its unit.
MEASURES = {
    "final_chosen": ("final chosen probability", ""),
    "drop": ("drop of the rejected", "nats"),
    "drawdown": ("drawdown of the chosen", "nats"),
    "dispersion": ("dispersed mass", ""),
}
CONFIDENCE = 0.95
#: A difference in probability that matters: one point, as the paper's Table 9 counts.
NEARLY = 0.01

#: Registered losses that do not run, and why.
NOT_RUN = {
    "sum": "a sum of losses, with no terms of its own",
    "rdpo": "DPO exactly, where all responses have one length",
    "sigmoid_norm": "DPO exactly, where all responses have one token",
    "ld_dpo": "DPO exactly, where no response is longer than the other",
    "f_dpo": "runs as f_dpo_forward_kl and f_dpo_js, on DPO",
}
#: The number that sets a loss's strength, where it is not ``beta``. Several are scaled together.
STRENGTHS: dict[type[PreferenceLoss], tuple[str, ...]] = {
    losses.FlexDPO: ("beta_chosen", "beta_rejected"),
    losses.FlexSFTDPO: ("beta_chosen", "beta_rejected"),
    losses.IPO: ("eta",),
    losses.SLiC: ("delta",),
}


@dataclasses.dataclass(frozen=True)
class Plan:
    """The rules of a race, fixed before it.

    Args:
        rates: Adam's learning rates.
        factors: multiples of the default strength of each loss (`strength_fields`).
        steps: full-batch updates.
        selection_seeds: seeds that pick the setting with the highest final chosen probability,
            averaged over scenarios; no seed that measures is among them.
    """

    rates: tuple[float, ...] = (3e-5, 1e-4, 3e-4, 1e-3, 3e-3)
    factors: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0, 10.0)
    steps: int = EPOCHS
    selection_seeds: tuple[int, ...] = tuple(range(1_000_000, 1_000_008))

    def grid(self, loss: PreferenceLoss) -> list[tuple[float, float]]:
        """The (rate, factor) to try; a loss without a strength has one factor, which is idle."""
        factors = self.factors if strength_fields(loss) else self.factors[:1]
        return [(rate, factor) for rate in self.rates for factor in factors]


RACE = Plan()
#: Default numbers and few steps, to see it work: for fewer than `_REHEARSAL_BELOW` seeds.
REHEARSAL = Plan((3e-4,), (1.0,), 100, (1_000_000, 1_000_001))
_REHEARSAL_BELOW = 8


@struct(eq=False)
class OneOf(PreferenceLoss):
    """One of several losses, by number: one compilation serves them all, whatever their numbers."""

    index: Scalar = number(doc="which loss")
    losses: tuple[PreferenceLoss, ...] = number(doc="the losses")

    @property
    def takes_weights(self) -> bool:
        return all(loss.takes_weights for loss in self.losses)

    def value(self, pairs: PairBatch) -> PairArray:
        values: PairArray = jax.lax.switch(self.index, [x.value for x in self.losses], pairs)
        return values

    def slopes(self, pairs: PairBatch) -> tuple[PairArray, PairArray]:
        both: tuple[PairArray, PairArray] = jax.lax.switch(
            self.index, [x.slopes for x in self.losses], pairs
        )
        return both


def entrants() -> dict[str, PreferenceLoss]:
    """The losses that run, at their default numbers: all registered ones but `NOT_RUN`."""
    running = {name: losses.get(name) for name in losses.names() if name not in NOT_RUN}
    for divergence in ("forward_kl", "js"):
        running[f"f_dpo_{divergence}"] = losses.FDivergence(losses.DPO(), divergence)
    return running


def strength_fields(loss: PreferenceLoss) -> tuple[str, ...]:
    """The fields that set a loss's strength, of its inner loss where it has one; perhaps none."""
    inner = getattr(loss, "loss", None)
    if inner is not None:
        return strength_fields(inner)
    return STRENGTHS.get(type(loss), ("beta",) if hasattr(loss, "beta") else ())


def at_strength(loss: PreferenceLoss, factor: float) -> PreferenceLoss:
    """The loss with its strength multiplied.

    Example:
        >>> at_strength(losses.FlexDPO(), 10)
        FlexDPO(beta_chosen=1.0, beta_rejected=0.8)
    """
    inner = getattr(loss, "loss", None)
    if inner is not None:
        return dataclasses.replace(loss, loss=at_strength(inner, factor))  # type: ignore[type-var]
    fields = strength_fields(loss)
    numbers = {field: float(f"{factor * getattr(loss, field):.6g}") for field in fields}
    return dataclasses.replace(loss, **numbers)  # type: ignore[type-var]


def balanced(loss: PreferenceLoss) -> bool:
    """Whether a+ = -a-: the loss pulls the chosen up exactly as it pushes the rejected down."""
    some = ([-1.0, -2.0, -3.0], [-2.0, -2.5, -5.0], [-1.5, -2.2, -2.0], [-1.7, -2.6, -2.0])
    chosen, rejected = loss.slopes(PairBatch(*map(jnp.asarray, some)))
    return bool(jnp.allclose(chosen, -rejected))


def race(
    running: Mapping[str, PreferenceLoss],
    seeds: int,
    plan: Plan = RACE,
    *,
    progress: bool | None = None,
) -> xr.Dataset:
    """Pick each loss's setting on the selection seeds, then measure it on seeds 0 to ``seeds - 1``.

    Args:
        running: the losses by name, at their default numbers.
        seeds: seeds that measure.
        plan: grid, steps and selection seeds.
        progress: show a progress bar; by default on a terminal.

    Returns:
        The `MEASURES`, each [loss, scenario, seed]; the picked learning_rate, factor and setting,
        [loss]; what picked them, score [loss, rate, factor_tried] (NaN: not tried); `balanced`.
    """
    field, worlds = tuple(running.values()), scenarios.names()

    def run(number: int, rate: float, factor: float, world: str, seeds: Sequence[int]) -> Any:
        tried = tuple(at_strength(x, factor) if k == number else x for k, x in enumerate(field))
        return simulate(
            world,
            CALIBRATED.policy,
            OneOf(number, tried),
            optimisers.get("adam", rate),
            steps=plan.steps,
            seed=list(seeds),
            record=max(1, plan.steps // 100),
            progress=False,
        )

    block = len(plan.selection_seeds)  # measuring in blocks as large shares the compilation
    blocks = [range(start, start + block) for start in range(0, seeds, block)]
    grids = [plan.grid(loss) for loss in field]
    score = np.full((len(field), len(plan.rates), len(plan.factors)), np.nan)
    picked, measured = [], np.empty((len(MEASURES), len(field), len(worlds), seeds))
    total = len(worlds) * (sum(map(len, grids)) + len(field) * len(blocks))
    hidden = None if progress is None else not progress
    with tqdm(total=total, desc="race", unit="run", disable=hidden) as bar:
        for number, grid in enumerate(grids):
            bar.set_postfix_str(list(running)[number])
            for rate, factor in grid:
                runs = (run(number, rate, factor, x, plan.selection_seeds) for x in worlds)
                place = plan.rates.index(rate), plan.factors.index(factor)
                score[number, *place] = np.mean([final_chosen(x) for x in runs])
                bar.update(len(worlds))
            finite = np.nan_to_num(score[number], nan=-1)
            best = np.unravel_index(np.argmax(finite), finite.shape)  # the first, where several
            picked.append((plan.rates[best[0]], plan.factors[best[1]]))
            for at, world in enumerate(worlds):
                for seeds_here in blocks:
                    values = _measure(run(number, *picked[-1], world, seeds_here))
                    kept = seeds_here[: seeds - seeds_here.start]
                    measured[:, number, at, kept] = values[:, : len(kept)]
                bar.update(len(blocks))

    labels = [repr(at_strength(x, p[1])) for x, p in zip(field, picked, strict=True)]
    dims = ("loss", "scenario", "seed")
    return xr.Dataset(
        {
            **{name: (dims, measured[at]) for at, name in enumerate(MEASURES)},
            "score": (("loss", "rate", "factor_tried"), score),
        },
        {
            "loss": list(running),
            "scenario": worlds,
            "seed": range(seeds),
            "rate": list(plan.rates),
            "factor_tried": list(plan.factors),
            "learning_rate": ("loss", [p[0] for p in picked]),
            "factor": ("loss", [p[1] for p in picked]),
            "setting": ("loss", labels),
            "balanced": ("loss", [balanced(loss) for loss in field]),
        },
        {"steps": plan.steps},
    )


def final_chosen(run: Trajectory) -> np.ndarray:
    """The chosen probability after training, mean over prompts, [seed]."""
    final: np.ndarray = run.likelihoods().chosen_mean.values[:, -1]
    return final


def _measure(run: Trajectory) -> np.ndarray:
    """The `MEASURES` of a run, [measure, seed]."""
    found = run.properties().mean("prompt")
    rows = [found[name].values for name in MEASURES if name != "final_chosen"]
    return np.stack([final_chosen(run), *rows])


def interval(values: xr.DataArray, comparisons: int = 1) -> tuple[xr.DataArray, xr.DataArray]:
    """Mean over seeds and half its t interval; NaN with one seed.

    Args:
        values: one value a seed.
        comparisons: how many intervals hold together with `CONFIDENCE` (Bonferroni).
    """
    count = values.sizes["seed"]
    mean = values.mean("seed")
    if count < 2:
        return mean, mean * np.nan
    quantile = stats.t.ppf(1 - (1 - CONFIDENCE) / 2 / comparisons, count - 1)
    return mean, quantile * values.std("seed", ddof=1) / np.sqrt(count)


def with_mean(data: xr.Dataset) -> xr.Dataset:
    """The `MEASURES` with one more scenario, ``mean``: seed by seed the mean of the others."""
    measures = data[list(MEASURES)]
    mean = measures.mean("scenario").assign_coords(scenario="mean").expand_dims("scenario")
    return xr.concat([measures, mean], "scenario", coords="minimal", compat="override")


def standings(data: xr.Dataset) -> xr.Dataset:
    """How far each loss is behind the best of each scenario, and ``mean``, seed by seed.

    Returns:
        best [scenario]; behind [loss, scenario], the mean paired difference of final chosen
        probability; half, of its interval (all of a scenario's hold together); and tied, where
        that interval includes zero.
    """
    chosen = with_mean(data)["final_chosen"]
    best = chosen["loss"][chosen.mean("seed").argmax("loss")].drop_vars("loss")
    best = best.drop_vars([name for name in best.coords if name != "scenario"])
    lead = chosen.sel(loss=best).drop_vars("loss")
    behind, half = interval(lead - chosen, max(1, chosen.sizes["loss"] - 1))
    tied = ~(np.abs(behind) > half)  # an interval that is not known excludes nothing
    return xr.Dataset({"best": best, "behind": behind, "half": half, "tied": tied})


#: The rows of the paper's Table 9, by our names.
TABLE_9 = {
    "dpo": "dpo",
    "flex_dpo": "flex_dpo_0.1_0.08",
    "ipo": "ipo_eta_0.1",
    "slic": "slic_delta_5_eta_0.1",
}


def compare(data: xr.Dataset) -> list[Claim]:
    """Table 9's differences from DPO in the scenario it was run in; and DPO against the best.

    Its accuracies and our probabilities are different things, of which only signs and rough sizes
    can be set side by side. A difference is reached where our interval meets the range of the
    paper's over its four columns.
    """
    claims = []
    paper = {name: np.asarray(tables()["table_9"][row]) for name, row in TABLE_9.items()}
    here = data.final_chosen.sel(scenario="both_on_policy")
    for name in TABLE_9:
        if name != "dpo":
            mean, half = map(float, interval(here.sel(loss=name) - here.sel(loss="dpo")))
            theirs = paper[name] - paper["dpo"]
            outside = mean + half < theirs.min() or mean - half > theirs.max()
            text = f"{theirs.min():+.3f} to {theirs.max():+.3f}"
            claims.append(Claim("both_on_policy", f"{name} - dpo", mean, text, not outside))
    row = standings(data).sel(loss="dpo", scenario="both_on_policy")
    what = f"best ({row.best.item()}) - dpo"
    claims.append(Claim("both_on_policy", what, float(row.behind), "0 in interval", bool(row.tied)))
    return claims


def summary(data: xr.Dataset) -> xr.Dataset:
    """The `MEASURES` as [loss, scenario, part], mean and half its interval; and `standings`."""
    measures = with_mean(data)
    parts = xr.DataArray(["mean", "half"], dims="part", name="part")
    intervals = {name: xr.concat(interval(measures[name]), parts) for name in MEASURES}
    return standings(data).assign(intervals).assign_coords(balanced=data["balanced"])


def _rows(data: xr.Dataset) -> Iterator[str]:
    found = summary(data)
    for scenario in found["scenario"].values:
        column = found.sel(scenario=scenario)
        tied = column["loss"].values[column.tied.values]
        close = column["loss"].values[column.behind.values <= NEARLY]
        yield f"## {'Mean of the scenarios' if scenario == 'mean' else scenario}\n"
        yield f"Indistinguishable from the best ({len(tied)}): {', '.join(sorted(tied))}.\n"
        yield f"Within {NEARLY} of the best ({len(close)}): {', '.join(sorted(close))}.\n"
        yield "| loss | " + " | ".join(title for title, _ in MEASURES.values()) + " | behind |"
        yield "|---|" + "---|" * (len(MEASURES) + 1)
        for loss in column["loss"].values[np.argsort(column.behind.values, kind="stable")]:
            row = column.sel(loss=loss)
            cells = [
                f"{row[name].values[0]:.{digits}f} ± {row[name].values[1]:.{digits}f}"
                for name, digits in zip(MEASURES, (3, 1, 2, 3), strict=True)
            ]
            behind = f"{float(row.behind):.3f} ± {float(row.half):.3f}"
            cells.append(f"{behind}, a tie" if bool(row.tied) else behind)
            yield f"| {loss} | {' | '.join(cells)} |"
        yield ""


def table(data: xr.Dataset) -> str:
    """All numbers as Markdown: the settings, and a table for each scenario and for their mean."""
    lines = [
        f"Measured after {data.attrs['steps']} steps on {data.sizes['seed']} seeds; mean ± half "
        "the 95 % t interval. Drop and drawdown in nats. Behind: mean paired difference from the "
        "scenario's best in final chosen probability; a tie where its interval (95 % for all of a "
        "scenario's comparisons together, Bonferroni) includes zero.\n",
        "## Settings picked\n",
        "| loss | setting | learning rate | score | at the grid's edge |",
        "|---|---|---|---|---|",
    ]
    for loss in data["loss"].values:
        row = data.sel(loss=loss)
        edges = {"rate": (row.learning_rate, row.rate), "strength": (row.factor, row.factor_tried)}
        tried = {"rate": True, "strength": bool(row.score.notnull().any("rate").sum() > 1)}
        at = [
            what
            for what, (value, axis) in edges.items()
            if tried[what] and float(value) in (float(axis[0]), float(axis[-1]))
        ]
        lines.append(
            f"| {loss} | {row.setting.item()} | {float(row.learning_rate):g} "
            f"| {float(row.score.max()):.3f} | {', '.join(at)} |"
        )
    lines.append("\nNot run: " + "; ".join(f"{k} ({why})" for k, why in NOT_RUN.items()) + ".\n")
    return "\n".join([*lines, *_rows(data)])


def compute(seeds: int) -> xr.Dataset:
    """The whole race; below eight seeds the `REHEARSAL`, which shows nothing about losses."""
    return race(entrants(), seeds, RACE if seeds >= _REHEARSAL_BELOW else REHEARSAL)


def draw(data: xr.Dataset) -> Figure:
    """A row a loss, a panel a measure; the losses sorted by final chosen probability."""
    titles = {
        name: f"{title} ({unit})" if unit else title for name, (title, unit) in MEASURES.items()
    }
    return dots(summary(data), titles)


register(
    PaperFigure(
        name="race",
        title="The race of the losses",
        caption=(
            "Every loss after 2,000 full-batch epochs, at its own best learning rate and strength: "
            "of five rates times five strengths (0.1 to 10 times the default) the one with the "
            "highest final chosen probability, mean of the scenarios, on eight other seeds. "
            "Coloured: mean of the scenarios with its 95 % t interval, hollow where behind the "
            "best beyond chance (paired over seeds, Bonferroni); grey: each scenario. Losses in "
            "italics are balanced (a+ = -a-). Fewer than eight seeds make a rehearsal of 100 "
            "epochs at one setting, which shows nothing about losses."
        ),
        compute=compute,
        draw=draw,
        compare=compare,
        table=table,
        on_request=True,
    )
)
