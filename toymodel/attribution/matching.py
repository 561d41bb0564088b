"""Learning rates at which runs move alike, so that optimisers can be compared at all.

The rule: each combination of ingredients gets the rate at which a measured number (the drop), mean
over prompts and a few seeds, equals the base's. It is found by halving an interval of rates a
fixed number of times, so it is the same on every machine with the same arithmetic.
"""

import numpy as np

from toymodel._errors import refuse
from toymodel.attribution.ingredients import RUN, Design
from toymodel.sweeps import Sweep, sweep
from toymodel.sweeps.axes import Over
from toymodel.sweeps.places import read

_SPAN = (1e-1, 1e4)  # of rates tried, as multiples of the base's
_HALVINGS = 10  # of five decades: to 0.6 %
#: Cells trained at once, here and in the attribution itself: one compilation serves both.
CHUNK = 32


def matched_rates(base: Sweep, design: Design, measure: str, seeds: range) -> np.ndarray:
    """The rate of each combination at which `measure` comes out as in the base, [run].

    A run that is not finite counts as too fast. The number is taken to grow with the rate, which
    the drop does; where no rate of the span matches, the result is an end of it.

    Args:
        base: the run with every ingredient in; its rate is kept.
        design: the combinations.
        measure: such as ``drop``.
        seeds: to measure with.

    Raises:
        InputError: a switch that sets the learning rate itself, or an optax object as optimiser.
    """
    if set(design.settings) & {"learning_rate", "optimiser.learning_rate"}:
        mend = "leave the rate to match=, or match=None"
        raise refuse("match", measure, "switches that leave the learning rate alone", mend)
    rate = float(read(base.parts(frozenset()), "learning_rate"))
    low, high = (np.full(len(design.present), np.log(rate * end)) for end in _SPAN)

    def measured(rates: np.ndarray) -> np.ndarray:
        over: Over = [design.axis(rates), {"seed": seeds}]
        found = sweep(base, over, record="properties", chunk=CHUNK, progress=False)[measure]
        mean = found.mean(("seed", "prompt"), skipna=False).transpose(RUN).values
        return np.where(np.isfinite(mean), mean, np.inf)

    target = measured(np.full(len(design.present), rate))[design.base]
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        is_fast = measured(np.exp(middle)) > target
        low, high = np.where(is_fast, low, middle), np.where(is_fast, middle, high)
    rates = np.asarray(np.exp((low + high) / 2))
    rates[design.base] = rate
    return rates
