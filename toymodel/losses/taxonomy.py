"""What kind of loss a loss is, found by probing it: nothing here is typed in for a loss by hand.

Probes are single pairs over the plane of log-ratios, a walk of the rejected response down to
log pi- = -1e4, and small batches. They answer which of the three properties a loss can cause.
"""

import dataclasses
import enum

import jax
import jax.numpy as jnp
import numpy as np

from toymodel._typing import ArrayLike
from toymodel.losses.base import PairBatch, PreferenceLoss

_SPAN, _POINTS = 20.0, 41  # of the plane of log-ratios, nats
_CHOSEN, _REJECTED = -25.0, -30.0  # log-probabilities of the reference in the plane
_START = -2.0  # log-probability of both responses where the walk of the rejected begins
_WALK = -np.logspace(-1, 4, 201)  # of its log-ratio
_SMALL = 1e-4  # relative to the slopes: what counts as zero


class Fate(enum.Enum):
    """What becomes of a slope as pi- -> 0."""

    REVERSES = "reverses"
    STOPS = "stops"
    VANISHES = "vanishes"
    PERSISTS = "persists"
    GROWS = "grows"
    ABSENT = "absent"


class Force(enum.Enum):
    """What a loss does to responses outside the pair: the sign of a+ + a- over the plane.

    Unlike: zero for a pair alone of equal lengths, but not in a batch of pairs of unlike lengths.
    """

    NONE = "none"
    CONCENTRATES = "concentrates"
    DISPERSES = "disperses"
    BOTH = "both"
    UNLIKE = "unlike"


@dataclasses.dataclass(frozen=True)
class Traits:
    """The kind of a loss.

    Args:
        balanced: a+ = -a- at every probe.
        of_margin: only the margin matters: adding to both log-probabilities changes nothing.
        reference_free: the reference does not matter.
        per_token: lengths matter.
        batch_coupled: a pair's slopes depend on the other pairs.
        monotone: the chosen is never pushed down and the rejected never pulled up.
        rejected_fate: what becomes of a- as pi- -> 0.
        chosen_fate: what becomes of a+ as pi- -> 0.
        force: what the loss does to responses outside the pair, directly.
    """

    balanced: bool
    of_margin: bool
    reference_free: bool
    per_token: bool
    batch_coupled: bool
    monotone: bool
    rejected_fate: Fate
    chosen_fate: Fate
    force: Force

    @property
    def drop(self) -> str:
        """What limits the fall of the rejected."""
        return {
            Fate.REVERSES: "limited: the push reverses",
            Fate.STOPS: "limited: the push stops",
            Fate.VANISHES: "slows down: the push vanishes",
            Fate.PERSISTS: "unlimited: the push persists",
            Fate.GROWS: "unlimited: the push grows",
            Fate.ABSENT: "none: the rejected is not pushed",
        }[self.rejected_fate]

    @property
    def degradation(self) -> str:
        """Whether the chosen keeps its pull once the rejected is gone."""
        return {
            Fate.REVERSES: "possible: the pull reverses",
            Fate.STOPS: "possible: the pull stops with the rejected",
            Fate.VANISHES: "possible: the pull vanishes with the rejected",
            Fate.PERSISTS: "resisted: the pull persists",
            Fate.GROWS: "resisted: the pull grows",
            Fate.ABSENT: "possible: there is no pull",
        }[self.chosen_fate]

    @property
    def dispersion(self) -> str:
        """What the loss itself does to the mass outside the pair."""
        alike = "for equal lengths" if self.per_token else "over a batch"
        return {
            Force.NONE: "neutral: left to shared weights",
            Force.CONCENTRATES: "opposed: unseen logits are pushed down",
            Force.DISPERSES: "driven: unseen logits are pushed up",
            Force.BOTH: "either, depending on the log-ratios",
            Force.UNLIKE: f"neutral {alike}, else either",
        }[self.force]


def plane(loss: PreferenceLoss) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The slopes over the plane of log-ratios.

    Returns:
        The log-ratios of one axis, [point]; a+ and a-, each [c, r].
    """
    ratios = np.linspace(-_SPAN, _SPAN, _POINTS)
    c, r = np.meshgrid(ratios, ratios, indexing="ij")
    return ratios, *_slopes(loss, _CHOSEN + c, _REJECTED + r, _CHOSEN, _REJECTED)


def traits(loss: PreferenceLoss) -> Traits:
    """Probe a loss.

    Example:
        >>> from toymodel.losses import DPO, SFTDPO
        >>> traits(DPO()).dispersion
        'neutral: left to shared weights'
        >>> traits(SFTDPO()).degradation
        'resisted: the pull persists'
    """
    _, chosen, rejected = plane(loss)
    size = max(float(np.abs(chosen).max()), float(np.abs(rejected).max()))
    zero = _SMALL * size
    total = chosen + rejected
    down_chosen, down_rejected = _walk(loss)
    cancels = _sums_to_zero(loss)
    return Traits(
        balanced=bool(np.abs(total).max() <= 1e-6 * size) and cancels,
        of_margin=_shift_invariant(loss),
        reference_free=not _responds(loss, "reference_chosen"),
        per_token=_responds(loss, "chosen_length"),
        batch_coupled=_couples(loss),
        monotone=bool(
            (chosen <= zero).all()
            and (rejected >= -zero).all()
            and (down_chosen <= _SMALL * np.abs(down_chosen).max()).all()
            and (down_rejected >= -_SMALL * np.abs(down_rejected).max()).all()
        ),
        rejected_fate=_fate(down_rejected),
        chosen_fate=_fate(-down_chosen),
        force=_force(total, _SMALL * np.maximum(np.abs(chosen), np.abs(rejected)), cancels),
    )


def _slopes(loss: PreferenceLoss, *columns: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Slopes of single pairs, each a batch of its own, over arrays of any shape.

    Not compiled as a whole: the same small operations serve every loss, and are compiled once.
    """
    arrays = np.broadcast_arrays(*columns)
    flat = [jnp.asarray(array.reshape(-1, 1), float) for array in arrays]
    chosen, rejected = jax.vmap(lambda *pair: loss.slopes(PairBatch(*pair)))(*flat)
    shape = arrays[0].shape
    return np.asarray(chosen).reshape(shape), np.asarray(rejected).reshape(shape)


