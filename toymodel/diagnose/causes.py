"""What usually causes a fall of the chosen, and which of the causes a log can tell apart."""

import dataclasses
import math

from toymodel.diagnose.curves import LEAST_RECORDS, Interval, Windows, windows
from toymodel.diagnose.findings import NO, YES, Finding
from toymodel.diagnose.log import Log, Track
from toymodel.diagnose.series import Half

FITS, POSSIBLE, AGAINST = "fits", "possible", "speaks against it"

#: Where a cause was found. None of them has been measured on language models here.
TOY = "found in the toy, not measured on language models"

_ONE_EPOCH = 1.05
_SATURATED = 3.0  # units of reward: DPO's slope is then below a twentieth of its first
_ORDER = (FITS, POSSIBLE, AGAINST)


@dataclasses.dataclass(frozen=True)
class Cause:
    """A cause, how it agrees with the log, and what to change.

    Args:
        name: in a few words.
        agrees: "fits", "possible" (the log cannot tell), or "speaks against it".
        because: what of the log says so.
        change: what to change first, where this is the cause.
        pages: the pages of the documentation that found it.
        scope: where it was found.
    """

    name: str
    agrees: str
    because: str
    change: str
    pages: tuple[str, ...]
    scope: str = TOY


def causes(
    log: Log, chosen: Half, drop: Finding, degradation: Finding, held_out: str
) -> tuple[Cause, ...]:
    """Causes of a fall of the chosen, those that fit first; else why little moved, if that shows.

    Args:
        log: the log.
        chosen: the chosen's curve.
        drop: what was found about the rejected.
        degradation: what was found about the chosen.
        held_out: how held-out accuracy moved: "rises", "falls" or "" (not known).
    """
    if degradation.verdict != YES or chosen.windows is None:
        satisfied = _saturation(log)
        return (satisfied,) if drop.verdict == NO and satisfied.agrees == FITS else ()
    found = (
        _one_epoch(log, held_out),
        _other_pairs(log, chosen.windows),
        _own_pair(log),
        _nothing_holds(log),
    )
    return tuple(sorted(found, key=lambda cause: _ORDER.index(cause.agrees)))


def own_push(track: Track) -> Interval | None:
    r"""How far the logged batches' own halves raise their chosen, by gradient descent.

    With gradients :math:`g_+, g_-` of the loss's halves, a step along their sum changes the chosen
    by a positive multiple of :math:`|g_+|^2 + g_+ \cdot g_-`. This is :math:`1 + |g_-|\cos/|g_+|`:
    negative where the rejected's push drags the chosen down.

    Args:
        track: with `gradients/chosen`, `gradients/rejected` and `gradients/cosine`.

    Returns:
        The mean over all windows with its interval; None where not logged, or fewer than eight.
    """
    names = [f"gradients/{part}" for part in ("chosen", "rejected", "cosine")]
    if not all(name in track.metrics for name in names):
        return None
    chosen, rejected, cosine = (track.metrics[name] for name in names)
    there = (chosen > 0) & (rejected >= 0) & (abs(cosine) <= 1)
    if there.sum() < LEAST_RECORDS:
        return None
    push = 1 + rejected[there] / chosen[there] * cosine[there]
    cut = windows(track.step[there], push)
    half = float(cut.margin[0, -1]) / math.sqrt(2)  # of one window, wider than that of the mean
    mean = float(cut.mean.mean())
    return Interval(mean, mean - half, mean + half)


def _one_epoch(log: Log, held_out: str) -> Cause:
    epochs = log.epochs
    agrees = POSSIBLE if math.isnan(epochs) else FITS if epochs <= _ONE_EPOCH else AGAINST
    seen = "epochs are not logged" if math.isnan(epochs) else f"{epochs:.3g} passes over the data"
    change = {
        "rises": "Perhaps nothing: held-out accuracy rises. To keep the chosen up, a smaller "
        "learning rate.",
        "falls": "A smaller learning rate, or stop earlier: held-out accuracy falls.",
        "": "Log held-out accuracy first; to keep the chosen up, a smaller learning rate.",
    }[held_out]
    return Cause(
        name="movement along the learnt score, each pair seen once",
        agrees=agrees,
        because=seen,
        change=change,
        pages=("docs/why/epoch.md",),
    )


def _other_pairs(log: Log, chosen: Windows) -> Cause:
    peak = chosen.step[chosen.peak]
    rises_first = chosen.peak > 0 and chosen.change(0, chosen.peak).low > 0
    once = log.epochs <= _ONE_EPOCH
    shape = f"rises until step {peak:g}, then falls" if rises_first else "no certain rise first"
    many = "" if math.isnan(log.epochs) else f", {log.epochs:.3g} passes over the data"
    stop = f"Stop near step {peak:g}, where the chosen peaks; an" if rises_first else "An"
    return Cause(
        name="other prompts' pairs, over many epochs",
        agrees=AGAINST if once else FITS if rises_first and log.epochs > _ONE_EPOCH else POSSIBLE,
        because=shape + many,
        change=f"{stop} SFT term; fewer epochs; a smaller learning rate.",
        pages=("docs/why/chosen.md", "docs/why/mass.md"),
    )


def _own_pair(log: Log) -> Cause:
    push = own_push(log.main)
    if push is None:
        agrees, because = POSSIBLE, "no gradients of the halves are logged"
    else:
        agrees = FITS if push.high < 0 else AGAINST if push.low > 0 else POSSIBLE
        does = {FITS: "down", AGAINST: "up", POSSIBLE: "up or down"}[agrees]
        because = (
            f"the two halves of a batch push its chosen {does}: 1 + |g-| cos / |g+| is "
            f"{push.size:.2g} [{push.low:.2g}, {push.high:.2g}]"
        )
    return Cause(
        name="its own rejected, through tokens and weights that the two share",
        agrees=agrees,
        because=because,
        change="Data: pairs that part early (no long common prefix).",
        pages=("docs/why/overlap.md",),
    )


def _nothing_holds(log: Log) -> Cause:
    has_term = "nll_loss" in log.main.metrics
    return Cause(
        name="DPO's halves cancel, so nothing holds other responses down",
        agrees=AGAINST if has_term else POSSIBLE,
        because="an SFT term is logged (nll_loss)" if has_term else "no SFT term is logged",
        change=(
            "A larger SFT weight."
            if has_term
            else "An SFT weight of beta/10, then of beta; or Flex-DPO with beta_rejected = 0.2 "
            "beta_chosen."
        ),
        pages=("docs/why/sft.md", "docs/why/flex.md"),
    )


def _saturation(log: Log) -> Cause:
    """Little moved: is the loss satisfied already?"""
    step, margin = log.main.curve("rewards/margins")
    known = len(step) >= LEAST_RECORDS
    end = float(windows(step, margin).mean[-1]) if known else math.nan
    return Cause(
        name="the margin satisfies the loss early (large beta)",
        agrees=POSSIBLE if not known else FITS if end > _SATURATED else AGAINST,
        because=f"the margin of rewards ends at {end:.2g}" if known else "no margins are logged",
        change="If the rejected should fall further: a smaller beta.",
        pages=("docs/why/beta.md",),
    )
