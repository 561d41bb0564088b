"""Adam with its corrections folded into two numbers a step, not two divisions a parameter."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from toymodel._typing import Scalar
from toymodel.optimisers import Optimiser

_OPTIONS = frozenset(("b1", "b2", "eps", "eps_root"))


def build(optimiser: Optimiser) -> optax.GradientTransformation:
    """optax's optimiser, or for Adam the same function with fewer divisions."""
    is_plain = not optimiser.flags and _OPTIONS.issuperset(optimiser.options)
    if optimiser.name == "adam" and is_plain:
        return _adam(optimiser.learning_rate, **optimiser.options)
    return optimiser.build()


def _adam(
    rate: Scalar, b1: Scalar = 0.9, b2: Scalar = 0.999, eps: Scalar = 1e-8, eps_root: Scalar = 0.0
) -> optax.GradientTransformation:
    r"""Adam: with :math:`\alpha = \eta/(1-b_1^t)` and :math:`\gamma = 1/(1-b_2^t)`,

    .. math:: \Delta\theta = -\frac{\alpha m}{\sqrt{\gamma v + \epsilon_0} + \epsilon}

    Example:
        >>> import jax.numpy as jnp, optax
        >>> theta, slope = jnp.ones(1), jnp.full(1, 0.3)
        >>> ours, theirs = _adam(0.1), optax.adam(0.1)
        >>> [bool(jnp.allclose(o.update(slope, o.init(theta))[0], -0.1)) for o in (ours, theirs)]
        [True, True]

    References:
        Kingma and Ba, arXiv:1412.6980, end of section 2.
    """

    def init(params: Any) -> Any:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return jnp.zeros((), int), zeros, zeros

    def update(gradient: Any, state: Any, params: Any = None) -> Any:
        del params
        count, first, second = state
        count = count + 1
        first = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, first, gradient)
        second = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, second, gradient)
        step = count.astype(jnp.result_type(float))
        alpha, gamma = rate / (1 - b1**step), 1 / (1 - b2**step)
        changes = jax.tree.map(
            lambda m, v: -alpha * m / (jnp.sqrt(gamma * v + eps_root) + eps), first, second
        )
        return changes, (count, first, second)

    return optax.GradientTransformation(init, update)
