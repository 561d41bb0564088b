"""From a log to a diagnosis: findings, causes, what to change first, what the log cannot tell."""

import dataclasses
import math
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from toymodel._errors import refuse
from toymodel.diagnose import report
from toymodel.diagnose.causes import AGAINST, Cause, causes
from toymodel.diagnose.findings import NOT_IN_LOG, Finding, change_of, degradation, dispersion, drop
from toymodel.diagnose.log import Log, Track, read
from toymodel.diagnose.picture import draw
from toymodel.diagnose.series import Half, beta_of, half
from toymodel.properties import Thresholds

_RISES, _FALLS = "rises", "falls"


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """What a log says about the three properties.

    Args:
        log: what was read.
        beta: DPO's beta; NaN: unknown.
        beta_from: where it is from.
        chosen: the curve of the chosen.
        rejected: the curve of the rejected.
        findings: drop, degradation and dispersion.
        harm: whether it hurts, as sentences: held-out pairs, accuracy, malformed samples.
        causes: those that fit first.
        cannot_tell: what this log does not say, and what to log for it.
        notes: what was amiss in the log, and what was done about it.
    """

    log: Log
    beta: float
    beta_from: str
    chosen: Half
    rejected: Half
    findings: tuple[Finding, ...]
    harm: tuple[str, ...]
    causes: tuple[Cause, ...]
    cannot_tell: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def first_changes(self) -> tuple[str, ...]:
        """What to change, best first: of the causes that the log does not speak against."""
        kept = (cause.change for cause in self.causes if cause.agrees != AGAINST)
        return tuple(dict.fromkeys(kept))

    def text(self) -> str:
        """The diagnosis as text."""
        return report.text(self)

    def as_data(self) -> dict[str, Any]:
        """The diagnosis as plain data; what is not known is None."""
        return report.as_data(self)

    def picture(self) -> Figure:
        """Both halves with their windows and onsets, and the probes where there are any."""
        return draw(self)

    def caption(self) -> str:
        """What the picture shows, for those who do not see it."""
        return report.caption(self)

    def __str__(self) -> str:
        return self.text()


def diagnose(
    path: str | Path | Log,
    *,
    beta: float | None = None,
    run: int | None = None,
    limits: Thresholds | None = None,
) -> Diagnosis:
    """Say which of the three properties a training log shows, since when, and what to change.

    Args:
        path: `trainer_state.json`, JSONL or CSV, a folder with one, or what `read` gave.
        beta: DPO's beta, which turns rewards into log-ratios; None: from the log, if it can be.
        run: which run, from 1, where a file holds several.
        limits: how large a change counts; default: those of `toymodel.properties`.

    Returns:
        The `Diagnosis`; print it, or use its fields.

    Raises:
        InputError: as `read`; a beta that is no number > 0.

    Example:
        >>> found = diagnose("tests/logs/falls.json")
        >>> [(finding.name, finding.verdict) for finding in found.findings]
        [('drop', 'yes'), ('degradation', 'yes'), ('dispersion', 'not in the log')]
    """
    if beta is not None and not (math.isfinite(beta) and beta > 0):
        raise refuse("beta", beta, "a finite number > 0", "DPO's usual beta is 0.1")
    log = path if isinstance(path, Log) else read(path, run=run)
    known, source = beta_of(log, beta)
    limits = Thresholds() if limits is None else limits
    chosen, rejected = (half(log.main, name, known) for name in ("chosen", "rejected"))
    largest = max(_largest(chosen), _largest(rejected))
    fell = drop(rejected, limits)
    degraded = degradation(chosen, limits, largest)
    dispersed = dispersion(log.main, degraded, limits)
    held_out, accuracy = _held_out(log, known, limits)
    return Diagnosis(
        log=log,
        beta=known,
        beta_from=source,
        chosen=chosen,
        rejected=rejected,
        findings=(fell, degraded, dispersed),
        harm=(*held_out, *_malformed(log.main)),
        causes=causes(log, chosen, fell, degraded, dispersed, accuracy),
        cannot_tell=_cannot_tell(log, chosen, dispersed, accuracy),
        notes=(*log.notes, *_outliers(chosen), *_outliers(rejected)),
    )


def _largest(curve: Half) -> float:
    cut = curve.windows
    return 0.0 if cut is None else float(abs(cut.mean - cut.mean[0]).max())


def _outliers(curve: Half) -> tuple[str, ...]:
    count = 0 if curve.windows is None else curve.windows.outliers
    limited = "stands out and was limited" if count == 1 else "stand out and were limited"
    records = "record" if count == 1 else "records"
    return (f"{count} {records} of the {curve.name} {limited}.",) if count else ()


def _held_out(log: Log, beta: float, limits: Thresholds) -> tuple[tuple[str, ...], str]:
    """Sentences about held-out pairs, and how their accuracy moved."""
    track = log.held_out
    said, accuracy = [], ""
    if track.has_pairs and track is not log.main:
        for name, judge in (("chosen", _judge_chosen), ("rejected", drop)):
            curve = half(track, name, beta)
            said.append(judge(curve, limits).text)
    change = change_of(track, "rewards/accuracies")
    step, value = track.curve("rewards/accuracies")
    if change is not None:
        accuracy = _RISES if change.low > 0 else _FALLS if change.high < 0 else ""
        said.append(
            f"Held-out accuracy {accuracy or 'moved'} by {change.size:+.2g} "
            f"[{change.low:+.2g}, {change.high:+.2g}]."
        )
    elif len(step):
        said.append(
            f"Held-out accuracy went from {value[0]:.3g} to {value[-1]:.3g} in {len(step)} "
            "records, too few to tell from noise."
        )
    return tuple(said), accuracy


def _malformed(track: Track) -> tuple[str, ...]:
    change = change_of(track, "malformed_share")
    if change is None:
        return ()
    ends = f"{change.size:+.2g} [{change.low:+.2g}, {change.high:+.2g}]"
    return (f"The malformed share of fresh samples changed by {ends}.",)


def _judge_chosen(curve: Half, limits: Thresholds) -> Finding:
    return degradation(curve, limits, _largest(curve))


def _cannot_tell(log: Log, chosen: Half, dispersed: Finding, accuracy: str) -> tuple[str, ...]:
    """What is missing, and what to log for it."""
    metrics = log.main.metrics
    missing = []
    if dispersed.verdict == NOT_IN_LOG:
        missing.append(
            "Dispersion, and where the mass went: log probes of the model's own answers, of other "
            "prompts' responses and of random ones (toymodel's callback does)."
        )
    if not accuracy and "malformed_share" not in metrics:
        missing.append(
            "Whether the fall hurts: log held-out accuracy or reward at eight evaluations or more, "
            "and score samples."
        )
    if "logps/chosen_per_token" not in metrics:
        missing.append(
            "Length: sums over sequences move more where they are longer; log means per token."
        )
    if "gradients/cosine" not in metrics:
        missing.append(
            "Whether its own pair pushes the chosen down: log tokens that both halves share, and "
            "gradients of both halves (toymodel's callback does)."
        )
    if chosen.kind == "log-ratio" and "logps/chosen" not in metrics:
        missing.append("How likely the responses are: rewards give changes, not levels.")
    if chosen.kind == "reward":
        missing.append("How large the changes are in nats: beta is not known; give it with --beta.")
    if chosen.kind == "log-probability" and chosen.since == "since the first records":
        missing.append(
            f"What happened before the first record (step {chosen.step[0]:g}): log rewards as "
            "well, or earlier."
        )
    return tuple(missing)
