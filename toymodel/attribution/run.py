"""The entry function of attributions: run the combinations, measure, and tell the causes."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from toymodel._errors import refuse, whole
from toymodel.attribution import effects
from toymodel.attribution.effects import estimate
from toymodel.attribution.ingredients import RUN, STANDARD, Design, Switches, design
from toymodel.attribution.matching import CHUNK, matched_rates, reached
from toymodel.attribution.outcomes import by_seed, check_measures, trained_prompts
from toymodel.attribution.result import LIMITS, Attribution
from toymodel.sweeps import Sweep, sweep
from toymodel.sweeps.axes import Over
from toymodel.sweeps.places import read

_MATCHING_SEEDS = 4


def attribute(
    base: Sweep,
    switches: Switches = STANDARD,
    *,
    seeds: int = 32,
    limits: Mapping[str, float] = LIMITS,
    factorial: bool | None = None,
    match: str | None = None,
    confidence: float = 0.95,
    progress: bool | None = True,
) -> Attribution:
    """Switch a run's ingredients off and say which of them causes which of the three properties.

    All combinations run from the same seeds, and effects are differences within a seed. Measures
    are means over the prompts that have a pair with weight.

    Args:
        base: the run with every ingredient in; the same class that sweeps start from.
        switches: ingredient -> the settings that take it out, such as
            ``{"shared weights": {"policy": "tabular"}}``. Settings are those of `toymodel.sweep`:
            parts, or numbers such as ``scenario.chosen`` (the initial table) and
            ``scenario.pairs.weight[1]`` (0 leaves the pair out). Where another switch puts in an
            optimiser that has no such number, it is void.
            Default: `STANDARD`, for a base that trains with Adam.
        seeds: how many, 0 to seeds - 1; two at least.
        limits: measure -> above which a run shows it. Measures are the numbers of
            ``run.properties()`` that have one value a prompt. Default: drop, drawdown
            (degradation) and dispersion, with the thresholds of their onsets.
        factorial: run all 2^k combinations, which gives main effects and interactions. Default:
            for up to six ingredients. Otherwise the base, the control (everything off), and each
            ingredient removed or added alone.
        match: a measure, such as ``"drop"``, that every combination must reach as in the base:
            each gets the learning rate that does, by a fixed bisection on a few seeds. Optimisers
            take steps of different sizes and are not comparable at one rate. How near each came is
            `reached` and `is_matched` of the data, with all seeds; the table names runs that
            missed it. Default: one rate for all.
        confidence: of intervals.
        progress: show a progress bar if it takes more than two seconds; None: only on a terminal.

    Returns:
        The `Attribution`.

    Raises:
        InputError: a switch that changes nothing, two with one setting, an unknown measure, one to
            match that the base lacks, fewer than two seeds, or whatever does not fit in a sweep.

    Example:
        >>> import toymodel as tm
        >>> base = tm.Sweep(policy=tm.MLP(hidden=(8,), fit_steps=50), learning_rate=0.01, steps=50)
        >>> found = attribute(base, {"shared weights": {"policy": "tabular"}}, seeds=2)
        >>> found.to_xarray()["removing"].dims
        ('measure', 'ingredient')
    """
    seeds = whole("seeds", seeds, 2)
    if not 0 < confidence < 1:
        raise refuse("confidence", confidence, "a number between 0 and 1", "such as 0.95")
    made = design(base, switches, factorial)
    measures = tuple(limits)
    check_measures(base, *measures, *([match] if match is not None else []))
    rates = None
    if match is not None:
        rates = matched_rates(base, made, match, range(min(seeds, _MATCHING_SEEDS)))
    over: Over = [made.axis(rates), {"seed": range(seeds)}]
    found = sweep(base, over, record="properties", chunk=CHUNK, progress=progress)
    trained = trained_prompts(base, made)
    outcome = np.stack([by_seed(found, measure, trained) for measure in measures])
    data = labelled(made, outcome, measures, confidence)
    data["learning_rate"] = (RUN, _rates(base, made, rates), {"long_name": "learning rate"})
    data["status"] = ((RUN, "seed"), found["status"].values, found["status"].attrs)
    if match is not None:
        data = data.assign(reached(made, by_seed(found, match, trained)))
    data.attrs |= {"steps": base.steps, "match": match or "nothing: one learning rate"}
    return Attribution(data, switches, dict(limits))


def labelled(
    made: Design, outcome: np.ndarray, measures: Iterable[str], confidence: float = 0.95
) -> xr.Dataset:
    """Effects of a design on measured numbers, as a Dataset.

    Args:
        made: the combinations.
        outcome: a number of every run, [measure, run, seed].
        measures: their names.
        confidence: of the intervals.

    Returns:
        ``outcome`` and its effects with the ends of their intervals; see `Attribution.to_xarray`.
    """
    by_run = np.moveaxis(outcome, 0, 1)  # [run, measure, seed]
    k = range(len(made.names))
    quantities: dict[str, tuple[tuple[str, ...], np.ndarray]] = {
        "level": ((RUN, "measure"), by_run),
        "base": (("measure",), by_run[made.base]),
        "control": (("measure",), by_run[made.control]),
        "without": (("ingredient", "measure"), by_run[[made.without(i) for i in k]]),
        "only": (("ingredient", "measure"), by_run[[made.only(i) for i in k]]),
        "removing": (("ingredient", "measure"), effects.removals(made, by_run)),
        "adding": (("ingredient", "measure"), effects.additions(made, by_run)),
    }
    if made.factorial:
        both = ("ingredient", "other", "measure")
        quantities["main"] = (both[::2], effects.main_effects(made, by_run))
        quantities["interaction"] = (both, effects.interactions(made, by_run))
    columns: dict[str, Any] = {"outcome": (("measure", RUN, "seed"), outcome)}
    for name, (dims, numbers) in quantities.items():
        ends = dataclasses.asdict(estimate(numbers, confidence))
        columns |= {
            name if end == "mean" else f"{name}_{end}": (dims, v) for end, v in ends.items()
        }
    names = list(made.names)
    dataset = xr.Dataset(
        {**columns, "present": ((RUN, "ingredient"), made.present)},
        {
            "measure": list(measures),
            "ingredient": names,
            "seed": np.arange(outcome.shape[-1]),
            RUN: _labels(made),
            **({"other": names} if made.factorial else {}),
        },
        {"confidence": confidence},
    )
    return dataset.transpose("measure", ...)


def _labels(made: Design) -> list[str]:
    """What each combination has, in words."""
    rows = [[n for n, has in zip(made.names, row, strict=True) if has] for row in made.present]
    return [" + ".join(row) or "nothing" for row in rows]


def _rates(base: Sweep, made: Design, rates: np.ndarray | None) -> np.ndarray:
    if rates is not None:
        return rates
    if "learning_rate" in made.settings:
        return np.asarray(made.settings["learning_rate"], float)
    parts = base.parts(frozenset())
    known = hasattr(parts.optimiser, "learning_rate")
    return np.full(len(made.present), float(read(parts, "learning_rate")) if known else np.nan)