def _walk(loss: PreferenceLoss) -> tuple[np.ndarray, np.ndarray]:
    """The slopes as the rejected falls from the reference, the chosen standing at it."""
    return _slopes(loss, _START, _START + _WALK, _START, _START)


def _fate(slope: np.ndarray) -> Fate:
    """What becomes of a slope, positive where it acts as it should."""
    size = np.abs(slope).max()
    if size == 0:
        return Fate.ABSENT
    end = slope[-1] / size
    if end < -_SMALL:
        return Fate.REVERSES
    if end > _SMALL:
        return Fate.GROWS if slope[-1] > 10 * max(slope[0], _SMALL * size) else Fate.PERSISTS
    last = np.flatnonzero(np.abs(slope) > 0)[-1]
    if slope[np.flatnonzero(np.abs(slope) > _SMALL * size)[-1]] < 0:
        return Fate.REVERSES
    return Fate.STOPS if abs(slope[last]) > 1e-2 * size else Fate.VANISHES


def _force(total: np.ndarray, zero: np.ndarray, cancels: bool) -> Force:
    """The signs that occur; what counts as zero goes by the slopes at each place of the plane."""
    up, down = bool((total > zero).any()), bool((total < -zero).any())
    return {
        (False, False): Force.NONE if cancels else Force.UNLIKE,
        (False, True): Force.CONCENTRATES,
        (True, False): Force.DISPERSES,
        (True, True): Force.BOTH,
    }[up, down]


def _batch() -> PairBatch:
    """Three unlike pairs of unlike lengths, away from every loss's kinks."""
    columns = np.array(
        [[-12.3, -7.6, -20.1], [-13.9, -6.2, -19.4], [-11.1, -8.3, -21.7], [-13.4, -7.1, -18.2]]
    )
    lengths = jnp.asarray([6.0, 5.0, 10.0]), jnp.asarray([7.0, 4.0, 9.0])
    chosen, rejected, reference_chosen, reference_rejected = jnp.asarray(columns)
    return PairBatch(chosen, rejected, reference_chosen, reference_rejected, *lengths)


def _sums_to_zero(loss: PreferenceLoss) -> bool:
    chosen, rejected = loss.slopes(_batch())
    return bool(jnp.max(jnp.abs(chosen + rejected)) <= 1e-5 * jnp.max(jnp.abs(chosen)))


def _differ(first: jax.Array, second: jax.Array) -> bool:
    scale = max(float(jnp.max(jnp.abs(first))), 1e-30)
    return bool(jnp.max(jnp.abs(first - second)) > 1e-4 * scale)


def _responds(loss: PreferenceLoss, column: str) -> bool:
    """Whether any slope changes when a column does, by different amounts for each pair."""
    batch = _batch()
    changes = [jnp.asarray([1.0, 2.5, 0.4])]
    if not column.endswith("length"):
        changes.append(jnp.asarray([-300.0, -200.0, -400.0]))
    before = jnp.stack(loss.slopes(batch))
    return any(
        _differ(before, jnp.stack(loss.slopes(_with(batch, column, change)))) for change in changes
    )


def _with(batch: PairBatch, column: str, change: jax.Array) -> PairBatch:
    return dataclasses.replace(batch, **{column: getattr(batch, column) + change})


def _shift_invariant(loss: PreferenceLoss) -> bool:
    """Whether the value stays when both log-probabilities of a pair move together."""
    batch, shift = _batch(), jnp.asarray([-3.0, -1.0, -2.0])
    moved = _with(_with(batch, "chosen", shift), "rejected", shift)
    return not _differ(loss.value(batch), loss.value(moved))


def _couples(loss: PreferenceLoss) -> bool:
    """Whether the first pair's slopes change when the others do."""
    batch = _batch()
    changed = dataclasses.replace(
        batch,
        chosen=batch.chosen + jnp.asarray([0.0, 9.0, -9.0]),
        rejected=batch.rejected + jnp.asarray([0.0, -5.0, 14.0]),
        chosen_length=batch.chosen_length + jnp.asarray([0.0, 3.0, 5.0]),
        mismatched_log_ratio=jnp.asarray([0.0, 8.0, 9.0]),
    )
    before, after = (jnp.stack(loss.slopes(pairs))[:, 0] for pairs in (batch, changed))
    return _differ(before, after)
