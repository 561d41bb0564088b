"""What usually causes a fall of the chosen, and which of the causes a log can tell apart."""

import dataclasses
import math

import numpy as np

from toymodel.diagnose.curves import Windows
from toymodel.diagnose.findings import NO, YES, Finding
from toymodel.diagnose.log import Log, Track
from toymodel.diagnose.series import Half, windows_of

FITS, POSSIBLE, AGAINST = "fits", "possible", "speaks against it"

#: Where a cause was found. None of them has been measured on language models here.
TOY = "found in the toy, not measured on language models"

_ONE_EPOCH = 1.05
_SATURATED = 3.0  # units of reward: DPO's slope is then below a tenth of its first
_SATURATED_SLOPE = 0.1  # of the first
_FEWEST = 4  # records with gradients
_SHARED = {
    "common_prefix": "common prefix",
    "common_later": "common part after the split",
    "own": "",
}
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
    log: Log,
    chosen: Half,
    drop: Finding,
    degradation: Finding,
    dispersion: Finding,
    held_out: str,
) -> tuple[Cause, ...]:
    """Causes of a fall of the chosen, or of dispersion, those that fit first.

    Where there is neither: why little moved, if that shows.

    Args:
        log: the log.
        chosen: the chosen's curve.
        drop: what was found about the rejected.
        degradation: what was found about the chosen.
        dispersion: what was found about the mass outside.
        held_out: how held-out accuracy moved: "rises", "falls" or "" (not known).
    """
    if dispersion.verdict == YES and degradation.verdict != YES:
        return (_nothing_holds(log),)
    if degradation.verdict != YES or chosen.windows is None:
        satisfied = _saturation(log)
        return (satisfied,) if drop.verdict == NO and satisfied.agrees == FITS else ()
    found = (
        _one_epoch(log, held_out),
        _other_pairs(log, chosen.windows),
        _own_pair(log, degradation.peak),
        _nothing_holds(log),
    )
    return tuple(sorted(found, key=lambda cause: _ORDER.index(cause.agrees)))


def own_push(track: Track) -> tuple[np.ndarray, np.ndarray]:
    r"""How far the logged pairs' own halves raise their chosen, by gradient descent.

    With gradients :math:`g_+, g_-` of the loss's halves, a step along their sum changes the chosen
    by a positive multiple of :math:`|g_+|^2 + g_+ \cdot g_-`. This is :math:`1 + |g_-|\cos/|g_+|`:
    negative where the rejected's push drags the chosen down.

    Args:
        track: with `gradients/chosen`, `gradients/rejected` and `gradients/cosine`.

    Returns:
        Steps and values, both empty where not logged.
    """
    names = [f"gradients/{part}" for part in ("chosen", "rejected", "cosine")]
    if not all(name in track.metrics for name in names):
        return np.empty(0), np.empty(0)
    chosen, rejected, cosine = (track.metrics[name] for name in names)
    there = (chosen > 0) & np.isfinite(rejected) & np.isfinite(cosine)
    return track.step[there], 1 + rejected[there] / chosen[there] * cosine[there]


def _one_epoch(log: Log, held_out: str) -> Cause:
    epochs = log.epochs
    agrees = POSSIBLE if math.isnan(epochs) else FITS if epochs <= _ONE_EPOCH else AGAINST
    seen = "epochs are not logged" if math.isnan(epochs) else _passes(epochs)
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


def _passes(epochs: float) -> str:
    return f"{epochs:.3g} {'pass' if f'{epochs:.3g}' == '1' else 'passes'} over the data"


def _other_pairs(log: Log, chosen: Windows) -> Cause:
    peak = chosen.step[chosen.peak]
    rises_first = chosen.peak > 0 and chosen.change(0, chosen.peak).low > 0
    once = log.epochs <= _ONE_EPOCH
    shape = f"rises until step {peak:g}, then falls" if rises_first else "no certain rise first"
    many = "" if math.isnan(log.epochs) else f", {_passes(log.epochs)}"
    stop = f"Stop near step {peak:g}, where the chosen peaks; an" if rises_first else "An"
    return Cause(
        name="other prompts' pairs, over many epochs",
        agrees=AGAINST if once else FITS if rises_first and log.epochs > _ONE_EPOCH else POSSIBLE,
        because=shape + many,
        change=f"{stop} SFT term; fewer epochs; a smaller learning rate.",
        pages=("docs/why/chosen.md", "docs/why/mass.md"),
    )


