"""The three properties, measured: drop, degradation and dispersion, with sizes and onsets.

Everything is computed in log space from recorded log-probabilities of one run and maps over seeds.
A prompt with several pairs is measured by the total probability of its chosen responses and of its
rejected ones. The onset rules and their thresholds are stated in `Thresholds`.
"""

import functools

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp

from toymodel._struct import number, struct
from toymodel._typing import CurveArray, Scalar, TableArray
from toymodel.scenarios import Role, role_masks

_NEVER = -1
_LEAST_CHANGE = 1e-6  # nats; keeps the rate ratio finite where the chosen did not move
_FLOAT32_UNDERFLOW = -103.97  # log of half the smallest subnormal float32, 1.4e-45


@struct
class Thresholds:
    """How large a change counts as the onset of a property."""

    drop: Scalar = number(
        default=2.302585, above=0, doc="fall of log pi(y-) in nats (default: tenfold)"
    )
    degradation: Scalar = number(
        default=0.05, above=0, doc="fall of log pi(y+) in nats below its peak"
    )
    dispersion: Scalar = number(
        default=0.01, above=0, doc="rise of the mass outside above its minimum"
    )


@struct(eq=False)
class Properties:
    """The three properties of one run, each array [prompt]. Steps count updates; -1 means never."""

    drop: jax.Array = number(doc="fall of log pi(y-) from first to last record (nats)")
    rate_ratio: jax.Array = number(
        doc="that fall over the size of log pi(y+)'s change, taken as 1e-6 nats at least"
    )
    drop_onset: jax.Array = number(doc="first step with log pi(y-) that far below its start")
    peak: jax.Array = number(doc="highest log pi(y+) (nats)")
    peak_step: jax.Array = number(doc="step of the peak")
    drawdown: jax.Array = number(doc="fall of log pi(y+) from its peak to the end (nats)")
    below_start: jax.Array = number(doc="whether log pi(y+) ends below where it began")
    degradation_onset: jax.Array = number(doc="first step after the peak that far below it")
    outside_start: jax.Array = number(doc="mass outside the pair at the first record")
    outside_minimum: jax.Array = number(doc="smallest mass outside the pair")
    outside_final: jax.Array = number(doc="mass outside the pair at the last record")
    dispersion: jax.Array = number(doc="gain of the mass outside from its minimum to the end")
    dispersion_onset: jax.Array = number(doc="first step after the minimum that far above it")
    gain_by_role: jax.Array = number(doc="mass each role gained meanwhile, [prompt, role]")
    receiving_role: jax.Array = number(doc="the role outside the pair that gained most")
    receiving_response: jax.Array = number(doc="the response outside the pair that gained most")


@jax.jit
def measure(
    steps: jax.Array,
    log_probs: CurveArray,
    roles: TableArray,
    thresholds: Thresholds | None = None,
) -> Properties:
    r"""Measure the three properties of one run.

    - Drop: :math:`\log\pi_-(0) - \log\pi_-(T)`.
    - Degradation: :math:`\max_t \log\pi_+(t) - \log\pi_+(T)`, the drawdown.
    - Dispersion: :math:`O(T) - \min_t O(t)` of the mass outside the pair, O. Where the mass went is
      each outside response's gain between the step of that minimum and the end.

    Args:
        steps: the recorded steps, [record], increasing.
        log_probs: log-probabilities (nats), [record, prompt, response].
        roles: the scenario's roles, [prompt, response].
        thresholds: what counts as an onset.

    Returns:
        The `Properties`; a prompt without pairs has NaN sizes and -1 for steps and names.
    """
    limits = Thresholds() if thresholds is None else thresholds
    masks = role_masks(roles)
    has_pair = masks[..., Role.OWN_CHOSEN].any(-1) & masks[..., Role.OWN_REJECTED].any(-1)

    chosen = _log_mass(log_probs, masks[..., Role.OWN_CHOSEN])
    rejected = _log_mass(log_probs, masks[..., Role.OWN_REJECTED])
    is_outside = 1 - masks[..., Role.OWN_CHOSEN] - masks[..., Role.OWN_REJECTED]
    outside = jnp.exp(_log_mass(log_probs, is_outside))

    drop = rejected[0] - rejected[-1]
    peak_at, least_at = jnp.argmax(chosen, axis=0), jnp.argmin(outside, axis=0)
    peak, least = jnp.max(chosen, axis=0), jnp.min(outside, axis=0)

    probs = jnp.exp(log_probs)
    prompts = jnp.arange(probs.shape[1])
    gain = probs[-1] - probs[least_at, prompts]
    outside_gain = jnp.where(is_outside > 0, gain, -jnp.inf)
    receiving = jnp.argmax(outside_gain, axis=-1)
    gain_by_role = jnp.einsum("xy,xyr->xr", gain, masks)
    outside_roles = jnp.where(masks.any(1), gain_by_role, -jnp.inf)[:, Role.OTHER_CHOSEN :]
    receives = jnp.max(outside_gain, axis=-1) > 0

    def size(values: jax.Array) -> jax.Array:
        mask = has_pair.reshape(has_pair.shape + (1,) * (values.ndim - 1))
        return jnp.where(mask, values, jnp.nan)

    def place(values: jax.Array, exists: jax.Array | bool = True) -> jax.Array:
        return jnp.where(has_pair & exists, values, _NEVER)

    def after(record: jax.Array) -> jax.Array:
        return jnp.arange(len(steps))[:, None] > record[None]

    def onset(happens: jax.Array) -> jax.Array:
        return place(steps[jnp.argmax(happens, axis=0)], happens.any(axis=0))

    return Properties(
        drop=size(drop),
        rate_ratio=size(drop / jnp.maximum(jnp.abs(chosen[-1] - chosen[0]), _LEAST_CHANGE)),
        drop_onset=onset(rejected < rejected[:1] - limits.drop),
        peak=size(peak),
        peak_step=place(steps[peak_at]),
        drawdown=size(peak - chosen[-1]),
        below_start=has_pair & (chosen[-1] < chosen[0]),
        degradation_onset=onset(after(peak_at) & (chosen < peak[None] - limits.degradation)),
        outside_start=size(outside[0]),
        outside_minimum=size(least),
        outside_final=size(outside[-1]),
        dispersion=size(outside[-1] - least),
        dispersion_onset=onset(after(least_at) & (outside > least[None] + limits.dispersion)),
        gain_by_role=size(gain_by_role),
        receiving_role=place(Role.OTHER_CHOSEN + jnp.argmax(outside_roles, axis=-1), receives),
        receiving_response=place(receiving, receives),
    )


