"""Claims of studies: a mean with its interval against limits, shares, and what is an onset."""

import numpy as np
import xarray as xr
from scipy import stats

from toymodel._typing import ArrayLike
from toymodel.attribution.effects import estimate
from toymodel.properties import Thresholds
from toymodel.studies.study import Claim

_ONSETS = Thresholds()
#: From here on a change counts as one of the three properties: nats, nats and probability.
DROP, DEGRADATION, DISPERSION = (
    float(getattr(_ONSETS, name)) for name in ("drop", "degradation", "dispersion")
)


def claim(
    where: str,
    what: str,
    by_seed: ArrayLike | xr.DataArray,
    *,
    above: float = -np.inf,
    below: float = np.inf,
    least: float = 1.0,
) -> Claim:
    """That the whole 95 % interval of a mean over seeds lies between two limits.

    Args:
        where: the run.
        what: the quantity; the interval is put behind it.
        by_seed: numbers, [seed]. NaN or infinity stands for a seed that has none.
        above: what the interval's lower end must exceed.
        below: what its upper end must stay under. Without limits the claim is information.
        least: share of seeds that must have a number; with fewer the claim fails.

    Example:
        >>> made = claim("here", "rise", np.array([1.0, 1.1, 0.9]), above=0)
        >>> made.what, made.paper, made.reached
        ('rise [0.752, 1.25]', '> 0', True)
        >>> claim("here", "rise", np.array([1.0, 1.1, np.nan]), above=0).reached
        False
    """
    values = np.asarray(by_seed)
    found = estimate(values)
    low, high = float(found.low), float(found.high)
    there = int(np.isfinite(values).sum())
    text = f"{what} [{low:.3g}, {high:.3g}]"
    if there < len(values):
        text += f", {there} of {len(values)} seeds"
    if np.isinf(above) and np.isinf(below):
        return Claim(where, text, float(found.mean), "-", None)
    aim = (
        f"< {below:g}"
        if np.isinf(above)
        else (f"> {above:g}" if np.isinf(below) else f"{above:g} to {below:g}")
    )
    enough = there > 1 and there >= least * len(values)
    return Claim(where, text, float(found.mean), aim, bool(enough and low > above and high < below))


def least_claim(where: str, what: str, differences: ArrayLike | xr.DataArray) -> Claim:
    """That every one of several paired differences, [..., seed], is above 0: the least of them.

    A difference that is not finite in some seed, or none at all, fails the claim.

    Example:
        >>> least_claim("here", "steps", np.array([[1.0, 1.1], [3.0, 3.1]])).what
        'steps: least [0.415, 1.69]'
        >>> least_claim("here", "steps", np.empty((0, 4))).reached
        False
    """
    values = np.asarray(differences)
    rows = values.reshape(-1, values.shape[-1])
    if len(rows) == 0:
        return Claim(where, f"{what}: none to compare", float("nan"), "> 0", False)
    found = estimate(rows)
    lows = np.where(np.isfinite(rows).all(axis=-1), found.low, -np.inf)
    at = int(lows.argmin())
    text = f"{what}: least [{found.low[at]:.3g}, {found.high[at]:.3g}]"
    return Claim(where, text, float(found.mean[at]), "> 0", bool(lows[at] > 0))


def with_interval(by_seed: ArrayLike | xr.DataArray, places: str = ".3g") -> str:
    """A mean and its 95 % interval as they stand in tables; a dash where there is none.

    Example:
        >>> with_interval(np.array([1.0, 2.0, 3.0]))
        '2 [-0.484, 4.48]'
    """
    found = estimate(np.asarray(by_seed))
    if not np.isfinite(found.low):
        return "-"
    mean, low, high = (format(float(end), places) for end in (found.mean, found.low, found.high))
    return f"{mean} [{low}, {high}]"


def share(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float, float]:
    r"""A share and Wilson's interval for it.

    .. math::
        \frac{\hat p + z^2/2n \pm z\sqrt{\hat p(1-\hat p)/n + z^2/4n^2}}{1 + z^2/n}

    Args:
        successes: how many succeeded.
        trials: of how many, at least one.
        confidence: of the interval.

    Returns:
        The share, and the interval's lower and upper end.

    Example:
        >>> [round(number, 3) for number in share(8, 10)]
        [0.8, 0.49, 0.943]

    References:
        Wilson, "Probable inference, the law of succession, and statistical inference" (1927).
    """
    z = float(stats.norm.ppf(0.5 + confidence / 2))
    p = successes / trials
    middle = p + z**2 / (2 * trials)
    half = z * np.sqrt(p * (1 - p) / trials + (z / (2 * trials)) ** 2)
    scale = 1 + z**2 / trials
    return p, float((middle - half) / scale), float((middle + half) / scale)
