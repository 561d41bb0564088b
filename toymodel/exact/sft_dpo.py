r"""What the SFT term of SFT-DPO and Flex+SFT changes: thresholds, late times, and what it cannot.

No finite minimiser exists for a pair, with or without the term: with pulls A = -w a+ > 0 and
B = w a- > 0, the chosen logit of a tabular policy moves at :math:`A(1-\pi_+) + B\pi_+ > 0`, never
zero. SFT-DPO's loss is convex in the logits with infimum 0, to which gradient flow of a convex
function leads: so pi+ goes to 1 and the margin to infinity. The trajectory itself has no closed
form (two forces, whose ratio changes); without the DPO part it has, `sft_log_probs`.
"""

import jax
import jax.numpy as jnp
import numpy as np

from toymodel._typing import Scalar


def chosen_velocity(
    log_probs: jax.Array, chosen: Scalar, rejected: Scalar, pull: Scalar, push: Scalar
) -> jax.Array:
    r"""d log pi+/dt of a tabular policy under gradient flow, for one pair a prompt.

    From the tabular kernel, with :math:`Q = \sum_k \pi_k^2`, A the pull and B the push,

    .. math::
        \frac{d\log\pi_+}{dt} = A\,(1 - 2\pi_+ + Q) + B\,(\pi_+ + \pi_- - Q)

    The first bracket is never negative. The second is where one response outside the pair holds
    most of the mass: there the push on the rejected lifts that response, at the chosen's cost.

    Args:
        log_probs: log-probabilities (nats), [response].
        chosen: index of the chosen response.
        rejected: index of the rejected response.
        pull: A = -w a+.
        push: B = w a-.

    Example:
        >>> now = jnp.log(jnp.asarray([0.01, 0.09, 0.9]))
        >>> round(float(chosen_velocity(now, 0, 1, pull=1.0, push=1.0)), 2)
        1.08
        >>> round(float(chosen_velocity(now, 0, 1, pull=0.1, push=1.0)), 2)
        -0.54
    """
    own, other = _brackets(log_probs, chosen, rejected)
    return pull * own + push * other


def least_sft_weight(
    log_probs: jax.Array, chosen: Scalar, rejected: Scalar, pull: Scalar, push: Scalar
) -> jax.Array:
    r"""The SFT weight gamma from which on log pi+ does not fall, at a point of a tabular policy.

    The term adds :math:`w\gamma` to the pull of `chosen_velocity`, so with the pull -a+ and the
    push a- of the pair without it,

    .. math:: \gamma^* = a_-\,\frac{Q - \pi_+ - \pi_-}{1 - 2\pi_+ + Q} + a_+

    The fraction is below 1. So :math:`\gamma^* < 0` for every loss with :math:`a_- \le -a_+`: for
    DPO, and Flex-DPO with :math:`\beta_- \le \beta_+`, a tabular policy's log pi+ rises without
    any SFT term, from every point. It is needed only if :math:`\beta_- > \beta_+`, or parameters
    are shared.

    Args:
        log_probs: log-probabilities (nats), [response].
        chosen: index of the chosen response.
        rejected: index of the rejected response.
        pull: -a+ of the pair without its SFT term.
        push: a- of the pair.

    Returns:
        gamma*; negative where log pi+ rises even without the term.

    Example:
        >>> now = jnp.log(jnp.asarray([0.01, 0.09, 0.9]))
        >>> round(float(least_sft_weight(now, 0, 1, pull=0.1, push=1.0)), 3)
        0.299
        >>> round(float(least_sft_weight(now, 0, 1, pull=1.0, push=1.0)), 3)
        -0.601
    """
    own, other = _brackets(log_probs, chosen, rejected)
    return -push * other / jnp.maximum(own, float(np.finfo(own.dtype).tiny)) - pull


def _brackets(log_probs: jax.Array, chosen: Scalar, rejected: Scalar) -> tuple[jax.Array, ...]:
    """1 - 2 pi+ + Q and pi+ + pi- - Q, in sums that do not cancel as pi+ goes to 1."""
    probs = jnp.exp(jnp.asarray(log_probs))
    others = probs.at[chosen].set(0.0)
    unseen = others.at[rejected].set(0.0)
    rest, outside = jnp.sum(others), jnp.sum(unseen)
    own = rest**2 + jnp.sum(others**2)
    other = probs[chosen] * rest + probs[rejected] * (probs[chosen] + outside)
    return own, other - jnp.sum(unseen**2)