@struct(eq=False)
class Likelihoods:
    """Curves over training as the paper draws them, each [record]: probabilities."""

    chosen_mean: jax.Array = number(doc="pi(y+), mean over prompts")
    chosen_min: jax.Array = number(doc="pi(y+), smallest over prompts")
    rejected_mean: jax.Array = number(doc="pi(y-), mean over prompts")
    rejected_max: jax.Array = number(doc="pi(y-), largest over prompts")
    unseen_mean: jax.Array = number(doc="mean probability of one response outside the pair")


@functools.partial(jax.jit, static_argnames="drop_underflow")
def likelihoods(
    log_probs: CurveArray, roles: TableArray, *, drop_underflow: bool = False
) -> Likelihoods:
    """The paper's five likelihood curves of one run.

    "Unseen" in the paper's Figure 3 is the mean over all responses outside the prompt's own pair:
    (1 - pi+ - pi-)/8 in its worlds.

    Args:
        log_probs: log-probabilities (nats), [record, prompt, response].
        roles: the scenario's roles, [prompt, response].
        drop_underflow: reproduce an artefact of the printed figure: probabilities below the
            smallest float32 (1.4e-45) are zero and are left out of the unseen mean, which jumps
            up when that happens.
    """
    masks = role_masks(roles)
    has_pair = masks[..., Role.OWN_CHOSEN].any(-1) & masks[..., Role.OWN_REJECTED].any(-1)
    chosen = jnp.exp(_log_mass(log_probs, masks[..., Role.OWN_CHOSEN]))
    rejected = jnp.exp(_log_mass(log_probs, masks[..., Role.OWN_REJECTED]))
    counts = (1 - masks[..., Role.OWN_CHOSEN] - masks[..., Role.OWN_REJECTED]) * has_pair[:, None]
    counts = jnp.broadcast_to(counts, log_probs.shape)
    if drop_underflow:
        counts = counts * (log_probs > _FLOAT32_UNDERFLOW)
    weight = has_pair / jnp.sum(has_pair)
    return Likelihoods(
        chosen_mean=chosen @ weight,
        chosen_min=jnp.min(jnp.where(has_pair[None], chosen, jnp.inf), axis=-1),
        rejected_mean=rejected @ weight,
        rejected_max=jnp.max(jnp.where(has_pair[None], rejected, -jnp.inf), axis=-1),
        unseen_mean=jnp.sum(counts * jnp.exp(log_probs), (-2, -1))
        / jnp.maximum(jnp.sum(counts, (-2, -1)), 1),
    )


def _log_mass(log_probs: CurveArray, mask: TableArray) -> jax.Array:
    """Logarithm of the total probability under a mask, [record, prompt]; exact far below 1e-308."""
    return logsumexp(jnp.where(mask[None] > 0, log_probs, -jnp.inf), axis=-1)
