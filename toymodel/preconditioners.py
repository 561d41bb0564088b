r"""Adam taken apart: which gradients share a second moment, whose clock corrects it; and natural.

Every form here is Adam with one thing changed, so a comparison blames that thing and no other:

.. math::
    m \leftarrow b_1 m + (1 - b_1) g, \quad v \leftarrow b_2 v + (1 - b_2)\,\mathrm{pool}(g^2),
    \quad \Delta\theta = -\eta\, \frac{m / (1 - b_1^t)}{\sqrt{v / (1 - b_2^n)} + \epsilon}

``pool`` averages over the entries that share a second moment; n is the number of updates that v
has seen, which for Adam is t.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from toymodel._errors import refuse
from toymodel._typing import Scalar
from toymodel.policies.base import Policy

Pool = Callable[[Any], Any]


def _each(pool: Callable[[jax.Array], jax.Array]) -> Pool:
    """A pool of every array by itself; the mean is spread over the array again."""
    return lambda squares: jax.tree.map(lambda s: jnp.broadcast_to(pool(s), s.shape), squares)


def _rows(squares: jax.Array) -> jax.Array:
    return squares if squares.ndim < 2 else jnp.mean(squares, axis=-1, keepdims=True)


def _columns(squares: jax.Array) -> jax.Array:
    return squares if squares.ndim < 2 else jnp.mean(squares, axis=0, keepdims=True)


def _everything(squares: Any) -> Any:
    leaves = jax.tree.leaves(squares)
    mean = sum(jnp.sum(leaf) for leaf in leaves) / sum(leaf.size for leaf in leaves)
    return jax.tree.map(lambda leaf: jnp.full_like(leaf, mean), squares)


def _own(squares: Any) -> Any:
    return squares


def _adam(
    rate: Scalar,
    b1: Scalar,
    b2: Scalar,
    eps: Scalar,
    *,
    pool: Pool = _own,
    corrected: bool = True,
    own_clock: Scalar = 0.0,
) -> optax.GradientTransformation:
    """The module's formula."""

    def init(params: Any) -> Any:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return jnp.zeros((), int), zeros, zeros, zeros

    def correction(decay: Scalar, updates: jax.Array) -> jax.Array:
        """What is lacking of a mean over so few updates; 1 before the first."""
        return jnp.where(updates > 0, 1 - decay**updates, 1) if corrected else jnp.ones(())

    def update(gradient: Any, state: Any, params: Any = None) -> Any:
        del params
        count, first, second, seen = state
        count = count + 1
        first = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, first, gradient)
        squares = pool(jax.tree.map(jnp.square, gradient))
        second = jax.tree.map(lambda v, s: b2 * v + (1 - b2) * s, second, squares)
        seen = jax.tree.map(lambda n, s: n + ((n > 0) | (s > 0)), seen, squares)

        def change(m: jax.Array, v: jax.Array, n: jax.Array) -> jax.Array:
            steps = count.astype(v.dtype)
            clock = own_clock * n + (1 - own_clock) * steps
            size = jnp.sqrt(v / correction(b2, clock)) + eps
            return -rate * m / correction(b1, steps) / size

        return jax.tree.map(change, first, second, seen), (count, first, second, seen)

    return optax.GradientTransformation(init, update)


def adam_global(
    learning_rate: Scalar, b1: Scalar = 0.9, b2: Scalar = 0.999, eps: Scalar = 1e-8
) -> optax.GradientTransformation:
    """Adam with one second moment for all parameters: gradient descent with one adaptive rate.

    Example:
        >>> slope = {"a": jnp.array([3.0, 4.0]), "b": jnp.zeros(2)}
        >>> method = adam_global(1.0)
        >>> step, _ = method.update(slope, method.init(slope))
        >>> [round(float(s), 3) for s in step["a"]]  # 3 and 4 over the root of 25 / 4
        [-1.2, -1.6]
    """
    return _adam(learning_rate, b1, b2, eps, pool=_everything)


def adam_layer(
    learning_rate: Scalar, b1: Scalar = 0.9, b2: Scalar = 0.999, eps: Scalar = 1e-8
) -> optax.GradientTransformation:
    """Adam with one second moment for each array of parameters.

    References:
        Ginsburg et al., "Stochastic Gradient Methods with Layer-wise Adaptive Moments"
        (arXiv:1905.11286), which differs in where the moment is taken.
    """
    return _adam(learning_rate, b1, b2, eps, pool=_each(jnp.mean))


def adam_row(
    learning_rate: Scalar, b1: Scalar = 0.9, b2: Scalar = 0.999, eps: Scalar = 1e-8
) -> optax.GradientTransformation:
    """Adam with one second moment for each row of a matrix: for all weights out of one unit.

    Vectors keep one for each entry.
    """
    return _adam(learning_rate, b1, b2, eps, pool=_each(_rows))


def adam_column(
    learning_rate: Scalar, b1: Scalar = 0.9, b2: Scalar = 0.999, eps: Scalar = 1e-8
) -> optax.GradientTransformation:
    """Adam with one second moment for each column of a matrix: for all weights into one unit.

    Vectors keep one for each entry.
    """
    return _adam(learning_rate, b1, b2, eps, pool=_each(_columns))


def adam_uncorrected(
    learning_rate: Scalar, b1: Scalar = 0.9, b2: Scalar = 0.999, eps: Scalar = 1e-8
) -> optax.GradientTransformation:
    """Adam without its corrections for the moments' start at zero."""
    return _adam(learning_rate, b1, b2, eps, corrected=False)


