"""Which of the three properties a log shows: verdicts with sizes, intervals and onsets."""

import dataclasses
import math

import numpy as np

from toymodel.diagnose.curves import LEAST_RECORDS, Interval, Windows
from toymodel.diagnose.log import Track
from toymodel.diagnose.series import NATS, Half, windows_of
from toymodel.properties import Thresholds

YES, NO, UNDECIDED, NOT_IN_LOG = "yes", "no", "undecided", "not in the log"

#: A fall that is not certain is none if it is below this share of the largest change of either
#: half, or of the chosen's certain rise.
NEGLIGIBLE, OF_THE_RISE = 0.05, 0.5
_PROBE, _MASS = "probes/", "mass/"
_ALL = 0.99  # of the probability
_SEEN = 1e-3  # a gain in probability that is worth telling

_NAN = math.nan
_UNKNOWN = Interval(_NAN, _NAN, _NAN)


@dataclasses.dataclass(frozen=True)
class Finding:
    """What the log says about one property.

    Args:
        name: drop, degradation or dispersion.
        verdict: "yes", "no", "undecided" or "not in the log".
        size: how far, with its interval; NaN where not known.
        unit: of the size.
        since: the step from which the curve shows it; NaN: never.
        certain: the step by which the interval shows it; NaN: never.
        peak: the step of the highest window, for falls from a peak; NaN elsewhere.
        text: the same as a sentence.
    """

    name: str
    verdict: str
    size: Interval
    unit: str
    since: float
    certain: float
    peak: float
    text: str


def drop(half: Half, limits: Thresholds) -> Finding:
    """Whether the rejected fell tenfold, or as far as the limits say.

    In other units than nats a sequence any fall that is certain counts.
    """
    cut = half.windows
    if cut is None:
        return _too_few("drop", half)
    change = cut.change()
    size = Interval(-change.size, -change.high, -change.low)
    least = float(limits.drop) if half.unit == NATS else 0.0
    far = "tenfold" if math.isclose(least, math.log(10), rel_tol=1e-6) else f"{least:.3g} nats"
    falls = cut.mean[0] - cut.mean
    since, certain = _first(cut, falls > least, 0), _first(cut, falls - cut.margin[0] > least, 0)
    verdict = YES if size.low > least else NO if size.high < max(least, 1e-9) else UNDECIDED
    told = f"The rejected {_moved(change, half.unit)} {half.since}"
    judged = {
        YES: f"more than {far} since step {since:g}" if least else f"since step {since:g}",
        NO: f"less than {far}" if least else "no fall",
        UNDECIDED: f"whether {far} is undecided" if least else "a fall is undecided",
    }
    return Finding(
        "drop", verdict, size, half.unit, since, certain, _NAN, f"{told}: {judged[verdict]}."
    )


def degradation(half: Half, limits: Thresholds, largest: float) -> Finding:
    """Whether the chosen fell from its peak.

    Args:
        half: the chosen's curve.
        limits: what counts, in nats a sequence; in other units any fall that is certain does.
        largest: the largest change of either half, for scale.
    """
    cut = half.windows
    if cut is None:
        return _too_few("degradation", half)
    least = float(limits.degradation) if half.unit == NATS else 0.0
    size, peak = cut.fall(), cut.peak
    falls = cut.mean[peak] - cut.mean
    sure = np.array([cut.fall(end).low for end in range(len(cut.mean))])
    certain = _first(cut, sure > least, peak)
    whole = cut.change()
    negligible = max(least, NEGLIGIBLE * largest, OF_THE_RISE * whole.low)
    verdict = YES if size.low > least else NO if size.high < negligible else UNDECIDED
    shown = verdict != NO and size.size > least
    since = _first(cut, falls > least, peak) if shown else _NAN
    start = f"The chosen {_moved(whole, half.unit)} {half.since}"
    from_peak = f"{_range(size)} {half.unit} below its peak near step {cut.step[peak]:g}"
    judged = {
        YES: f"it ends {from_peak} and falls since step {since:g} (certain by {certain:g})",
        NO: f"no fall from its peak beyond {size.high:.3g} {half.unit}",
        UNDECIDED: f"a fall from its peak is undecided, between 0 and {size.high:.3g} {half.unit}",
    }
    return Finding(
        "degradation",
        verdict,
        size,
        half.unit,
        since,
        certain if verdict == YES else _NAN,
        float(cut.step[peak]),
        f"{start}; {judged[verdict]}.",
    )


