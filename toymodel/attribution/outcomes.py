"""What a sweep measured, as one number a run and seed, of the prompts and runs that count."""

import numpy as np
import xarray as xr

from toymodel._errors import unknown
from toymodel.attribution.ingredients import RUN, Design
from toymodel.sweeps import Sweep, records
from toymodel.sweeps.places import place_all


def check_measures(base: Sweep, *measures: str) -> None:
    """Refuse a measure that runs will not have, before anything runs.

    Args:
        base: the run with every ingredient in.
        measures: their names.

    Raises:
        InputError: not a number of ``run.properties()`` with one value a prompt.
    """
    kept = records.parse("properties", base.steps)
    shape = base.parts(frozenset({"learning_rate"})).scenario.shape
    found, _ = records.variables(kept, shape, base.steps)
    known = [n for n, of in found.items() if of.dims == ("prompt",) and of.dtype.kind in "fb"]
    for measure in measures:
        if measure not in known:
            raise unknown("measure", measure, known)


def trained_prompts(base: Sweep, design: Design) -> np.ndarray:
    """Whether a prompt has a pair with weight in a combination, [run, prompt].

    Args:
        base: the run with every ingredient in.
        design: the combinations.
    """
    parts = base.parts(frozenset(design.settings))
    wholes_first = sorted(design.settings, key=lambda name: name.count("."))
    of_world = [name for name in wholes_first if name.partition(".")[0] == "scenario"]
    rows = []
    for run in range(len(design.present)):
        settings = {name: design.settings[name][run] for name in of_world}
        world = parts.scenario
        if settings:
            whole = {"scenario": settings.pop("scenario")} if "scenario" in settings else {}
            world = place_all(place_all(parts, whole), settings).scenario
        weight = np.zeros(world.shape[0])
        np.add.at(weight, np.asarray(world.pairs.prompt), np.asarray(world.pairs.weight))
        rows.append(weight > 0)
    return np.stack(rows)


def by_seed(found: xr.Dataset, measure: str, trained: np.ndarray) -> np.ndarray:
    """A measure's mean over the prompts that are trained, [run, seed].

    Values that are not there (an onset that never came) do not count; a run that is not finite, or
    has no value at all, is NaN.

    Args:
        found: of a sweep over runs and seeds.
        measure: such as ``drop``.
        trained: of `trained_prompts`.
    """
    values = found[measure].transpose(RUN, "seed", "prompt").values.astype(float)
    is_finite = (found["status"] != records.NOT_FINITE).transpose(RUN, "seed").values
    counts = trained[:, None] & is_finite[..., None] & np.isfinite(values)
    number = counts.sum(axis=-1)
    total = np.where(counts, values, 0).sum(axis=-1)
    return np.asarray(total / np.where(number > 0, number, np.nan))