def adam_own_clock(
    learning_rate: Scalar, b1: Scalar = 0.9, b2: Scalar = 0.999, eps: Scalar = 1e-8
) -> optax.GradientTransformation:
    r"""Adam whose second moments count their own updates, from their first gradient that is not 0.

    A weight whose gradient is zero for a long time (it leaves a unit that was off) has
    :math:`v = 0` when its first gradient g comes. Adam corrects v by the number t of all updates
    and so takes :math:`v \approx (1 - b_2) n g^2` after n more: a step up to six times too long for
    :math:`b_2 = 0.999`. Here n corrects it.

    Example:
        >>> zero, one = jnp.zeros(1), jnp.ones(1)
        >>> def late(method):  # the first gradient comes after 1,000 steps without any
        ...     state = method.init(zero)
        ...     for slope in [zero] * 1000 + [one] * 20:
        ...         step, state = method.update(slope, state)
        ...     return round(float(step[0]), 1)
        >>> late(adam_own_clock(1.0)), late(optax.adam(1.0))
        (-0.9, -5.0)
    """
    return _adam(learning_rate, b1, b2, eps, own_clock=1.0)


def adam_pooled(
    learning_rate: Scalar,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    row: Scalar = 0.0,
    layer: Scalar = 0.0,
    own_clock: Scalar = 0.0,
) -> optax.GradientTransformation:
    """Adam and those above in one, with shares to sweep: from one to the other without recompiling.

    Args:
        learning_rate: the size of a step.
        b1: memory of the first moment.
        b2: memory of the second.
        eps: added to its root.
        row: share of `adam_row`'s mean in each squared gradient, 0 to 1.
        layer: share of `adam_layer`'s; the rest is the weight's own.
        own_clock: 0 for Adam's correction, 1 for `adam_own_clock`'s.

    Example:
        >>> slope = jnp.array([3.0, 4.0])
        >>> halfway = adam_pooled(1.0, layer=0.5)
        >>> [round(float(s), 3) for s in halfway.update(slope, halfway.init(slope))[0]]
        [-0.915, -1.06]
    """

    def mixed(squares: jax.Array) -> jax.Array:
        return (1 - row - layer) * squares + row * _rows(squares) + layer * jnp.mean(squares)

    return _adam(learning_rate, b1, b2, eps, pool=_each(mixed), own_clock=own_clock)


#: The optimisers here that `toymodel.optimisers.get` knows by name.
FACTORIES: dict[str, Any] = {
    method.__name__: method
    for method in (
        *(adam_global, adam_layer, adam_row, adam_column),
        *(adam_uncorrected, adam_own_clock, adam_pooled),
    )
}


def natural(
    policy: Policy, learning_rate: Scalar, damping: Scalar = 1e-2
) -> optax.GradientTransformation:
    r"""Damped natural gradient: steepest descent measured in what the policy does, not in weights.

    .. math:: \Delta\theta = -\eta\,(F + \lambda)^{-1} g, \qquad
        F = \frac{1}{X}\sum_x J_x^T\left(\mathrm{diag}\,\pi_x - \pi_x\pi_x^T\right) J_x

    with the Jacobian J of the logits, whose rows are `Policy.vjp` of unit tables. With
    :math:`\mathrm{diag}\,\pi - \pi\pi^T = BB^T`, :math:`B = \mathrm{diag}\sqrt{\pi} -
    \pi\sqrt{\pi}^T` and :math:`M = B^T J/\sqrt{X}`, it is solved in the space of logits:
    :math:`(F + \lambda)^{-1} g = (g - M^T(\lambda + MM^T)^{-1} M g)/\lambda`.

    Args:
        policy: the policy's form, which knows its Fisher information.
        learning_rate: the size of a step.
        damping: :math:`\lambda`. Below 1e-4 of F's largest eigenvalue, use float64.

    Returns:
        An optax object for `toymodel.simulate`.

    References:
        Amari, "Natural Gradient Works Efficiently in Learning", Neural Computation 10 (1998).

    Example:
        >>> import toymodel as tm
        >>> run = tm.simulate("both_on_policy", "tabular", "dpo", natural(tm.Tabular(), 0.1),
        ...                   steps=20)
        >>> bool(run.properties()["drop"].min() > 0)
        True
    """
    for name, value in (("learning_rate", learning_rate), ("damping", damping)):
        if not isinstance(value, jax.core.Tracer) and not value > 0:
            raise refuse(f"natural, {name}", value, "a number > 0")

    def update(gradient: Any, state: Any, params: Any = None) -> Any:
        if params is None:
            raise refuse("natural, params", None, "the parameters", "call update(g, state, params)")
        flat, unravel = ravel_pytree(gradient)
        log_probs = policy.log_probs(params)
        roots = jnp.exp(log_probs / 2)
        units = jnp.eye(log_probs.size, dtype=flat.dtype).reshape(-1, *log_probs.shape)

        def row(unit: jax.Array) -> Any:
            """A row of M: B applied to a unit table, pulled back to the parameters."""
            inner = jnp.sum(roots * unit, axis=-1, keepdims=True)
            table = roots * unit - jnp.exp(log_probs) * inner
            return ravel_pytree(policy.vjp(params, table))[0] / len(log_probs) ** 0.5

        rows = jax.vmap(row)(units)
        damped = rows @ rows.T + damping * jnp.eye(len(rows), dtype=flat.dtype)
        solved = jnp.linalg.solve(damped, rows @ flat)
        return unravel(-learning_rate * (flat - rows.T @ solved) / damping), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)