def crossover_margin(beta: Scalar, gamma: Scalar) -> jax.Array:
    r"""The margin from which on the SFT term pulls the chosen harder than DPO does.

    DPO's slope is :math:`s = \beta\sigma(-\beta m)`; it has come down to gamma at

    .. math:: m^* = \frac{\log(\beta/\gamma - 1)}{\beta}

    From there on the term rules the direction. Whether it stops the chosen's fall is decided
    elsewhere (``docs/why/sft.md``): by then it may have done its work, or it may be too late.

    Args:
        beta: SFT-DPO's beta.
        gamma: the SFT term's weight, > 0.

    Returns:
        m* (nats); minus infinity where gamma >= beta, which DPO's slope never exceeds.

    Example:
        >>> [round(float(m), 2) for m in crossover_margin(0.1, jnp.asarray([0.05, 1e-6, 0.1]))]
        [0.0, 115.13, -inf]
    """
    log_odds = jnp.log(jnp.asarray(beta)) - jnp.log(jnp.asarray(gamma))
    is_above = log_odds > 0
    safe = jnp.where(is_above, log_odds, 1.0)
    return jnp.where(is_above, (safe + jnp.log(-jnp.expm1(-safe))) / beta, -jnp.inf)


def late_sft_dpo_exponent(beta: Scalar) -> jax.Array:
    r"""The power of time with which :math:`1 - \pi_+` vanishes under SFT-DPO, whatever gamma > 0.

    Late on, DPO's push on its logits is :math:`1/(2\beta t)`, which shrinks an unseen probability
    like :math:`t^{-1/(2\beta)}`; the SFT term alone like 1/t. The faster of the two rules:

    .. math:: 1 - \pi_+ \propto t^{-\max(1,\ 1/(2\beta))}

    Below beta = 1/2 that is DPO's own power: the SFT term's time integral converges, and it
    speeds up the way, but not the end. (By dominant balance; for three or more responses.)

    Args:
        beta: SFT-DPO's beta, any shape.

    Returns:
        The exponent, negative.

    Example:
        >>> late_sft_dpo_exponent(jnp.asarray([0.1, 0.75, 2.0])).tolist()
        [-5.0, -1.0, -1.0]
    """
    return -jnp.maximum(1.0, 1 / (2 * jnp.asarray(beta)))


def late_sft_dpo_shortfall(
    time: jax.Array, beta: Scalar, gamma: Scalar, responses: int, weight: Scalar = 1.0
) -> jax.Array:
    r""":math:`1 - \pi_+` under SFT-DPO at late times, for beta > 1/2 other than 1.

    Put :math:`\pi_k = c/t` for the n - 2 unseen responses and b/t for DPO's push. If beta < 1 the
    rejected falls faster than 1/t, and the two balances :math:`w\gamma(n-1)c + b = 1` (unseen)
    and :math:`2\beta b + \beta w\gamma(n-2)c = 1` (margin) give c. If beta > 1 the push falls
    faster than 1/t, the rejected is one more unseen response, and SFT rules alone:

    .. math::
        1 - \pi_+ \approx \frac{(n-2)(2\beta - 1)}{n\,\beta\,w \gamma t}
        \quad(\tfrac12 < \beta < 1), \qquad \frac{n-1}{n\,w \gamma t} \quad(\beta > 1)

    Args:
        time: time t, any shape.
        beta: SFT-DPO's beta, > 1/2. (Below, the power is `late_sft_dpo_exponent` and the
            coefficient depends on the whole way; at 1 it depends on the reference.)
        gamma: the SFT term's weight, > 0.
        responses: n, the number of responses, at least 3.
        weight: the pair's share of the mean over pairs.

    Returns:
        1 - pi+, shaped as `time`.

    Example:
        >>> late = late_sft_dpo_shortfall(jnp.asarray(1e6), beta=0.75, gamma=0.5, responses=4)
        >>> round(float(late) * 1e6, 3)
        0.667
    """
    beta, time = jnp.asarray(beta), jnp.asarray(time)
    of_both = (responses - 2) * (2 * beta - 1) / (responses * beta)
    share = jnp.where(beta < 1, of_both, (responses - 1) / responses)
    return share / (weight * gamma * time)