def _own_pair(log: Log, peak: float) -> Cause:
    agrees, because = _shared_tokens(log.main) or _halves(log.main, peak)
    return Cause(
        name="its own rejected, through tokens and weights that the two share",
        agrees=agrees,
        because=because,
        change="Data: pairs that part early (no long common prefix).",
        pages=("docs/why/overlap.md",),
    )


def _shared_tokens(track: Track) -> tuple[str, str] | None:
    """Whether the fall is in the tokens that chosen and rejected share; None: not logged."""
    cuts = {kind: windows_of(track, f"tokens/chosen_{kind}") for kind in _SHARED}
    falls = {kind: cut.fall() for kind, cut in cuts.items() if cut is not None}
    own = falls.pop("own", None)
    if own is None or not falls:
        return None
    kind, shared = max(falls.items(), key=lambda item: item[1].size)
    agrees = FITS if shared.low > own.high else AGAINST if own.low > shared.high else POSSIBLE
    return agrees, (
        f"tokens of the {_SHARED[kind]} fell by {shared.size:.2g} [{shared.low:.2g}, "
        f"{shared.high:.2g}] nats a token, its own by {own.size:.2g} [{own.low:.2g}, "
        f"{own.high:.2g}]"
    )


def _halves(track: Track, peak: float) -> tuple[str, str]:
    """Whether the gradients of both halves, together, push the chosen down after its peak."""
    step, push = own_push(track)
    after = push[step > peak]
    if len(after) < _FEWEST:
        return POSSIBLE, "shared tokens and gradients of the halves are not logged, or too rarely"
    down = int(np.sum(after < 0))
    agrees = FITS if down == len(after) else AGAINST if down == 0 else POSSIBLE
    return agrees, (
        f"the two halves' gradients push the chosen down in {down} of {len(after)} records after "
        "its peak"
    )


def _nothing_holds(log: Log) -> Cause:
    has_sft = "nll_loss" in log.main.metrics
    force = log.force or ("none" if log.loss.startswith("DPO(") else "")
    is_held = has_sft or force == "concentrates"
    does = {
        "none": ", whose halves cancel",
        "concentrates": ", which pushes them down",
        "disperses": ", which pushes them up",
    }.get(force, "")
    named = f"the loss is {log.loss}{does}" if log.loss else ""
    return Cause(
        name="nothing holds other responses down",
        agrees=AGAINST if is_held else FITS if force in ("none", "disperses") else POSSIBLE,
        because=named or f"{'an' if has_sft else 'no'} SFT term is logged",
        change=(
            "A larger SFT weight, or a smaller beta_rejected."
            if is_held
            else "An SFT weight of beta/10, then of beta; or Flex-DPO with beta_rejected = 0.2 "
            "beta_chosen."
        ),
        pages=("docs/why/sft.md", "docs/why/flex.md"),
    )


def _saturation(log: Log) -> Cause:
    """Little moved: is the loss satisfied already?"""
    agrees, because = _satisfied(log.main)
    return Cause(
        name="the margin satisfies the loss early (large beta)",
        agrees=agrees,
        because=because,
        change="If the rejected should fall further: a smaller beta.",
        pages=("docs/why/beta.md",),
    )


def _satisfied(track: Track) -> tuple[str, str]:
    """Whether margins are large at the end, or else the loss's slope small."""
    if (margins := windows_of(track, "rewards/margins")) is not None:
        end = float(margins.mean[-1])
        agrees = FITS if end > _SATURATED else AGAINST
        return agrees, f"the margin of rewards ends at {end:.2g}"
    _, slope = track.curve("slopes/chosen")
    if (slopes := windows_of(track, "slopes/chosen")) is not None and slope[0]:
        left = float(slopes.mean[-1] / slope[0])
        agrees = FITS if left < _SATURATED_SLOPE else AGAINST
        return agrees, f"the loss's slope in the chosen ends at {left:.2g} of its first"
    return POSSIBLE, "neither margins nor slopes are logged"
