"""The entry function of attributions: run the combinations, measure, and tell the causes."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from toymodel._errors import refuse, unknown
from toymodel.attribution import effects
from toymodel.attribution.effects import estimate
from toymodel.attribution.ingredients import RUN, STANDARD, Design, Switches, design
from toymodel.attribution.matching import CHUNK, matched_rates
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

    All combinations run from the same seeds, and effects are differences within a seed.

    Args:
        base: the run with every ingredient in; the same class that sweeps start from.
        switches: ingredient -> the settings that take it out, such as
            ``{"shared weights": {"policy": "tabular"}}``. Settings are those of `toymodel.sweep`.
            Default: `STANDARD`, for a base that trains with Adam.
        seeds: how many, 0 to seeds - 1; two at least.
        limits: measure -> above which a run shows it. Measures are the numbers of
            ``run.properties()`` that have one value a prompt. Default: drop, drawdown
            (degradation) and dispersion, with the thresholds of their onsets.
        factorial: run all 2^k combinations, which gives main effects and interactions. Default:
            for up to six ingredients. Otherwise the base, the control (everything off), and each
            ingredient removed or added alone.
        match: a measure, such as ``"drop"``, that every combination must reach as in the base:
            each gets the learning rate that does, by a fixed bisection. Optimisers take steps of
            different sizes and are not comparable at one rate. Default: one rate for all.
        confidence: of intervals.
        progress: show a progress bar if it takes more than two seconds; None: only on a terminal.

    Returns:
        The `Attribution`.

    Raises:
        InputError: a switch that changes nothing, two with one setting, an unknown measure, fewer
            than two seeds, or whatever does not fit in a sweep.

    Example:
        >>> import toymodel as tm
        >>> base = tm.Sweep(policy=tm.MLP(hidden=(8,), fit_steps=50), learning_rate=0.01, steps=50)
        >>> found = attribute(base, {"shared weights": {"policy": "tabular"}}, seeds=2)
        >>> found.to_xarray()["removing"].dims
        ('measure', 'ingredient')
    """
    if not isinstance(seeds, int) or isinstance(seeds, bool) or seeds < 2:
        raise refuse("seeds", seeds, "a whole number >= 2", "intervals need some")
    if not 0 < confidence < 1:
        raise refuse("confidence", confidence, "a number between 0 and 1", "such as 0.95")
    made = design(base, switches, factorial)
    measures = tuple(limits)
    rates = None
    if match is not None:
        rates = matched_rates(base, made, match, range(min(seeds, _MATCHING_SEEDS)))
    over: Over = [made.axis(rates), {"seed": range(seeds)}]
    found = sweep(base, over, record="properties", chunk=CHUNK, progress=progress)
    for measure in (*measures, *([match] if match else [])):
        if measure not in found or found[measure].dims != (RUN, "seed", "prompt"):
            numbers = [str(name) for name in found if found[name].dims == (RUN, "seed", "prompt")]
            raise unknown("measure", measure, numbers)
    outcome = np.stack([found[m].mean("prompt").transpose(RUN, "seed").values for m in measures])
    data = labelled(made, outcome, measures, confidence)
    data["learning_rate"] = (RUN, _rates(base, made, rates), {"long_name": "learning rate"})
    data["status"] = ((RUN, "seed"), found["status"].values, found["status"].attrs)
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
    for name, (dims, by_seed) in quantities.items():
        ends = dataclasses.asdict(estimate(by_seed, confidence))
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
