"""Where a slider may stand: round numbers, spaced by ratios where a number is a scale."""

import math
from collections.abc import Mapping

_ROUND = (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)
_LINEAR = 40  # steps of a linear scale

#: Shares that matter near one, such as an optimiser's memories.
MEMORY = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999)


def by_ratio(low: float, high: float) -> tuple[float, ...]:
    """Round numbers from `low` to `high`, ten a decade.

    Example:
        >>> by_ratio(0.5, 2)
        (0.5, 0.6, 0.8, 1.0, 1.2, 1.5, 2.0)
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    numbers = [float(f"{digit:g}e{decade}") for decade in decades for digit in _ROUND]
    return tuple(number for number in numbers if low <= number <= high)


def ceiling(size: float) -> float:
    """The next size at which an axis may end; few, so that axes stand still while numbers change.

    Example:
        >>> ceiling(0.42), ceiling(51), ceiling(0)
        (0.5, 75.0, 1.0)
    """
    if not math.isfinite(size) or size <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(size))
    ends = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.5, 10.0)
    return float(f"{next(end for end in ends if end >= size / power * (1 - 1e-9)) * power:.3g}")


def evenly(low: float, high: float) -> tuple[float, ...]:
    """Forty equal steps from `low` to `high`.

    Example:
        >>> evenly(0, 1)[:3]
        (0.0, 0.025, 0.05)
    """
    width = (high - low) / _LINEAR
    return tuple(float(f"{low + width * place:.6g}") for place in range(_LINEAR + 1))


def stops(default: float, bounds: Mapping[str, float | None]) -> tuple[float, ...]:
    """Where the slider of a number may stand, from its default and its range.

    A positive number without upper limit is a scale: from a thousandth to a hundred times its
    default, by ratios, with zero in front where zero is allowed. Others move evenly.

    Args:
        default: the number's default.
        bounds: its range: ``above``, ``at_least``, ``below``, ``at_most``, each a number or None.

    Example:
        >>> found = stops(0.1, {"at_least": 0, "above": None, "below": None, "at_most": None})
        >>> found[:3], found[-1]
        ((0.0, 0.0001, 0.00012), 10.0)
    """
    least, most = bounds.get("at_least"), bounds.get("at_most")
    low = least if least is not None else bounds.get("above")
    high = most if most is not None else bounds.get("below")
    if low == 0 and (high is None or 0 < default <= high / 50):
        middle = default if default > 0 else 1.0
        found = by_ratio(middle / 1000, middle * 100)
        found = (0.0, *found) if least is not None else found
    elif low is not None and high is not None:
        found = evenly(low, high)
    else:
        span = max(1.0, 2 * abs(default))
        found = evenly(-span if low is None else low, span if high is None else high)
    return tuple(number for number in found if _inside(number, bounds))


def _inside(number: float, bounds: Mapping[str, float | None]) -> bool:
    tests = {
        "above": number.__gt__,
        "at_least": number.__ge__,
        "below": number.__lt__,
        "at_most": number.__le__,
    }
    limits = {name: bounds.get(name) for name in tests}
    return all(tests[name](float(limit)) for name, limit in limits.items() if limit is not None)


#: Learning rates, from Adam's to those of gradient descent.
RATES = by_ratio(1e-5, 10)
#: Training steps: multiples of 200, so that every run has as many records and nothing recompiles.
STEPS = (*range(200, 2001, 200), *range(2400, 4001, 400), *range(5000, 20001, 1000))
