"""Which curve says how a half moved: its log-ratio, its log-probability, or its reward."""

import dataclasses
import math

import numpy as np

from toymodel.diagnose.curves import LEAST_RECORDS, Windows, windows
from toymodel.diagnose.log import Log, Track

NATS, REWARD = "nats a sequence", "units of reward (beta x nats)"
PER_TOKEN = "nats a token"

_EXACT = 1e-3  # relative: rewards that are beta log pi itself, to the digits of a log
_FIRST = 4  # records that tell how fast a curve begins
_SURE = 0.1  # relative error of a beta that was read off the log


@dataclasses.dataclass(frozen=True)
class Half:
    """The curve of one half of the pairs.

    Args:
        name: chosen or rejected.
        kind: "log-ratio", "log-probability" or "reward".
        unit: of its values.
        step: [record].
        value: [record].
        since: what changes are measured against, in words.
        windows: the same in windows; None with fewer than eight records.
    """

    name: str
    kind: str
    unit: str
    step: np.ndarray
    value: np.ndarray
    since: str
    windows: Windows | None


def beta_of(log: Log, beta: float | None) -> tuple[float, str]:
    r"""Beta and where it is from: given, logged, or read off the log; NaN where unknown.

    Rewards are :math:`\beta(\log\pi - \log\pi_0)`, so over windows long enough to average batches,
    rewards rise by beta where log-probabilities rise by one nat.

    Args:
        log: the log.
        beta: what the user says; None: nothing.
    """
    if beta is not None:
        return beta, "given"
    if log.beta > 0:
        return log.beta, "logged"
    pairs = [_paired(log.main, name) for name in ("chosen", "rejected")]
    if reference_free(log.main) or any(len(pair[0]) < LEAST_RECORDS for pair in pairs):
        return math.nan, "unknown"
    rewards: list[np.ndarray] = []
    log_probs: list[np.ndarray] = []
    for steps, reward, log_prob in pairs:
        for values, kept in ((reward, rewards), (log_prob, log_probs)):
            means = windows(steps, values).mean
            kept.append(means - means.mean())
    x, y = np.concatenate(rewards), np.concatenate(log_probs)
    if not x @ x > 0:
        return math.nan, "unknown"
    inverse = float(x @ y / (x @ x))
    left = y - inverse * x
    error = math.sqrt(float(left @ left) / (len(x) - 3) / float(x @ x))
    if not (inverse > 0 and error < _SURE * inverse):
        return math.nan, "unknown"
    return float(f"{1 / inverse:.2g}"), f"read off the log, within {100 * error / inverse:.1f} %"


def half(track: Track, name: str, beta: float) -> Half:
    """The best curve that a track has of one half.

    Log-ratios first: the reference is that of the same batch, so they lack the noise of which
    pairs a batch holds, and they are exactly zero before training that begins at the reference.
    Without beta they are rewards, in another unit. Log-probabilities are the last resort.

    Args:
        track: training or held-out; in a steady one a record at step 0 is exactly the start.
        name: chosen or rejected.
        beta: NaN: unknown.
    """
    reward = track.curve(f"rewards/{name}")
    log_prob = track.curve(f"logps/{name}")
    complete = len(reward[0]) >= max(1, len(log_prob[0]))
    use_reward = complete and not (len(log_prob[0]) and reference_free(track))
    if use_reward and math.isfinite(beta):
        return _half(name, "log-ratio", NATS, reward[0], reward[1] / beta, 0.0)
    if not use_reward:
        unit = PER_TOKEN if "log_odds_ratio" in track.metrics else NATS  # ORPO takes token means
        start = float(log_prob[1][0]) if track.steady and log_prob[0][0] == 0 else None
        after = slice(0 if start is None else 1, None)
        return _half(name, "log-probability", unit, log_prob[0][after], log_prob[1][after], start)
    return _half(name, "reward", REWARD, *reward, 0.0)


def windows_of(track: Track, name: str, *, upside_down: bool = False) -> Windows | None:
    """A metric in windows; None with fewer than eight records. Of steady pairs nothing is limited.

    Args:
        track: that has it, or not.
        name: of the metric.
        upside_down: its negative, whose falls are its rises.
    """
    step, value = track.curve(name)
    if len(step) < LEAST_RECORDS:
        return None
    return windows(step, -value if upside_down else value, limit=not track.steady)


def reference_free(track: Track) -> bool:
    """Whether rewards are beta log pi itself (CPO, SimPO, ORPO): they are then no log-ratios."""
    _, reward, log_prob = _paired(track, "chosen")
    if len(reward) < 2 or not np.any(log_prob):
        return False
    ratio = reward / np.where(log_prob == 0, np.nan, log_prob)
    middle = float(np.nanmedian(ratio))
    return middle > 0 and bool(np.nanmax(np.abs(ratio / middle - 1)) < _EXACT)


def _half(
    name: str, kind: str, unit: str, step: np.ndarray, value: np.ndarray, anchor: float | None
) -> Half:
    if kind != "log-probability" and not _begins_at_reference(step, value):
        anchor = None
    steady = kind == "log-probability" and anchor is not None  # the same pairs at every record
    many = len(step) >= LEAST_RECORDS
    cut = windows(step, value, anchor=anchor, limit=not steady) if many else None
    exact = "since the start" if steady else "against the reference"
    since = "since the first records" if anchor is None else exact
    return Half(name, kind, unit, step, value, since, cut)


def _begins_at_reference(step: np.ndarray, value: np.ndarray) -> bool:
    """Whether a log-ratio grew from zero: not in a resumed run, nor from another starting model."""
    if len(step) < 2 or not 0 < step[0] <= step[1] - step[0] + 1:
        return False
    return bool(abs(value[0]) <= 2 * np.max(np.abs(value[1:_FIRST] - value[0])))


def _paired(track: Track, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Steps, rewards and log-probabilities of the records that have both."""
    both = [track.metrics.get(f"{kind}/{name}", np.empty(0)) for kind in ("rewards", "logps")]
    if not all(len(values) for values in both):
        return np.empty(0), np.empty(0), np.empty(0)
    there = np.isfinite(both[0]) & np.isfinite(both[1])
    return track.step[there], both[0][there], both[1][there]
