"""Learning rates at which runs move alike, so that optimisers can be compared at all.

The rule: each combination of ingredients gets the rate at which a measured number (the drop), mean
over prompts and a few seeds, equals the base's. It is found by halving an interval of rates a
fixed number of times, so it is the same on every machine with the same arithmetic.
"""

import numpy as np
import xarray as xr

from toymodel._errors import refuse
from toymodel.attribution.ingredients import RUN, Design
from toymodel.attribution.outcomes import by_seed, trained_prompts
from toymodel.sweeps import Sweep, records, sweep
from toymodel.sweeps.axes import Over
from toymodel.sweeps.places import read

_SPAN = (1e-1, 1e4)  # of rates tried, as multiples of the base's
_HALVINGS = 10  # of five decades: to 0.6 %
#: By what share of the base's a run may miss it and count as matched.
TOLERANCE = 0.05
#: Cells trained at once, here and in the attribution itself: one compilation serves both.
CHUNK = 32


def matched_rates(base: Sweep, design: Design, measure: str, seeds: range) -> np.ndarray:
    """The rate of each combination at which `measure` comes out as in the base, [run].

    A run that is not finite counts as too fast. The number is taken to grow with the rate, which
    the drop does; where no rate of the span matches, the result is an end of it. `reached` says
    how well runs are matched.

    Args:
        base: the run with every ingredient in; its rate is kept.
        design: the combinations.
        measure: such as ``drop``; mean over prompts that have pairs, and over `seeds`.
        seeds: to measure with.

    Returns:
        A learning rate each.

    Raises:
        InputError: a switch that sets the learning rate itself, an optax object as optimiser, or a
            base whose measure is no positive number, which nothing could match.

    Example:
        >>> from toymodel import MLP
        >>> from toymodel.attribution.ingredients import design
        >>> base = Sweep(policy=MLP(hidden=(8,), fit_steps=50), learning_rate=0.01, steps=30)
        >>> made = design(base, {"long memory": {"optimiser.b2": 0.9}})
        >>> rates = matched_rates(base, made, "drop", range(2))
        >>> float(rates[made.base]), bool(rates[made.control] != 0.01)
        (0.01, True)
    """
    if set(design.settings) & {"learning_rate", "optimiser.learning_rate"}:
        mend = "leave the rate to match=, or match=None"
        raise refuse("match", measure, "switches that leave the learning rate alone", mend)
    rate = float(read(base.parts(frozenset()), "learning_rate"))
    low, high = (np.full(len(design.present), np.log(rate * end)) for end in _SPAN)
    trained = trained_prompts(base, design)

    def measured(rates: np.ndarray) -> np.ndarray:
        over: Over = [design.axis(rates), {"seed": seeds}]
        found = sweep(base, over, record="properties", chunk=CHUNK, progress=False)
        is_lost = (found["status"] == records.NOT_FINITE).transpose(RUN, "seed").values
        values = by_seed(found, measure, trained)
        return np.asarray(np.where(is_lost, np.inf, values).mean(axis=1))

    target = measured(np.full(len(design.present), rate))[design.base]
    if not (np.isfinite(target) and target > 0):
        expected = "a measure that the base has, as a finite number > 0"
        raise refuse("match", f"{measure} {target:g}", expected, 'such as "drop"')
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        is_fast = measured(np.exp(middle)) > target
        low, high = np.where(is_fast, low, middle), np.where(is_fast, middle, high)
    rates = np.asarray(np.exp((low + high) / 2))
    rates[design.base] = rate
    return rates


def reached(design: Design, values: np.ndarray) -> dict[str, xr.Variable]:
    """How near runs came to what they were to match, by the seeds of the attribution itself.

    Args:
        design: the combinations.
        values: the matched measure, [run, seed].

    Returns:
        ``reached``, each run's mean over the base's, [run], and ``is_matched``, whether that is
        within `TOLERANCE` of 1. A run with a seed that was not finite is not matched.
    """
    mean = values.mean(axis=1)
    ratio = mean / mean[design.base]
    within = np.abs(ratio - 1) <= TOLERANCE
    what = {"long_name": "matched measure, over the base's"}
    return {
        "reached": xr.Variable((RUN,), ratio, what),
        "is_matched": xr.Variable((RUN,), within, {"long_name": f"within {TOLERANCE:.0%} of it"}),
    }
