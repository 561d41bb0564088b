"""Counterparts of the paper's Tables 1, 2, 7, 8 and 9, with intervals over seeds."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from toymodel.llm.miniature.bench import SETS
from toymodel.llm.miniature.plan import SCENARIOS
from toymodel.llm.miniature.rates import best, rates
from toymodel.llm.miniature.records import Records
from toymodel.llm.tasks import BY_NAME
from toymodel.studies.claims import with_interval

BASE: dict[str, Any] = {"task": "arithmetic", "method": "base"}
#: What a cell of arithmetic that is trained once has in common with others.
ONCE: dict[str, Any] = {"task": "arithmetic", "epochs": 1, "rounds": 1}
#: DPO on on-policy pairs, at any learning rate.
ON_POLICY: dict[str, Any] = {**ONCE, "method": "dpo", "scenario": SCENARIOS[0]}
METRICS = {f"{where}/{name}": f"{where}, {points} points" for where in SETS for name, points in
           (("five", "5"), ("four", "4 or 5"))}  # fmt: skip
ASPECTS = {task: tuple(BY_NAME[task].aspects) for task in ("verses", "slogans")}
#: Methods of Table 9, by what the paper calls them.
TABLE_9 = {
    "dpo": "dpo",
    "flex_dpo": "flex_dpo_0.1_0.08",
    "ipo": "ipo_eta_0.1",
    "slic": "slic_delta_5_eta_0.1",
}


def scenario_cells(records: Records) -> dict[str, dict[str, Any]]:
    """Scenario -> the fields of its DPO run at the chosen rate."""
    return {name: best(records, **ONCE, method="dpo", scenario=name) for name in SCENARIOS}


def loss_cells(records: Records, methods: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Method -> the fields of its run on on-policy pairs at the chosen rate."""
    return {
        name: best(records, **ONCE, method=name, scenario="both_on_policy")
        for name in methods
        if records.where(**ONCE, method=name)
    }


def together(records: Records, name: str, fields: Mapping[str, Any]) -> np.ndarray:
    """A score on both sets taken together, [seed]: they have equally many prompts."""
    return np.asarray(
        np.mean([records.values(f"{where}/{name}", **fields) for where in SETS], axis=0)
    )


def table_1(records: Records) -> str:
    """Shares of 5 and of 4 or 5 points on both sets taken together, by scenario."""
    runs = {"base": BASE, **scenario_cells(records)}
    return _markdown(
        ("policy", "learning rate", "5 points", "4 or 5 points"),
        (
            (name, _rate(run), *(_cell(together(records, n, run)) for n in ("five", "four")))
            for name, run in runs.items()
        ),
    )


def table_2(records: Records) -> str:
    """Scores by aspect of verses and slogans: base, policy optimisation, DPO."""
    parts = []
    for task, aspects in ASPECTS.items():
        runs = {
            method: best(records, task=task, method=method)
            for method in ("base", "rloo", "dpo")
            if records.where(task=task, method=method)
        }
        rows = (
            (
                name,
                _rate(run),
                *(_cell(records.values(f"test/aspect/{a}", **run)) for a in aspects),
                _cell(records.values("test/five", **run)),
            )
            for name, run in runs.items()
        )
        if runs:
            parts.append(_markdown((task, "learning rate", *aspects, "5 points"), rows))
    return "\n\n".join(parts)


def table_7(records: Records) -> str:
    """Log-probability a token of chosen and rejected before and after DPO, at every rate."""
    names = [
        f"{when}/logps/{half}_per_token"
        for when in ("before", "after")
        for half in ("chosen", "rejected")
    ]
    return _markdown(
        ("scenario", "learning rate", *(name.split("/")[0] + ", " + h for name, h in
         zip(names, ("chosen", "rejected") * 2, strict=True))),
        (
            (scenario, f"{rate:g}", *(_cell(records.values(name, **run)) for name in names))
            for scenario in SCENARIOS
            for rate in rates(records, **ONCE, method="dpo")
            for run in [{**ONCE, "method": "dpo", "scenario": scenario, "learning_rate": rate}]
        ),
    )  # fmt: skip


def table_8(records: Records) -> str:
    """Shares of points on each set, by scenario, for DPO at the chosen rate."""
    return _scores(records, {"base": BASE, **scenario_cells(records)})


def table_9(records: Records) -> str:
    """Shares of points on each set, by loss, on on-policy pairs at the chosen rate."""
    return _scores(records, {"base": BASE, **loss_cells(records, (*TABLE_9, "sft_dpo", "rloo"))})


def all_runs(records: Records) -> str:
    """Share of 5 points of every run of every task at every rate: nothing is left out."""
    names = ("task", "method", "epochs", "rounds", "learning_rate")
    found = sorted({tuple(row[name] for name in names) for row in records.rows})
    runs = [dict(zip(names, values, strict=True)) for values in found]
    return _markdown(
        ("task", "method", "learning rate", *SCENARIOS),
        (
            (run["task"], _passes(run), _rate(run), *_by_scenario(records, run))
            for run in runs
            if run["learning_rate"]
        ),
    )


def _passes(run: Mapping[str, Any]) -> str:
    """The method, with its passes over the pairs and collections of pairs, where several."""
    more = (f", {run[name]} {name}" if run[name] > 1 else "" for name in ("epochs", "rounds"))
    return "".join((run["method"], *more))


def _by_scenario(records: Records, run: Mapping[str, Any]) -> list[str]:
    return [
        _cell(records.values("test/five", **run, scenario=name))
        if records.where(**run, scenario=name)
        else "-"
        for name in SCENARIOS
    ]


def _scores(records: Records, runs: Mapping[str, Mapping[str, Any]]) -> str:
    return _markdown(
        ("policy", "learning rate", *METRICS.values()),
        (
            (name, _rate(run), *(_cell(records.values(metric, **run)) for metric in METRICS))
            for name, run in runs.items()
        ),
    )


def _rate(run: Mapping[str, Any]) -> str:
    rate = run.get("learning_rate")
    return f"{rate:g}" if rate else "-"


def _cell(by_seed: np.ndarray) -> str:
    return with_interval(by_seed, ".3f")


def _markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
