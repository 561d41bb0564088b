r"""Flex-DPO on a tabular policy: the strongest rejected gradient, and where the mass ends.

For one pair, with :math:`dS = w\sigma(-u)\,dt`, the flow of the logits is

.. math:: \frac{dz}{dS} = \beta_+ e_+ - \beta_- e_- - (\beta_+ - \beta_-)\,\pi

- The path through probability space depends on the ratio of the two strengths alone: their size,
  the reference and the share w only set the speed at which it is run through.
- The sum of the logits is constant, and the unseen ones share the clock of `exact.unseen`. No
  other constant is known, and the path has no closed form unless the strengths are equal.
- There is no fixed point: :math:`dz_+/dS = \beta_+(1-\pi_+) + \beta_-\pi_+ > 0`. S goes to infinity
  (otherwise the logits, hence u, would converge, and S would grow at a constant speed). So no
  finite minimiser exists, z+ goes to infinity and z- to minus infinity.
"""

import jax
import jax.numpy as jnp

from toymodel._typing import ArrayLike, Scalar
from toymodel.exact.lambert import log_wright_omega


def flex_rejected_extremum(
    rejected_log_ratio: jax.Array | float, chosen_pull: Scalar = jnp.inf
) -> jax.Array:
    r"""The beta_rejected at which Flex-DPO's rejected gradient is largest.

    The gradient's size is :math:`\beta_-\sigma(-u)/\pi_-` with :math:`u = \beta_+ c - \beta_- r`.
    Setting its logarithmic derivative in beta_- to zero gives :math:`s\,\sigma(\beta_+ c + s) = 1`
    for :math:`s = \beta_-|r|`, hence

    .. math:: \beta_-^* = \frac{1 + W(e^{-1-\beta_+ c})}{|r|}

    As :math:`\beta_+ c \to \infty` this tends to :math:`1/|r|`, the extremum of the paper's
    limiting form of the gradient; at c = 0 it is 1.278/|r|.

    Args:
        rejected_log_ratio: r, any shape; NaN results where it is not negative.
        chosen_pull: beta_chosen times the chosen log-ratio c; infinity for the paper's limit.

    Example:
        >>> round(float(flex_rejected_extremum(-20.0)), 4)
        0.05
        >>> round(float(flex_rejected_extremum(-20.0, chosen_pull=0.0)), 4)
        0.0639

    References:
        Yan et al., "3D-Properties" (ICLR 2025), Flex-DPO: the limit.
    """
    pull = jnp.asarray(chosen_pull)
    finite = jnp.where(jnp.isinf(pull), 0.0, pull)
    surplus = jnp.where(jnp.isinf(pull), 0.0, jnp.exp(log_wright_omega(-1 - finite)))
    ratio = jnp.asarray(rejected_log_ratio)
    return jnp.where(ratio < 0, (1 + surplus) / jnp.abs(ratio), jnp.nan)


def flex_limit(
    log_probs: jax.Array,
    chosen: Scalar,
    rejected: Scalar,
    beta_chosen: Scalar,
    beta_rejected: Scalar,
) -> jax.Array:
    r"""Which response takes all the mass under Flex-DPO's gradient flow, where bounds decide it.

    The lead of the chosen logit over an unseen one moves at

    .. math:: \frac{d(z_+ - z_k)}{dS} = \beta_+ - (\beta_- - \beta_+)(\pi_k - \pi_+)

    If :math:`\beta_- \le 2\beta_+` it never falls, and pi+ goes to 1. Beyond, let k be the
    likeliest unseen response, the leader, and
    :math:`\theta = \beta_+/(\beta_- - \beta_+) < 1`:

    - If :math:`\pi_k/\pi_+ < \beta_-/(\beta_- - 2\beta_+)`, then :math:`\pi_k - \pi_+ < \theta`
      since the two sum to at most 1; the ratio falls, so this stays: pi+ goes to 1.
    - If :math:`\pi_k - \pi_+ > \theta`, the lead falls. The leader gains on every other response,
      so the difference grows and this stays: **pi+ goes to 0**. All the mass goes to the leader
      (to those that tie with it), though the loss goes to zero and the margin to infinity.

    Between the two, the way of the rejected's own mass decides, which has no closed form. Since
    both conditions last, the answer may be asked again at any later point of the flow.

    Args:
        log_probs: log-probabilities (nats) at any time, [response].
        chosen: index of the chosen response.
        rejected: index of the rejected response. The prompt must have no other pair.
        beta_chosen: Flex-DPO's strength on the chosen.
        beta_rejected: its strength on the rejected.

    Returns:
        1 if pi+ goes to 1, -1 if pi+ goes to 0, 0 if the bounds leave it open.

    Example:
        >>> start = jnp.log(jnp.asarray([0.02, 0.12, 0.8, 0.06]))
        >>> [int(flex_limit(start, 0, 1, 0.1, strength)) for strength in (0.2, 0.205, 0.4)]
        [1, 1, -1]
    """
    log_probs = jnp.asarray(log_probs)
    pair = jnp.asarray([chosen, rejected])
    leader = jnp.max(log_probs.at[pair].set(-jnp.inf))
    own = log_probs[chosen]
    excess = jnp.asarray(beta_rejected) - 2 * jnp.asarray(beta_chosen)
    is_led = excess > 0
    ceiling = jnp.log(beta_rejected) - jnp.log(jnp.where(is_led, excess, 1.0))
    wins = ~is_led | (leader - own < ceiling)
    difference = jnp.exp(leader) - jnp.exp(own)
    loses = is_led & (difference * (excess + beta_chosen) > beta_chosen)
    return jnp.where(wins, 1, jnp.where(loses, -1, 0))


