r"""A noisy curve in windows, and intervals for all differences between windows at once.

Records are means over random batches, so neighbours differ by noise. The curve is cut into windows
of equal numbers of records. Of the difference between windows i < j all intervals

.. math:: \bar y_j - \bar y_i \pm q\, s_{ij}

hold together with the stated confidence. Hence they hold for whichever windows are looked at
afterwards: a peak that was searched for is no reason for an alarm.

Single records that stand out from their neighbours are limited first. The noise is what is left
beside a continuous line of straight pieces. Its size may change slowly, and neighbours may be
correlated (autoregressive, first order).
:math:`s_{ij}` follows from both; q is the quantile of the largest
:math:`|\bar e_j - \bar e_i|/s_{ij}` of a multivariate t.
"""

import dataclasses

import numpy as np

from toymodel._errors import refuse

CONFIDENCE = 0.95
#: With fewer records nothing is decided.
LEAST_RECORDS = 8

_MOST_WINDOWS, _RECORDS_A_WINDOW = 12, 5
_MOST_PIECES, _RECORDS_A_PIECE = 6, 6
_OUTLIER, _NEIGHBOURS = 5.0, 2  # in standard deviations; on each side
_UPPER_QUARTER = 1.15  # of the size of a standard normal number
_MOST_RECORDS = 480  # of more, neighbours are averaged first
_DRAWS = 4000


@dataclasses.dataclass(frozen=True)
class Interval:
    """A number and its interval; of one unit.

    Args:
        size: the estimate.
        low: lower end.
        high: upper end.
    """

    size: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Windows:
    """A curve in windows, each array [window], and how uncertain their differences are.

    Args:
        step: middle of each window.
        mean: its mean value.
        margin: half of the interval of each difference, [window, window].
        outliers: records that were limited.
    """

    step: np.ndarray
    mean: np.ndarray
    margin: np.ndarray
    outliers: int

    @property
    def peak(self) -> int:
        """The window with the highest mean."""
        return int(np.argmax(self.mean))

    def change(self, start: int = 0, end: int = -1) -> Interval:
        """The difference of two windows, `end` less `start`, with its interval."""
        size = float(self.mean[end] - self.mean[start])
        half = float(self.margin[start, end])
        return Interval(size, size - half, size + half)

    def fall(self, end: int = -1) -> Interval:
        """The fall from the highest window to `end`: its size, never negative.

        The ends are the largest lower and upper ends over all windows that could be the peak. A
        curve also moves within windows, which hides a part of its fall: the upper end allows for
        half of the way down from the peak to its neighbours' means, and for as much of the way from
        the last window's neighbour.
        """
        last = range(len(self.mean))[end]
        before = self.mean[: last + 1]
        half = self.margin[: last + 1, last]
        down = before - self.mean[last]
        way = np.diff(before, prepend=before[0], append=before[last])
        above = np.maximum(np.maximum(way[:-1], -way[1:]), 0) / 2  # what neighbours are lower by
        above[last] = 0  # a fall within the last window is not seen
        high = float(np.max(down + half + above)) + max(-float(way[last]), 0) / 2
        return Interval(float(np.max(down)), max(float(np.max(down - half)), 0.0), high)


