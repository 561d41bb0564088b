r"""Margins that come to rest: IPO, the hinges and smoothed labels, each with its target and time.

Under gradient flow on a loss of the margin with a tabular policy and one pair of share w, the
pair's logits move at :math:`\mp w a_\pm`, so that :math:`m' = -2 w a_+(m)`: one scalar equation.
"""

import jax
import jax.numpy as jnp

from toymodel._typing import Scalar


def ipo_target(eta: Scalar) -> jax.Array:
    """IPO's target margin, 1/(2 eta).

    Args:
        eta: IPO's regularisation.

    Example:
        >>> float(ipo_target(0.1))
        5.0
    """
    return 1 / (2 * jnp.asarray(eta))


def ipo_time_constant(weight: Scalar = 1.0) -> jax.Array:
    r"""The time in which IPO's distance from its target falls by e: 1/(4 w), whatever eta is.

    .. math:: \frac{d}{dt}(m - m^*) = -4 w\,(m - m^*)

    Args:
        weight: the pair's share of the mean, w.

    Example:
        >>> float(ipo_time_constant(0.25))
        1.0
    """
    return 1 / (4 * jnp.asarray(weight))


def ipo_margin(
    time: jax.Array, eta: Scalar, initial: Scalar = 0.0, weight: Scalar = 1.0
) -> jax.Array:
    r"""The margin m(t) under gradient flow on IPO: exponential approach to the target.

    With :math:`a_+ = 2(m - \tau)` and :math:`\tau = 1/(2\eta)` the flow is linear:

    .. math:: m' = -4w(m - \tau) \quad\Rightarrow\quad m = m_0 + (\tau - m_0)(1 - e^{-4wt})

    Args:
        time: time t, any shape.
        eta: IPO's eta.
        initial: the margin at time 0.
        weight: the pair's share of the mean over pairs; the prompt must have no other pair.

    Returns:
        m(t), shaped as `time`.

    Example:
        >>> [round(float(m), 2) for m in ipo_margin(jnp.asarray([0.0, 0.25, 9.0]), eta=0.1)]
        [0.0, 3.16, 5.0]
    """
    covered = -jnp.expm1(-jnp.asarray(time) / ipo_time_constant(weight))
    return initial + (ipo_target(eta) - initial) * covered


def hinge_margin(
    time: jax.Array, beta: Scalar, initial: Scalar = 0.0, weight: Scalar = 1.0
) -> jax.Array:
    r"""The margin m(t) under gradient flow on the hinge max(0, 1 - beta m): linear to the kink.

    .. math:: m' = 2 w \beta\,1[\beta m < 1] \quad\Rightarrow\quad
        m = m_0 + \min(2 w \beta t,\ \max(1/\beta - m_0, 0))

    Args:
        time: time t, any shape.
        beta: the hinge's beta.
        initial: the margin at time 0.
        weight: the pair's share of the mean over pairs; the prompt must have no other pair.

    Returns:
        m(t), shaped as `time`.

    Example:
        >>> hinge_margin(jnp.asarray([0.0, 1.0, 9.0]), beta=0.5).tolist()
        [0.0, 1.0, 2.0]
    """
    return initial + _until(1 / jnp.asarray(beta) - initial, 2 * weight * beta * time)


def slic_gap(time: jax.Array, delta: Scalar, initial: Scalar, weight: Scalar = 1.0) -> jax.Array:
    r"""log pi+ - log pi- under gradient flow on SLiC without its SFT term: linear to the kink.

    .. math:: g = g_0 + \min(2 w t,\ \max(\delta - g_0, 0))

    With the SFT term (eta > 0) the responses outside move too, and there is no closed form before
    the kink; beyond it the flow is that of SFT with weight eta.

    Args:
        time: time t, any shape.
        delta: the gap (nats) at which the hinge rests.
        initial: log pi+ - log pi- at time 0.
        weight: the pair's share of the mean over pairs; the prompt must have no other pair.

    Returns:
        The gap, shaped as `time`.

    Example:
        >>> slic_gap(jnp.asarray([0.0, 1.0, 9.0]), delta=5.0, initial=-1.0).tolist()
        [-1.0, 1.0, 5.0]
    """
    return initial + _until(delta - jnp.asarray(initial), 2 * weight * time)