def late_flex_rejected(
    time: jax.Array,
    beta_chosen: Scalar,
    beta_rejected: Scalar,
    reference_chosen: Scalar,
    weight: Scalar = 1.0,
) -> jax.Array:
    r"""The rejected log-ratio r of Flex-DPO at late times, where pi+ goes to 1.

    There the chosen stands at its ceiling, :math:`c = -\log\pi_{0+}`, and r falls at
    :math:`2\beta_-` in S, so :math:`u' = 2 w \beta_-^2\sigma(-u)` and
    :math:`u = \log(2 w \beta_-^2 t) + o(1)`:

    .. math:: r = -\frac{\log(2 w \beta_-^2 t) + \beta_+\log\pi_{0+}}{\beta_-} + o(1)

    The drop is set by :math:`\beta_-`: a smaller one makes the rejected fall *further* in nats, in
    the end. Unseen logits fall half as fast, so :math:`o(1)` is :math:`O(t^{-1/(2\beta_-)})`.

    Args:
        time: time t, any shape.
        beta_chosen: Flex-DPO's strength on the chosen.
        beta_rejected: its strength on the rejected.
        reference_chosen: log pi0(y+) (nats).
        weight: the pair's share of the mean over pairs; the prompt must have no other pair.

    Returns:
        r (nats), shaped as `time`.

    Example:
        >>> [round(float(late_flex_rejected(1e6, 0.1, b, -2.0))) for b in (0.1, 0.05)]
        [-97, -166]
    """
    growth = jnp.log(2 * weight * jnp.asarray(beta_rejected) ** 2 * jnp.asarray(time))
    return -(growth + beta_chosen * reference_chosen) / beta_rejected


def furthest_ratio(score: ArrayLike, most: float = 0.9) -> jax.Array:
    r"""The beta_rejected / beta_chosen that gets furthest in the time that took DPO to this score.

    Late in gradient flow the rejected's log-ratio is
    :math:`|r| = \log(2w\beta_-^2 t)/\beta_-` (`late_flex_rejected`, its reference term left
    out), which is largest over :math:`\beta_-` where the logarithm is 2. DPO at
    :math:`\beta_+` has the score :math:`u = \log(2w\beta_+^2 t)` by then, so

    .. math:: \frac{\beta_-}{\beta_+} = e^{1 - u/2}

    Smaller ones are slower than the run is long, larger ones have stopped before.

    Args:
        score: u = beta times the mean margin at the end of a run with DPO: what trainers log as
            the margin of rewards.
        most: the largest ratio to give, below 1, so that the sum force is there.

    Returns:
        The ratio, shaped as `score`.

    Example:
        >>> [round(float(ratio), 3) for ratio in furthest_ratio(jnp.asarray([1.0, 4.0, 6.0]))]
        [0.9, 0.368, 0.135]
    """
    return jnp.minimum(jnp.exp(1 - jnp.asarray(score) / 2), most)
