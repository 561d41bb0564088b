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


@struct(eq=False)
class Gauge:
    """The three properties of one run so far: a few numbers a prompt instead of a trajectory.

    `Gauge.start` at the first record, `update` at each later one, `finish` at the end.
    """

    step: jax.Array = number(doc="step of the last record")
    chosen_start: jax.Array = number(doc="log pi(y+) at the first record, [prompt]")
    rejected_start: jax.Array = number(doc="log pi(y-) at the first record, [prompt]")
    outside_start: jax.Array = number(doc="mass outside the pair at the first record, [prompt]")
    log_probs: jax.Array = number(doc="table of the last record, [prompt, response]")
    drop_onset: jax.Array = number(doc="as in `Properties`, [prompt]")
    peak: jax.Array = number(doc="highest log pi(y+) so far, [prompt]")
    peak_step: jax.Array = number(doc="step of the peak so far, [prompt]")
    degradation_onset: jax.Array = number(doc="since the peak so far, [prompt]")
    least: jax.Array = number(doc="smallest mass outside so far, [prompt]")
    least_log_probs: jax.Array = number(doc="each prompt's row at that time, [prompt, response]")
    dispersion_onset: jax.Array = number(doc="since the minimum so far, [prompt]")

    @classmethod
    def start(cls, log_probs: TableArray, roles: TableArray, step: Scalar = 0) -> "Gauge":
        """At the first record.

        Args:
            log_probs: log-probabilities (nats), [prompt, response].
            roles: the scenario's roles, [prompt, response].
            step: of that record.
        """
        chosen, rejected, outside = masses(log_probs, roles)
        first = jnp.full(chosen.shape, step, int)
        never = jnp.full(chosen.shape, _NEVER, int)
        return cls(
            step=jnp.asarray(step, int),
            chosen_start=chosen,
            rejected_start=rejected,
            outside_start=outside,
            log_probs=log_probs,
            drop_onset=never,
            peak=chosen,
            peak_step=first,
            degradation_onset=never,
            least=outside,
            least_log_probs=log_probs,
            dispersion_onset=never,
        )

    def update(
        self,
        step: jax.Array,
        log_probs: TableArray,
        roles: TableArray,
        thresholds: Thresholds | None = None,
    ) -> "Gauge":
        """After a later record; a new peak or minimum forgets the onset after the old one."""
        limits = Thresholds() if thresholds is None else thresholds
        chosen, rejected, outside = masses(log_probs, roles)
        now = jnp.asarray(step, self.step.dtype)

        def first(onset: jax.Array, happens: jax.Array) -> jax.Array:
            return jnp.where((onset == _NEVER) & happens, now, onset)

        peaks, least = chosen > self.peak, outside < self.least
        falls = chosen < self.peak - limits.degradation
        rises = outside > self.least + limits.dispersion
        return Gauge(
            step=now,
            chosen_start=self.chosen_start,
            rejected_start=self.rejected_start,
            outside_start=self.outside_start,
            log_probs=log_probs,
            drop_onset=first(self.drop_onset, rejected < self.rejected_start - limits.drop),
            peak=jnp.where(peaks, chosen, self.peak),
            peak_step=jnp.where(peaks, now, self.peak_step),
            degradation_onset=jnp.where(peaks, _NEVER, first(self.degradation_onset, falls)),
            least=jnp.where(least, outside, self.least),
            least_log_probs=jnp.where(least[:, None], log_probs, self.least_log_probs),
            dispersion_onset=jnp.where(least, _NEVER, first(self.dispersion_onset, rises)),
        )

    def finish(self, roles: TableArray) -> Properties:
        """The properties, once the last record is in."""
        masks = role_masks(roles)
        has_pair = masks[..., Role.OWN_CHOSEN].any(-1) & masks[..., Role.OWN_REJECTED].any(-1)
        is_outside = 1 - masks[..., Role.OWN_CHOSEN] - masks[..., Role.OWN_REJECTED]
        chosen, rejected, outside = masses(self.log_probs, roles)
        drop = self.rejected_start - rejected
        gain = jnp.exp(self.log_probs) - jnp.exp(self.least_log_probs)
        outside_gain = jnp.where(is_outside > 0, gain, -jnp.inf)
        gain_by_role = jnp.einsum("xy,xyr->xr", gain, masks)
        outside_roles = jnp.where(masks.any(1), gain_by_role, -jnp.inf)[:, Role.OTHER_CHOSEN :]
        receives = jnp.max(outside_gain, axis=-1) > 0

        def size(values: jax.Array) -> jax.Array:
            mask = has_pair.reshape(has_pair.shape + (1,) * (values.ndim - 1))
            return jnp.where(mask, values, jnp.nan)

        def place(values: jax.Array, exists: jax.Array | bool = True) -> jax.Array:
            return jnp.where(has_pair & exists, values, _NEVER)

        change = jnp.maximum(jnp.abs(chosen - self.chosen_start), _LEAST_CHANGE)
        return Properties(
            drop=size(drop),
            rate_ratio=size(drop / change),
            drop_onset=place(self.drop_onset),
            peak=size(self.peak),
            peak_step=place(self.peak_step),
            drawdown=size(self.peak - chosen),
            below_start=has_pair & (chosen < self.chosen_start),
            degradation_onset=place(self.degradation_onset),
            outside_start=size(self.outside_start),
            outside_minimum=size(self.least),
            outside_final=size(outside),
            dispersion=size(outside - self.least),
            dispersion_onset=place(self.dispersion_onset),
            gain_by_role=size(gain_by_role),
            receiving_role=place(Role.OTHER_CHOSEN + jnp.argmax(outside_roles, axis=-1), receives),
            receiving_response=place(jnp.argmax(outside_gain, axis=-1), receives),
        )


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

    def later(gauge: Gauge, record: tuple[jax.Array, TableArray]) -> tuple[Gauge, None]:
        return gauge.update(*record, roles, thresholds), None

    first = Gauge.start(log_probs[0], roles, steps[0])
    return jax.lax.scan(later, first, (steps[1:], log_probs[1:]))[0].finish(roles)


