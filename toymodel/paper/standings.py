"""Who won the race, and what is a tie: intervals over seeds, tables, claims and the picture.

A result of `toymodel.paper.race.race` comes in; its measures are [rule, loss, scenario, seed].
"""

from collections.abc import Iterator

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from scipy import stats

from toymodel.paper.data import tables
from toymodel.plots.race import dots
from toymodel.studies.study import Claim

#: What is measured, each a mean over prompts: its title and its digits.
MEASURES = {
    "final_chosen": ("final chosen probability", 3),
    "drop": ("drop of the rejected (nats)", 1),
    "drawdown": ("drawdown of the chosen (nats)", 2),
    "dispersion": ("dispersed mass", 3),
}
CONFIDENCE = 0.95
#: A difference in probability too small to matter: one point, as the paper's Table 9 counts.
NEARLY = 0.01
#: The scenario that stands for the mean of all.
MEAN = "mean"
#: The rows of the paper's Table 9, by our names.
TABLE_9 = {
    "dpo": "dpo",
    "flex_dpo": "flex_dpo_0.1_0.08",
    "ipo": "ipo_eta_0.1",
    "slic": "slic_delta_5_eta_0.1",
}


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
    """The `MEASURES` with one more scenario, `MEAN`: seed by seed the mean of the others."""
    measures = data[list(MEASURES)].reset_coords(drop=True).astype(float)
    mean = measures.mean("scenario").expand_dims(scenario=[MEAN])
    return xr.concat([measures, mean], "scenario")


def standings(data: xr.Dataset) -> xr.Dataset:
    """How far each loss is behind the best of its scenario, seed by seed; `MEAN` included.

    Returns:
        best [rule, scenario]; behind [rule, loss, scenario], the mean paired difference of final
        chosen probability; half, of its interval (all of a scenario's hold together); tied, where
        that interval includes zero; and near, where behind is at most `NEARLY`.
    """
    chosen = with_mean(data)["final_chosen"]
    first = chosen.mean("seed").argmax("loss")
    lead = chosen.isel(loss=first).drop_vars("loss")
    behind, half = interval(lead - chosen, max(1, chosen.sizes["loss"] - 1))
    tied = ~(np.abs(behind) > half)  # an interval that is not known excludes nothing
    best = first.copy(data=chosen["loss"].values[first.values])
    return xr.Dataset(
        {"best": best, "behind": behind, "half": half, "tied": tied, "near": behind <= NEARLY}
    )


def summary(data: xr.Dataset) -> xr.Dataset:
    """The `MEASURES` as [rule, loss, scenario, part], mean and half its interval; `standings`."""
    measures = with_mean(data)
    parts = xr.DataArray(["mean", "half"], dims="part", name="part")
    intervals = {name: xr.concat(interval(measures[name]), parts) for name in MEASURES}
    return standings(data).assign(intervals).assign_coords(balanced=data["balanced"])


def compare(data: xr.Dataset) -> list[Claim]:
    """Table 9's two messages, in the scenario it was run in and for both rules of the race.

    That its four losses lie close together, and that DPO is as good as any. Its accuracies and our
    probabilities are different things: only rough sizes can be set side by side.
    """
    printed = np.stack([tables()["table_9"][row] for row in TABLE_9.values()])
    theirs = float(np.ptp(printed, axis=0).max())
    claims = []
    for rule in data["rule"].values:
        here = data["final_chosen"].sel(rule=rule, scenario="both_on_policy").mean("seed")
        four = here.sel(loss=list(TABLE_9))
        ours = float(four.max() - four.min())
        row = standings(data).sel(rule=rule, loss="dpo", scenario="both_on_policy")
        behind = f"dpo behind {row.best.item()}"
        where = f"on policy, {rule}"
        spread = Claim(where, "spread of Table 9's four", ours, f"{theirs:.3f}", ours <= theirs)
        tie = Claim(where, behind, float(row.behind), "interval has 0", bool(row.tied))
        claims += [spread, tie]
    return claims


def table(data: xr.Dataset) -> str:
    """All numbers as Markdown: the settings, and a table for each rule, scenario and their mean."""
    lines = [
        f"Measured after {data.attrs['steps']} steps on {data.sizes['seed']} seeds; mean ± half "
        "the 95 % t interval. Behind: mean paired difference from the best in final chosen "
        "probability; a tie where its interval (95 % for all of a table together, Bonferroni) "
        "includes zero. Where everything is near one, a difference of 1e-6 is beyond chance and "
        f"means nothing: see the losses within {NEARLY} of the best.\n",
        f"Not run: {'; '.join(data.attrs['not_run'])}.\n",
    ]
    found = summary(data)
    for rule in data["rule"].values:
        lines += [f"## {str(rule).capitalize()}\n", *_settings(data.sel(rule=rule))]
        for scenario in found["scenario"].values:
            lines += _standing(found.sel(rule=rule, scenario=scenario))
    return "\n".join(lines)


def _settings(data: xr.Dataset) -> Iterator[str]:
    yield "| loss | setting | learning rate | score on selection seeds | at the grid's edge |"
    yield "|---|---|---|---|---|"
    free = np.ptp(data["learning_rate"].values) > 0
    for loss in data["loss"].values:
        row = data.sel(loss=loss)
        at = [
            what
            for what, value, axis in (
                *([("rate", row.learning_rate, row.rate)] if free else []),
                ("strength", row.factor, row.factor_tried),
            )
            if float(value) in (float(axis[0]), float(axis[-1]))
            and row.score.notnull().any(set(row.score.dims) - set(axis.dims)).sum() > 1
        ]
        score = row.score.sel(rate=row.learning_rate, factor_tried=row.factor)
        yield (
            f"| {loss} | {row.setting.item()} | {float(row.learning_rate):g} "
            f"| {float(score):.3f} | {', '.join(at)} |"
        )
    yield ""


def _standing(column: xr.Dataset) -> Iterator[str]:
    scenario = column["scenario"].item()
    yield f"### {'Mean of the scenarios' if scenario == MEAN else scenario}\n"
    for what, which in (
        ("Indistinguishable from the best", column.tied),
        (f"Within {NEARLY} of the best", column.near),
    ):
        names = sorted(column["loss"].values[which.values])
        yield f"{what} ({len(names)}): {', '.join(names)}.\n"
    yield "| loss | " + " | ".join(title for title, _ in MEASURES.values()) + " | behind |"
    yield "|---|" + "---|" * (len(MEASURES) + 1)
    for loss in column["loss"].values[np.argsort(column.behind.values, kind="stable")]:
        row = column.sel(loss=loss)
        cells = [
            f"{row[name].values[0]:.{digits}f} ± {row[name].values[1]:.{digits}f}"
            for name, (_, digits) in MEASURES.items()
        ]
        behind = f"{float(row.behind):.2g} ± {float(row.half):.1g}"
        cells.append(f"{behind}, a tie" if bool(row.tied) else behind)
        yield f"| {loss} | {' | '.join(cells)} |"
    yield ""


def draw(data: xr.Dataset) -> Figure:
    """A row a loss: final chosen probability by both rules, then the other measures."""
    found, (own, toy) = summary(data), data["rule"].values
    titles = [(own, "final_chosen", f"final chosen probability,\n{own}")]
    titles += [(toy, name, f"{title},\n{toy}") for name, (title, _) in MEASURES.items()]
    return dots(found, titles)
