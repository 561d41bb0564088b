"""Closed forms: the margin under gradient flow, and where a rejected gradient is largest."""

import jax
import jax.numpy as jnp

from toymodel._typing import Scalar

_NEWTON_STEPS = 10


def _increment(origin: jax.Array, growth: jax.Array) -> jax.Array:
    r"""The d >= 0 with :math:`d + e^{u_0}(e^d - 1) = g`, by Newton's iteration from above.

    Then u = u0 + d solves :math:`u + e^u = u_0 + e^{u_0} + g`. The left side is increasing and
    convex in d, so from any upper bound the iterates fall to the solution. Solving for the
    increment keeps its digits however small it is beside u0; everything is divided by
    :math:`e^{\max(u, 0)}`, so that nothing overflows. The last step alone carries the derivative.
    """

    def newton(d: jax.Array, _: None) -> tuple[jax.Array, None]:
        u = origin + d
        scale = jnp.maximum(u, 0.0)
        rest, exponential = jnp.exp(-scale), jnp.exp(u - scale)
        residual = (d - growth) * rest - exponential * jnp.expm1(-d)
        return d - residual / (rest + exponential), None

    gained = jnp.maximum(growth + jnp.minimum(origin, 0.0), 0.0)
    upper = jnp.logaddexp(jnp.maximum(origin, 0.0), jnp.log(gained))  # of u
    start = jax.lax.stop_gradient(jnp.minimum(growth, upper - origin))
    return jax.lax.scan(newton, start, None, length=_NEWTON_STEPS)[0]


def log_wright_omega(c: jax.Array) -> jax.Array:
    r"""The u that solves :math:`u + e^u = c`, which is :math:`\log W(e^c)`, without overflow.

    Args:
        c: any shape.

    Returns:
        u, of the same shape.

    Example:
        >>> u = log_wright_omega(jnp.asarray(3.0))
        >>> round(float(u + jnp.exp(u)), 5)
        3.0

    References:
        Corless and Jeffrey, "The Wright omega function" (2002).
    """
    c = jnp.asarray(c, jnp.result_type(float, c))
    below = jnp.minimum(c, 1.0) - 1.0
    return below + _increment(below, c - below - jnp.exp(below))


def margin(time: jax.Array, beta: Scalar, initial: Scalar = 0.0, weight: Scalar = 1.0) -> jax.Array:
    r"""The margin m(t) of a pair under gradient flow on DPO with a tabular policy.

    Only the pair's two logits move, in opposite directions at :math:`w\beta\sigma(-\beta m)`, so
    with :math:`u = \beta m` and u' the time derivative,

    .. math::
        u' = \frac{2 w \beta^2}{1 + e^u} \quad\Rightarrow\quad
        u + e^u = u_0 + e^{u_0} + 2 w \beta^2 t

    which the Lambert W function solves. For large t, m grows like :math:`\log(t)/\beta`: the
    margin diverges, and no minimiser exists.

    Args:
        time: time t, any shape; a step of gradient descent with learning rate h is time h.
        beta: DPO's beta.
        initial: the margin at time 0.
        weight: the pair's share w of the mean over pairs: 1/4 for four pairs of equal weight. The
            prompt must have no other pair.

    Returns:
        m(t), shaped as `time`.

    Example:
        >>> [round(float(m), 2) for m in margin(jnp.asarray([0.0, 100.0]), beta=0.1)]
        [0.0, 7.92]
    """
    start = beta * jnp.asarray(initial)
    growth = 2 * weight * jnp.asarray(beta) ** 2 * time
    return initial + _increment(start, growth) / beta


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