@struct(eq=False)
class Likelihoods:
    """Curves over training as the paper draws them, each [record]: probabilities."""

    chosen_mean: jax.Array = number(doc="pi(y+), mean over prompts")
    chosen_min: jax.Array = number(doc="pi(y+), smallest over prompts")
    rejected_mean: jax.Array = number(doc="pi(y-), mean over prompts")
    rejected_max: jax.Array = number(doc="pi(y-), largest over prompts")
    unseen_mean: jax.Array = number(doc="mean probability of one response outside the pair")


def likelihood_point(
    log_probs: TableArray, roles: TableArray, *, drop_underflow: bool = False
) -> Likelihoods:
    """`likelihoods` at one record: numbers instead of curves.

    Args:
        log_probs: log-probabilities (nats), [prompt, response].
        roles: the scenario's roles, [prompt, response].
        drop_underflow: as in `likelihoods`.
    """
    masks = role_masks(roles)
    has_pair = masks[..., Role.OWN_CHOSEN].any(-1) & masks[..., Role.OWN_REJECTED].any(-1)
    log_chosen, log_rejected, _ = masses(log_probs, roles)
    chosen, rejected = jnp.exp(log_chosen), jnp.exp(log_rejected)
    counts = (1 - masks[..., Role.OWN_CHOSEN] - masks[..., Role.OWN_REJECTED]) * has_pair[:, None]
    if drop_underflow:
        counts = counts * (log_probs > _FLOAT32_UNDERFLOW)
    weight = has_pair / jnp.sum(has_pair)
    return Likelihoods(
        chosen_mean=chosen @ weight,
        chosen_min=jnp.min(jnp.where(has_pair, chosen, jnp.inf)),
        rejected_mean=rejected @ weight,
        rejected_max=jnp.max(jnp.where(has_pair, rejected, -jnp.inf)),
        unseen_mean=jnp.sum(counts * jnp.exp(log_probs)) / jnp.maximum(jnp.sum(counts), 1),
    )


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
    point = functools.partial(likelihood_point, drop_underflow=drop_underflow)
    found: Likelihoods = jax.vmap(point, in_axes=(0, None))(log_probs, roles)
    return found


def masses(log_probs: TableArray, roles: TableArray) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Log mass of the own chosen, of the own rejected, and the mass outside, each [prompt]."""
    is_chosen, is_rejected = roles == Role.OWN_CHOSEN, roles == Role.OWN_REJECTED
    outside = jnp.where(is_chosen | is_rejected, 0, jnp.exp(log_probs))
    chosen, rejected = _log_mass(log_probs, is_chosen), _log_mass(log_probs, is_rejected)
    return chosen, rejected, jnp.sum(outside, axis=-1)


def _log_mass(log_probs: TableArray, mask: jax.Array) -> jax.Array:
    """Logarithm of the total probability under a mask, [prompt]; exact far below 1e-308."""
    return logsumexp(jnp.where(mask, log_probs, -jnp.inf), axis=-1)
