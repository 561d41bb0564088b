"""Links: scalar functions of a score, each with its derivative by hand. Margin losses share them.

A link maps the score x of a pair (positive where the policy agrees with the preference) to a loss.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import log_sigmoid, relu, sigmoid

from toymodel._typing import PairArray, Scalar


class Link(NamedTuple):
    """A loss of a score, and its derivative."""

    value: PairArray
    slope: PairArray


def logistic(x: PairArray, smoothing: Scalar = 0.0) -> Link:
    r""":math:`-(1-\epsilon)\log\sigma(x) - \epsilon\log\sigma(-x)`; its slope is
    :math:`\sigma(x) - (1 - \epsilon)`, written so that nothing cancels.
    """
    value = -(1 - smoothing) * log_sigmoid(x) - smoothing * log_sigmoid(-x)
    return Link(value, smoothing * sigmoid(x) - (1 - smoothing) * sigmoid(-x))


def hinge(x: PairArray) -> Link:
    r""":math:`\max(0, 1 - x)`, with slope 0 at the kink."""
    return Link(relu(1 - x), -(x < 1).astype(x.dtype))


def square(x: PairArray, target: Scalar) -> Link:
    r""":math:`(x - t)^2`."""
    return Link((x - target) ** 2, 2 * (x - target))


def robust(x: PairArray, noise: Scalar) -> Link:
    r""":math:`[-(1-\epsilon)\log\sigma(x) + \epsilon\log\sigma(-x)] / (1 - 2\epsilon)`."""
    value = -(1 - noise) * log_sigmoid(x) + noise * log_sigmoid(-x)
    slope = -(1 - noise) * sigmoid(-x) - noise * sigmoid(x)
    return Link(value / (1 - 2 * noise), slope / (1 - 2 * noise))


def reverse_kl_to_label(x: PairArray, noise: Scalar) -> Link:
    r"""KL from (:math:`\sigma(x), \sigma(-x)`) to (:math:`1-\epsilon, \epsilon`)."""
    agree, differ = log_sigmoid(x), log_sigmoid(-x)
    log_agree, log_differ = jnp.log1p(-noise), jnp.log(noise)
    value = jnp.exp(agree) * (agree - log_agree) + jnp.exp(differ) * (differ - log_differ)
    return Link(value, sigmoid(x) * sigmoid(-x) * (x - log_agree + log_differ))


def log_ratio_modulated(x: PairArray, temperature: Scalar) -> Link:
    r""":math:`-\log\sigma(x)(1 - w) + e^{-x}w` with :math:`w = \sigma(x/\tau)`.

    The second term is :math:`e^{\log\sigma(x/\tau) - x}`, which no x overflows for
    :math:`\tau \le 1`.
    """
    z = x / temperature
    exponential = jnp.exp(log_sigmoid(z) - x)
    value = -log_sigmoid(x) * probability(-z) + exponential
    turning = sigmoid(-z) / temperature * (exponential + sigmoid(z) * log_sigmoid(x))
    return Link(value, turning - exponential - sigmoid(-z) * sigmoid(-x))


def probability(x: jax.Array) -> jax.Array:
    r""":math:`\sigma(x)` whose derivative by AD is precise far from zero as well.

    AD of JAX's own subtracts from one: it loses small derivatives to rounding.
    """
    return jnp.exp(log_sigmoid(x))


def expm1(x: jax.Array) -> jax.Array:
    r""":math:`e^x - 1` whose derivative by AD is precise for very negative x (as above)."""
    near = jnp.abs(x) < 1
    return jnp.where(near, jnp.expm1(jnp.where(near, x, 0.0)), jnp.exp(x) - 1)


#: Exponents are held here, so that float32 does not overflow even when squared.
LARGEST_EXPONENT = 40.0


def held_exponential(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """e^x held at `LARGEST_EXPONENT`, and its derivative: zero from there on."""
    value = jnp.exp(jnp.minimum(x, LARGEST_EXPONENT))
    return value, jnp.where(x < LARGEST_EXPONENT, value, 0.0)


def log1mexp(x: jax.Array) -> jax.Array:
    r""":math:`\log(1 - e^x)` for x < 0, without cancellation.

    Both branches are evaluated at a safe argument, so that neither's derivative is NaN.
    """
    near = x > -0.6931472
    by_expm1 = jnp.log(-jnp.expm1(jnp.where(near, x, -0.5)))
    by_log1p = jnp.log1p(-jnp.exp(jnp.where(near, -1.0, x)))
    return jnp.where(near, by_expm1, by_log1p)