def dispersion(track: Track, chosen: Finding, limits: Thresholds) -> Finding:
    """Whether mass left the pair, from probes: the pair's own curves cannot say it.

    Mass outside pair and samples decides alone. Losses of the model's own answers before training
    are dispersion only where the chosen did not gain what they lost, so where it fell as well.

    Args:
        track: with what toymodel's callback logs, or probes under the same names.
        chosen: what was found about the chosen.
        limits: what counts.
    """
    measure = next((x for x in _MEASURES if _can_see(track, x)), None)
    if measure is None:
        lost = (
            " The chosen fell from its peak, and what it lost is outside the pair; how much "
            "that is in probability, and where it went, the log does not say."
        )
        text = "No probe of the model's own answers was logged."
        text += lost if chosen.verdict == YES else ""
        return Finding("dispersion", NOT_IN_LOG, _UNKNOWN, "", _NAN, _NAN, _NAN, text)
    cut = windows_of(track, measure.name, upside_down=measure.rises)
    assert cut is not None  # it can be seen, so it has records enough
    least = limits.dispersion if measure.is_mass else limits.degradation
    size, peak = cut.fall(), cut.peak
    sure = np.array([cut.fall(end).low for end in range(len(cut.mean))])
    certain = _first(cut, sure > least, peak)
    since = _first(cut, cut.mean[peak] - cut.mean > least, peak) if size.low > least else _NAN
    moved = size.low > least
    kept = size.high < max(least, NEGLIGIBLE * float(np.ptp(cut.mean)))
    alone = measure.name == "outside"
    verdict = YES if moved and (alone or chosen.verdict == YES) else NO if kept else UNDECIDED
    does = "rose" if measure.rises else "fell"
    why = {
        YES: f" since step {since:g}" + ("" if alone else ", and the chosen did not gain it"),
        NO: ": no more than noise",
        UNDECIDED: "; the chosen may have gained it" if moved else ": noise may explain it",
    }
    return Finding(
        name="dispersion",
        verdict=verdict,
        size=size,
        unit=measure.unit,
        since=since,
        certain=certain if moved else _NAN,
        peak=float(cut.step[peak]),
        text=f"{measure.meaning} {does} by {_range(size)} {measure.unit}{why[verdict]}."
        f"{_receivers(track)}",
    )


@dataclasses.dataclass(frozen=True)
class _Measure:
    """A metric that shows dispersion."""

    name: str
    meaning: str
    rises: bool
    is_mass: bool
    unit: str


#: Best first.
_MEASURES = (
    _Measure("outside", "The mass outside pair and samples", True, True, "in probability"),
    _Measure("lost_share", "The share of lost samples", True, True, "of the samples"),
    _Measure("support_mass", "The mass of the samples", False, True, "in probability"),
    _Measure("probes/sampled", "The samples before training", False, False, NATS),
    _Measure("probes/greedy", "The greedy answers before training", False, False, NATS),
)


def _can_see(track: Track, measure: _Measure) -> bool:
    """Whether a measure is logged often enough; with long answers all mass is always outside."""
    _, value = track.curve(measure.name)
    is_full = measure.name == "outside" and len(value) > 0 and value[0] > _ALL
    return len(value) >= LEAST_RECORDS and not is_full


def change_of(track: Track, name: str) -> Interval | None:
    """From the first to the last window of a metric; None with fewer than eight records."""
    cut = windows_of(track, name)
    return None if cut is None else cut.change()


def _receivers(track: Track) -> str:
    """Which probes changed, for certain: in log-probability, and in mass."""
    changes = {x.removeprefix(_PROBE): change_of(track, x) for x in track.metrics if _PROBE in x}
    known = {name: x for name, x in changes.items() if x is not None}
    gained = [f"{name} ({_signed(x)})" for name, x in known.items() if x.low > 0]
    lost = [f"{name} ({_signed(x)})" for name, x in known.items() if x.high < 0]
    text = f" Gained, nats a sequence: {', '.join(gained)}." if gained else ""
    text += f" Lost: {', '.join(lost)}." if lost else ""
    masses = {x.removeprefix(_MASS): change_of(track, x) for x in track.metrics if _MASS in x}
    received = [
        f"{name} ({_signed(x)})" for name, x in masses.items() if x is not None and x.low > _SEEN
    ]
    if masses:
        text += f" Gained in probability: {', '.join(received) or 'none of the probes'}."
    return text


def _first(cut: Windows, happens: np.ndarray, start: int) -> float:
    """Middle step of the first window after `start` in which something happens; NaN: none."""
    later = np.flatnonzero(happens & (np.arange(len(happens)) > start))
    return float(cut.step[later[0]]) if len(later) else _NAN


def _too_few(name: str, half: Half) -> Finding:
    count = len(half.step)
    move = float(half.value[-1] - half.value[0]) if count else _NAN
    text = (
        f"{count} records of the {half.name} are too few to tell a change from noise (needed: "
        f"{LEAST_RECORDS}); from the first to the last it moved by {move:+.3g} {half.unit}."
    )
    return Finding(name, UNDECIDED, _UNKNOWN, half.unit, _NAN, _NAN, _NAN, text)


def _moved(change: Interval, unit: str) -> str:
    """``fell by 2.3 [1.9, 2.7] nats a sequence``."""
    if change.low > 0:
        return f"rose by {_range(change)} {unit}"
    if change.high < 0:
        return f"fell by {_range(Interval(-change.size, -change.high, -change.low))} {unit}"
    return f"changed by {_signed(change)} {unit}"


def _range(x: Interval) -> str:
    return f"{x.size:.3g} [{x.low:.3g}, {x.high:.3g}]"


def _signed(x: Interval) -> str:
    return f"{x.size:+.2g} [{x.low:+.2g}, {x.high:+.2g}]"
