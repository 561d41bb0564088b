"""Lambert's W without overflow: u + e^u = c, and the same equation solved for an increment."""

import jax
import jax.numpy as jnp

_NEWTON_STEPS = 10


def increment(origin: jax.Array, growth: jax.Array) -> jax.Array:
    r"""The d >= 0 with :math:`d + e^{u_0}(e^d - 1) = g`, by Newton's iteration from above.

    Then u = u0 + d solves :math:`u + e^u = u_0 + e^{u_0} + g`. The left side is increasing and
    convex in d, so from any upper bound the iterates fall to the solution. Solving for the
    increment keeps its digits however small it is beside u0; everything is divided by
    :math:`e^{\max(u, 0)}`, so that nothing overflows. The last step alone carries the derivative.

    Args:
        origin: u0, any shape.
        growth: g >= 0, of the same shape.

    Returns:
        d, of the same shape.

    Example:
        >>> d = increment(jnp.asarray(1.0), jnp.asarray(2.0))
        >>> round(float(d + jnp.e * jnp.expm1(d)), 5)
        2.0
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
    return below + increment(below, c - below - jnp.exp(below))
