r"""Effects of ingredients on a measured number, with intervals paired over seeds: plain arrays.

With the outcome Y of every combination and seed, effects are differences of outcomes **of the same
seed**, so what a seed does to all its runs cancels; their interval is Student's over seeds.
"""

import dataclasses

import numpy as np
from scipy import stats

from toymodel.attribution.ingredients import Design


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean over seeds and its interval; arrays of one shape.

    Args:
        mean: over seeds.
        low: lower end of the interval.
        high: upper end.
    """

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def estimate(by_seed: np.ndarray, confidence: float = 0.95) -> Estimate:
    r"""Mean and Student's t interval over the last axis, which holds the seeds.

    .. math:: \bar y \pm t_{n-1}\, s / \sqrt{n}

    Seeds whose number is NaN (a run that was not finite) are left out; with fewer than two left
    the interval is NaN.

    Args:
        by_seed: numbers, [..., seed].
        confidence: of the interval, such as 0.95.

    Example:
        >>> found = estimate(np.array([1.0, 2.0, 3.0]))
        >>> float(found.mean), round(float(found.low), 2), round(float(found.high), 2)
        (2.0, -0.48, 4.48)
    """
    is_there = np.isfinite(by_seed)
    count = is_there.sum(axis=-1)
    mean = np.where(is_there, by_seed, 0).sum(axis=-1) / np.where(count > 0, count, np.nan)
    deviation = np.where(is_there, by_seed - mean[..., None], 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = np.sqrt((deviation**2).sum(axis=-1) / (count - 1) / count)
        half = spread * stats.t.ppf(0.5 + confidence / 2, count - 1)
    half = np.where(count > 1, half, np.nan)
    return Estimate(mean, mean - half, mean + half)


def removals(design: Design, outcome: np.ndarray) -> np.ndarray:
    """What is lost where an ingredient is taken out of the base: [ingredient, ..., seed].

    Args:
        design: the combinations.
        outcome: a number of every run, [run, ..., seed].
    """
    places = range(len(design.names))
    return np.stack([outcome[design.base] - outcome[design.without(i)] for i in places])


def additions(design: Design, outcome: np.ndarray) -> np.ndarray:
    """What is gained where an ingredient is put alone into the control: [ingredient, ..., seed]."""
    places = range(len(design.names))
    return np.stack([outcome[design.only(i)] - outcome[design.control] for i in places])


def main_effects(design: Design, outcome: np.ndarray) -> np.ndarray:
    r"""What an ingredient does, mean over all combinations of the others: [ingredient, ..., seed].

    .. math:: E_A = 2^{1-k}\sum_c s_A(c)\, Y(c), \qquad s_A(c) = \pm 1
        \text{ where A is in or out}
    """
    return np.tensordot(_signs(design), outcome, 1) / (len(outcome) / 2)


def interactions(design: Design, outcome: np.ndarray) -> np.ndarray:
    r"""Half of how much more one ingredient does where another is in: [ingredient, other, ...].

    .. math:: E_{AB} = 2^{1-k}\sum_c s_A(c)\, s_B(c)\, Y(c)

    Zero for ingredients that merely add up. The diagonal is NaN.
    """
    signs = _signs(design)
    products = signs[:, None] * signs[None]
    found = np.tensordot(products, outcome, 1) / (len(outcome) / 2)
    found[np.diag_indices(len(signs))] = np.nan
    return np.asarray(found)


def _signs(design: Design) -> np.ndarray:
    return np.where(design.present.T, 1.0, -1.0)
