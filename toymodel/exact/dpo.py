"""The margin under gradient flow on DPO with a tabular policy: exact, and at late times."""

import jax
import jax.numpy as jnp

from toymodel._typing import Scalar
from toymodel.exact.lambert import increment


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
    return initial + increment(start, growth) / beta


def late_margin(
    time: jax.Array, beta: Scalar, initial: Scalar = 0.0, weight: Scalar = 1.0
) -> jax.Array:
    r"""The first two terms of `margin` at large times, with no Lambert W.

    With :math:`g = 2 w \beta^2 t` and :math:`C = u_0 + e^{u_0}`, the equation of `margin` is
    :math:`u = \log(g + C - u)`. Putting :math:`u \approx \log g` into the right side gives

    .. math::
        u = \log g + \frac{C - \log g}{g} - \frac{\delta^2}{2} - \frac{\delta}{g} + \ldots,
        \qquad \delta = \frac{C - \log g}{g}

    of which the first two terms are returned: the error of m is :math:`O(\log^2 g / g^2)/\beta`.

    Args:
        time: time t, any shape.
        beta: DPO's beta.
        initial: the margin at time 0.
        weight: the pair's share of the mean over pairs.

    Returns:
        m(t) to this order, shaped as `time`. Where the expansion does not apply yet it is held
        within the bounds :math:`u_0 \le u \le u_0 + g`, which hold at all times.

    Example:
        >>> times = jnp.asarray([1e4, 1e6])
        >>> [round(float(m), 3) for m in margin(times, 0.1) - late_margin(times, 0.1)]
        [-0.001, -0.0]
    """
    start = beta * jnp.asarray(initial)
    growth = 2 * weight * jnp.asarray(beta) ** 2 * time
    is_late = growth > 0
    log_growth = jnp.log(jnp.where(is_late, growth, 1.0))
    # e^u0 / g as one exponential: it overflows only where the bounds take over
    correction = jnp.exp(start - log_growth) + (start - log_growth) * jnp.exp(-log_growth)
    score = jnp.clip(log_growth + correction, start, start + growth)
    return jnp.where(is_late, score / beta, initial)
