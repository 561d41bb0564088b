"""Supervised fine-tuning of a tabular policy on one response: its whole trajectory, exactly."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import log_softmax
from jax.scipy.special import logsumexp

from toymodel._typing import Scalar
from toymodel.exact.unseen import unseen_change
from toymodel.losses.links import log1mexp

_NEWTON_STEPS = 30


def sft_log_probs(
    initial: jax.Array, chosen: Scalar, time: Scalar, weight: Scalar = 1.0
) -> jax.Array:
    r"""Log-probabilities of a prompt under gradient flow on :math:`-\gamma\log\pi_+` alone.

    Every other logit falls at :math:`w\gamma\pi_k`, so all share the clock of
    `toymodel.exact.unseen`: with :math:`X = e^a`, a being the fall of the likeliest of them (the
    leader), the others fall by :math:`a_k = \log(1 - \rho_k + \rho_k X)`, and the chosen logit
    rises by the sum of the :math:`a_k`. The clock itself runs at
    :math:`da/dt = w\gamma\pi_{leader}`, whose inverse is a polynomial in X plus logarithms:

    .. math::
        \frac{\pi_+}{\pi_{leader}} \sum_j c_j \frac{X^{j+1} - 1}{j + 1} + \sum_k a_k
        = w \gamma t, \qquad \prod_k (1 - \rho_k + \rho_k X) = \sum_j c_j X^j

    with probabilities at time 0. The left side is increasing and convex in a; Newton's iteration
    from above solves it. If the others are equally likely (or there is one), it is Lambert's: the
    log-odds x of the chosen solve :math:`x + e^x = x_0 + e^{x_0} + \frac{n}{n-1} w \gamma t`.

    Args:
        initial: log-probabilities (nats) at time 0, [response].
        chosen: index of the response trained on.
        time: time t >= 0, a scalar (vmap for several).
        weight: w gamma, the share of the mean over pairs times the weight of the SFT term.

    Returns:
        Log-probabilities (nats), [response].

    Example:
        >>> start = jnp.log(jnp.asarray([0.1, 0.6, 0.3]))
        >>> [round(float(p), 3) for p in jnp.exp(sft_log_probs(start, 0, 10.0))]
        [0.914, 0.046, 0.04]
    """
    initial = log_softmax(jnp.asarray(initial))
    others = jnp.full_like(initial, -jnp.inf)
    rest = jnp.where(jnp.arange(initial.size) == chosen, others, initial)
    leader = jnp.max(rest)
    log_ratio = rest - leader  # minus infinity for the chosen, which makes its fall zero
    head = initial[chosen] - leader
    powers = jnp.arange(1, initial.size + 1).astype(initial.dtype)
    terms = head + _log_coefficients(log_ratio) - jnp.log(powers)  # of X^j - 1
    goal = jnp.asarray(weight * time, initial.dtype)

    def newton(fall: jax.Array, _: None) -> tuple[jax.Array, None]:
        falls = -unseen_change(log_ratio, -fall)
        log_power = powers * fall + log1mexp(jnp.minimum(-powers * fall, 0.0))
        polynomial = jnp.exp(logsumexp(terms + log_power))
        slope = jnp.sum(jnp.exp(terms + jnp.log(powers) + powers * fall))
        slope += jnp.sum(jnp.exp(log_ratio + fall - falls))
        moved = fall - (polynomial + jnp.sum(falls) - goal) / slope
        return jnp.maximum(moved, 0.0), None

    # where one term alone is the goal, the sum is no less
    log_goal = jnp.log(jnp.maximum(goal, float(np.finfo(goal.dtype).tiny)))
    bounds = jnp.logaddexp(0.0, log_goal - terms) / powers
    start = jnp.minimum(goal, jnp.min(bounds))
    fall = jax.lax.scan(newton, start, None, length=_NEWTON_STEPS)[0]
    changes = unseen_change(log_ratio, -fall)
    is_chosen = jnp.arange(initial.size) == chosen
    return log_softmax(initial + jnp.where(is_chosen, -jnp.sum(changes), changes))


def _log_coefficients(log_ratio: jax.Array) -> jax.Array:
    """log c_j of the product over k of (1 - rho_k + rho_k X), [power]: they sum to one."""

    def multiply(log_c: jax.Array, log_rho: jax.Array) -> tuple[jax.Array, None]:
        raised = jnp.concatenate([jnp.full((1,), -jnp.inf, log_c.dtype), log_c[:-1]])
        return jnp.logaddexp(log_c + log1mexp(log_rho), raised + log_rho), None

    one = jnp.full_like(log_ratio, -jnp.inf).at[0].set(0.0)
    return jax.lax.scan(multiply, one, log_ratio)[0]


def late_sft_shortfall(time: jax.Array, responses: int, weight: Scalar = 1.0) -> jax.Array:
    r"""What the chosen lacks at late times, :math:`1 - \pi_+ \approx \frac{n-1}{n w \gamma t}`.

    By then the others are equally likely (see `toymodel.exact.unseen`), whatever they were, and
    the odds of the chosen grow at :math:`\frac{n}{n-1} w \gamma`. So pi+ goes to 1, but never
    arrives: no minimiser exists.

    Args:
        time: time t, any shape.
        responses: n, the number of responses.
        weight: w gamma, the share of the mean over pairs times the weight of the SFT term.

    Returns:
        1 - pi+, shaped as `time`.

    Example:
        >>> round(float(late_sft_shortfall(jnp.asarray(1e3), responses=10)), 6)
        0.0009
    """
    return (responses - 1) / (responses * weight * jnp.asarray(time))