def windows(
    step: np.ndarray, value: np.ndarray, *, anchor: float | None = None, limit: bool = True
) -> Windows:
    """Cut a curve into windows and find how uncertain their differences are.

    Args:
        step: steps of the records, [record], increasing.
        value: the metric, [record], finite.
        anchor: an exact value at step 0, before the first record; default: none.
        limit: whether single records that stand out are limited: not in curves without noise.

    Raises:
        InputError: fewer than eight records.

    Example:
        >>> noise = np.random.default_rng(0).normal(size=60)
        >>> found = windows(np.arange(60), noise - np.linspace(0, 9, 60))
        >>> fall = found.fall()
        >>> fall.low > 5, fall.high < 12
        (True, True)
    """
    if len(value) < LEAST_RECORDS:
        raise refuse("value", f"{len(value)} records", f"at least {LEAST_RECORDS} records")
    values, outliers = np.asarray(value, float), 0
    if limit:
        values, outliers = _limited(values)
    step, values = _joined(np.asarray(step, float)), _joined(values)
    count = len(values)
    pieces = max(3, min(_MOST_PIECES, count // _RECORDS_A_PIECE))
    covariance, freedom = _covariance(_noise(values, pieces), pieces + 1)
    number = max(4, min(_MOST_WINDOWS, count // _RECORDS_A_WINDOW))
    parts = np.array_split(np.arange(count), number)
    averaging = np.zeros((number, count))
    for row, part in zip(averaging, parts, strict=True):
        row[part] = 1 / len(part)
    mean = averaging @ values
    spread = averaging @ covariance @ averaging.T
    middle = averaging @ step
    if anchor is not None:
        spread = np.pad(spread, ((1, 0), (1, 0)))
        mean = np.concatenate([[anchor], mean])
        middle = np.concatenate([[0.0], middle])
    return Windows(middle, mean, _margin(spread, freedom), outliers)


def _limited(value: np.ndarray) -> tuple[np.ndarray, int]:
    """The curve with single outliers pulled to the median of their neighbours, and how many.

    The first and last records stay: there a steep curve looks like an outlier.
    """
    around = np.lib.stride_tricks.sliding_window_view(value, 2 * _NEIGHBOURS + 1)
    inner = slice(_NEIGHBOURS, len(value) - _NEIGHBOURS)
    middle = np.median(np.delete(around, _NEIGHBOURS, axis=1), axis=1)
    apart = value[inner] - middle
    limit = _OUTLIER * float(np.quantile(np.abs(apart), 0.75)) / _UPPER_QUARTER
    if limit == 0:
        return value, 0
    found = value.copy()
    found[inner] = middle + np.clip(apart, -limit, limit)
    return found, int(np.sum(np.abs(apart) > limit))


def _joined(values: np.ndarray) -> np.ndarray:
    """Means of neighbours, where there are too many records."""
    if len(values) <= _MOST_RECORDS:
        return values
    return np.array([part.mean() for part in np.array_split(values, _MOST_RECORDS)])


def _noise(value: np.ndarray, pieces: int) -> np.ndarray:
    """What is left beside the curve's best line of straight pieces, [record]."""
    at = np.linspace(0, pieces, len(value))
    hats = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(pieces + 1)))
    left: np.ndarray = value - hats @ np.linalg.lstsq(hats, value, rcond=None)[0]
    return left


def _covariance(noise: np.ndarray, used: int) -> tuple[np.ndarray, float]:
    """Covariance of the noise of all records, [record, record], and its degrees of freedom."""
    count = len(noise)
    free = count - used
    distance = np.abs(np.subtract.outer(np.arange(count), np.arange(count)))
    near = distance <= max(4, count // 6)
    local = near @ noise**2 / near.sum(axis=1)
    size = np.sqrt((local + np.mean(noise**2)) / 2 * count / free)
    scaled = noise / np.where(size > 0, size, 1)
    lag = float(scaled[1:] @ scaled[:-1]) / max(float(scaled @ scaled), 1e-300)
    correlation = min(max(lag + used / count, 0.0), 0.95)  # the line takes used / count away
    freedom = free * (1 - correlation) / (1 + correlation)
    return np.outer(size, size) * correlation**distance, freedom


def _margin(spread: np.ndarray, freedom: float) -> np.ndarray:
    """Half of the simultaneous interval of every difference, [window, window]."""
    total = float(np.trace(spread))
    if total == 0:
        return np.zeros_like(spread)
    variance = np.diag(spread)
    error: np.ndarray = np.sqrt(np.maximum(variance[:, None] + variance[None] - 2 * spread, 0))
    random = np.random.default_rng(0)
    root = np.linalg.cholesky(spread + 1e-12 * total * np.eye(len(spread)))
    draws = random.standard_normal((_DRAWS, len(spread))) @ root.T
    freedom = max(freedom, 2.0)
    draws /= np.sqrt(random.chisquare(freedom, _DRAWS) / freedom)[:, None]
    i, j = np.triu_indices(len(spread), 1)
    largest = np.max(np.abs(draws[:, j] - draws[:, i]) / error[i, j], axis=1)
    return error * float(np.quantile(largest, CONFIDENCE))