def _until(distance: jax.Array, moved: jax.Array) -> jax.Array:
    """What is moved, but no further than the distance."""
    return jnp.minimum(moved, jnp.maximum(distance, 0.0))


def cdpo_target(beta: Scalar, label_smoothing: Scalar) -> jax.Array:
    r"""cDPO's target margin: where :math:`\sigma(\beta m) = 1 - \epsilon`.

    .. math:: m^* = \frac{1}{\beta}\log\frac{1 - \epsilon}{\epsilon}

    Args:
        beta: cDPO's beta.
        label_smoothing: epsilon, between 0 and 1, neither included.

    Example:
        >>> round(float(cdpo_target(0.1, 0.1)), 2)
        21.97
    """
    smoothing = jnp.asarray(label_smoothing)
    return (jnp.log1p(-smoothing) - jnp.log(smoothing)) / beta


def cdpo_time_constant(beta: Scalar, label_smoothing: Scalar, weight: Scalar = 1.0) -> jax.Array:
    r"""The time in which cDPO's distance from its target falls by e, close to the target.

    There :math:`a_+ \approx \beta^2\epsilon(1-\epsilon)(m - m^*)`, since
    :math:`\sigma' = \epsilon(1 - \epsilon)`; hence :math:`1/(2 w \beta^2 \epsilon(1-\epsilon))`.

    Args:
        beta: DPO's beta.
        label_smoothing: :math:`\epsilon`, above 0.
        weight: the pair's share of the mean, w.

    Example:
        >>> float(cdpo_time_constant(1.0, 0.5))
        2.0
    """
    smoothing = jnp.asarray(label_smoothing)
    return 1 / (2 * weight * jnp.asarray(beta) ** 2 * smoothing * (1 - smoothing))


def cdpo_time(
    margin: jax.Array,
    beta: Scalar,
    label_smoothing: Scalar,
    initial: Scalar = 0.0,
    weight: Scalar = 1.0,
) -> jax.Array:
    r"""The time at which cDPO's margin, under gradient flow, has come to `margin`.

    With u = beta m, :math:`u' = 2 w \beta^2 (1 - \epsilon - \sigma(u))`, which separates. Its
    integral, with :math:`q(u) = 1 - \epsilon - \epsilon e^u`, is

    .. math::
        2 w \beta^2 t = \left[\frac{u}{1-\epsilon}
        - \frac{\log|q(u)|}{\epsilon(1-\epsilon)}\right]_{u_0}^{u}

    The inverse m(t) is no named function. As epsilon goes to 0 it is that of `margin`.

    Args:
        margin: margins between `initial` and the target, any shape.
        beta: cDPO's beta.
        label_smoothing: epsilon, between 0 and 1, neither included.
        initial: the margin at time 0.
        weight: the pair's share of the mean over pairs; the prompt must have no other pair.

    Returns:
        t, shaped as `margin`; infinite at the target.

    Example:
        >>> round(float(cdpo_time(jnp.asarray(2.0), beta=1.0, label_smoothing=0.1)), 2)
        10.01
    """
    smoothing = jnp.asarray(label_smoothing)
    target = beta * cdpo_target(beta, smoothing)

    def left(u: jax.Array) -> jax.Array:
        """log|q(u)|, from the distance to the target: q = eps (e^target - e^u)."""
        distance = jnp.abs(u - target)
        log_size = jnp.maximum(u, target) + jnp.log(-jnp.expm1(-distance))
        return jnp.log(smoothing) + log_size

    start, end = beta * jnp.asarray(initial), beta * jnp.asarray(margin)
    whole = (end - start) / (1 - smoothing)
    logarithms = (left(end) - left(start)) / (smoothing * (1 - smoothing))
    return (whole - logarithms) / (2 * weight * jnp.asarray(beta) ** 2)
