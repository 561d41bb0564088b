r"""Adam taken apart: which gradients share a second moment, and whose clock corrects it.

Every form here is Adam with one thing changed, so a comparison blames that thing and no other:

.. math::
    m \leftarrow b_1 m + (1 - b_1) g, \quad v \leftarrow b_2 v + (1 - b_2)\,\mathrm{pool}(g^2),
    \quad \Delta\theta = -\eta\, \frac{m / (1 - b_1^t)}{\sqrt{v / (1 - b_2^n)} + \epsilon}

``pool`` averages over the entries that share a second moment; n is the number of updates that v
has seen, which for Adam is t. `adam_pooled` has all of it as numbers.

A *row* is what a matrix holds for one unit below, its entries along the last axis. Of `MLP` and
`FeatureMLP` (input, output) it is all weights out of one unit, of one prompt or of one feature; of
`Tabular` one prompt's logits; of `PrefixTabular` the next-token logits after one prefix; of
`Autoregressive` one embedding. `LogLinear` and biases are vectors: each entry is by itself.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from toymodel._errors import refuse
from toymodel._typing import Params, Scalar

Pool = Callable[[Any], Any]
_ROUNDING = 1e-6  # by which shares in float32 may miss their sum


class Moments(NamedTuple):
    """What every Adam here remembers; but for `steps` shaped as the parameters."""

    steps: jax.Array  # updates so far, t
    first: Any  # m
    second: Any  # v
    seen: Any  # updates since the first that was not zero, n of one's own clock


def _each(pool: Callable[[jax.Array], jax.Array]) -> Pool:
    """A pool of every array by itself; the mean is spread over the array again."""
    return lambda squares: jax.tree.map(lambda s: jnp.broadcast_to(pool(s), s.shape), squares)


def _rows(squares: jax.Array) -> jax.Array:
    return squares if squares.ndim < 2 else jnp.mean(squares, axis=-1, keepdims=True)


def _columns(squares: jax.Array) -> jax.Array:
    return squares if squares.ndim < 2 else jnp.mean(squares, axis=0, keepdims=True)


def _mean_of_all(squares: Any) -> jax.Array:
    leaves = jax.tree.leaves(squares)
    return jnp.asarray(sum(jnp.sum(leaf) for leaf in leaves) / sum(leaf.size for leaf in leaves))


def _everything(squares: Any) -> Any:
    mean = _mean_of_all(squares)
    return jax.tree.map(lambda leaf: jnp.full_like(leaf, mean), squares)


def _own(squares: Any) -> Any:
    return squares


def _correction(decay: Scalar, updates: jax.Array, corrected: Scalar) -> jax.Array:
    """What a mean over so few updates lacks; 1 before the first and where nothing is corrected."""
    return jnp.where(updates > 0, 1 - corrected * decay**updates, 1)


def denominator(
    moments: Moments,
    b2: Scalar,
    eps: Scalar,
    *,
    corrected: Scalar = 1.0,
    own_clock: Scalar = 0.0,
    adaptive: Scalar = 1.0,
) -> Params:
    r"""What Adam's step divides by, of every parameter.

    .. math:: \left(\sqrt{v / (1 - \kappa b_2^n)} + \epsilon\right)^{\alpha}

    Args:
        moments: after the step's gradient has come in.
        b2: memory of the second moment.
        eps: :math:`\epsilon`.
        corrected: :math:`\kappa`.
        own_clock: 0 for n = t, 1 for the updates since a weight's first gradient.
        adaptive: :math:`\alpha`.

    Returns:
        A pytree like the parameters.

    Example:
        >>> moments = Moments(jnp.asarray(1), 0.0, jnp.asarray(0.009), jnp.asarray(1.0))
        >>> round(float(denominator(moments, b2=0.999, eps=0.0)), 6)
        3.0
    """

    def of(v: jax.Array, n: jax.Array) -> jax.Array:
        clock = own_clock * n + (1 - own_clock) * moments.steps.astype(v.dtype)
        root = jnp.sqrt(v / _correction(b2, clock, corrected)) + eps
        return root if isinstance(adaptive, float) and adaptive == 1.0 else root**adaptive

    return jax.tree.map(of, moments.second, moments.seen)


def _adam(
    rate: Scalar,
    b1: Scalar,
    b2: Scalar,
    eps: Scalar,
    *,
    pool: Pool = _own,
    corrected: Scalar = 1.0,
    **form: Scalar,
) -> optax.GradientTransformation:
    """The module's formula."""

    def init(params: Any) -> Moments:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return Moments(jnp.zeros((), int), zeros, zeros, zeros)

    def update(gradient: Any, state: Moments, params: Any = None) -> Any:
        del params
        steps = state.steps + 1
        first = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.first, gradient)
        squares = pool(jax.tree.map(jnp.square, gradient))
        second = jax.tree.map(lambda v, s: b2 * v + (1 - b2) * s, state.second, squares)
        seen = jax.tree.map(lambda n, s: n + ((n > 0) | (s > 0)), state.seen, squares)
        moments = Moments(steps, first, second, seen)

        def change(m: jax.Array, size: jax.Array) -> jax.Array:
            return -rate * m / _correction(b1, steps.astype(m.dtype), corrected) / size

        sizes = denominator(moments, b2, eps, corrected=corrected, **form)
        return jax.tree.map(change, first, sizes), moments

    return optax.GradientTransformation(init, update)


def adam_global(
    learning_rate: Scalar, b1: Scalar = 0.9, b2: Scalar = 0.999, eps: Scalar = 1e-8
) -> optax.GradientTransformation:
    """Adam with one second moment for all parameters: gradient descent with one adaptive rate.

    Args: as of `adam_pooled`.

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

    Args: as of `adam_pooled`.

    Example:
        >>> slope = {"a": jnp.array([3.0, 4.0]), "b": jnp.ones(2)}
        >>> method = adam_layer(1.0)
        >>> step, _ = method.update(slope, method.init(slope))
        >>> [round(float(s), 3) for s in step["a"]]  # 3 and 4 over the root of 25 / 2
        [-0.849, -1.131]

    References:
        Ginsburg et al., "Stochastic Gradient Methods with Layer-wise Adaptive Moments"
        (arXiv:1905.11286), which differs in where the moment is taken.
    """
    return _adam(learning_rate, b1, b2, eps, pool=_each(jnp.mean))


def adam_row(
    learning_rate: Scalar, b1: Scalar = 0.9, b2: Scalar = 0.999, eps: Scalar = 1e-8
) -> optax.GradientTransformation:
    """Adam with one second moment for each row of a matrix: for all weights out of one unit.

    Vectors keep one for each entry. What a row is of each policy, the module says.

    Args: as of `adam_pooled`.

    Example:
        >>> slope = jnp.array([[3.0, 4.0], [1.0, 1.0]])
        >>> method = adam_row(1.0)
        >>> step, _ = method.update(slope, method.init(slope))
        >>> [round(float(s), 3) for s in step[0]], [round(float(s), 3) for s in step[1]]
        ([-0.849, -1.131], [-1.0, -1.0])
    """
    return _adam(learning_rate, b1, b2, eps, pool=_each(_rows))


def adam_column(
    learning_rate: Scalar, b1: Scalar = 0.9, b2: Scalar = 0.999, eps: Scalar = 1e-8
) -> optax.GradientTransformation:
    """Adam with one second moment for each column of a matrix: for all weights into one unit.

    Vectors keep one for each entry.

    Args: as of `adam_pooled`.

    Example:
        >>> slope = jnp.array([[3.0, 1.0], [4.0, 1.0]])
        >>> method = adam_column(1.0)
        >>> step, _ = method.update(slope, method.init(slope))
        >>> [round(float(s), 3) for s in step[0]], [round(float(s), 3) for s in step[1]]
        ([-0.849, -1.0], [-1.131, -1.0])
    """
    return _adam(learning_rate, b1, b2, eps, pool=_each(_columns))


def adam_uncorrected(
    learning_rate: Scalar, b1: Scalar = 0.9, b2: Scalar = 0.999, eps: Scalar = 1e-8
) -> optax.GradientTransformation:
    r"""Adam without its corrections for the moments' start at zero.

    Its first step is :math:`(1 - b_1)/\sqrt{1 - b_2}` times Adam's: about 3.2 times as long.

    Args: as of `adam_pooled`.

    Example:
        >>> slope = jnp.ones(1)
        >>> method = adam_uncorrected(1.0)
        >>> round(float(method.update(slope, method.init(slope))[0][0]), 2)
        -3.16
    """
    return _adam(learning_rate, b1, b2, eps, corrected=0.0)


def adam_own_clock(
    learning_rate: Scalar, b1: Scalar = 0.9, b2: Scalar = 0.999, eps: Scalar = 1e-8
) -> optax.GradientTransformation:
    r"""Adam whose second moments count their own updates, from their first gradient that is not 0.

    A weight whose gradient is zero for a long time (it leaves a unit that was off) has
    :math:`v = 0` when its first gradient g comes. Adam corrects v by the number t of all updates
    and so takes :math:`v \approx (1 - b_2) n g^2` after n more: a step up to six times too long for
    :math:`b_2 = 0.999`. Here n corrects it.

    Args: as of `adam_pooled`.

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
    everything: Scalar = 0.0,
    own_clock: Scalar = 0.0,
    corrected: Scalar = 1.0,
    adaptive: Scalar = 1.0,
) -> optax.GradientTransformation:
    r"""All of Adam's ingredients as numbers that combine freely, swept without recompiling.

    .. math::
        \mathrm{pool}(g^2) = (1 - r - l - e)\,g^2 + r\,\overline{g^2}_\text{row}
        + l\,\overline{g^2}_\text{array} + e\,\overline{g^2}_\text{all}, \qquad
        \Delta\theta = -\eta\,\frac{m / (1 - \kappa b_1^t)}
        {\left(\sqrt{v / (1 - \kappa b_2^n)} + \epsilon\right)^{\alpha}}

    Of the forms above, `adam_row`, `adam_layer` and `adam_global` are r, l, e = 1,
    `adam_uncorrected` is :math:`\kappa = 0`, `adam_own_clock` is ``own_clock=1``. With ``b1=0,
    corrected=0`` it is RMSProp with :math:`\epsilon` outside of the root; with ``adaptive=0``
    gradient descent along m, a running *mean* of gradients; with ``b1=0`` too, plain descent.
    Only the pool by columns is not in it.

    Args:
        learning_rate: the size of a step.
        b1: memory of the first moment.
        b2: memory of the second.
        eps: added to its root.
        row: r, share of a row's mean in each squared gradient, 0 to 1. What a row is of each
            policy, the module says.
        layer: l, share of the array's mean.
        everything: e, share of the mean over all parameters. The rest, at least 0, is the
            weight's own.
        own_clock: 0 counts all updates (n = t), 1 those since a weight's first gradient.
        corrected: :math:`\kappa`: 1 corrects the moments for their start at zero, 0 does not.
        adaptive: :math:`\alpha`, from 1 (Adam) to 0 (steps as long as the gradient).

    Raises:
        InputError: shares that are negative or sum to more than 1. (Numbers that are traced give
            NaN instead.)

    Example:
        >>> slope = jnp.array([3.0, 4.0])
        >>> halfway = adam_pooled(1.0, layer=0.5)
        >>> [round(float(s), 3) for s in halfway.update(slope, halfway.init(slope))[0]]
        [-0.915, -1.06]
    """
    shares = (row, layer, everything)
    own = 1 - row - layer - everything
    is_traced = any(isinstance(share, jax.core.Tracer) for share in shares)
    if not is_traced and any(np.any(np.asarray(n) < -_ROUNDING) for n in (*shares, own)):
        expected = "shares from 0 to 1 that sum to at most 1"
        raise refuse("adam_pooled, (row, layer, everything)", shares, expected)

    def pool(squares: Any) -> Any:
        least = jnp.minimum(jnp.minimum(row, layer), jnp.minimum(everything, own))
        rest = jnp.where(least >= -_ROUNDING, own, jnp.nan)
        of_all = everything * _mean_of_all(squares)
        return jax.tree.map(
            lambda s: rest * s + row * _rows(s) + (layer * jnp.mean(s) + of_all), squares
        )

    form = {"corrected": corrected, "own_clock": own_clock, "adaptive": adaptive}
    return _adam(learning_rate, b1, b2, eps, pool=pool, **form)


#: The optimisers here that `toymodel.optimisers.get` knows by name.
FACTORIES: dict[str, Any] = {
    method.__name__: method
    for method in (
        *(adam_global, adam_layer, adam_row, adam_column),
        *(adam_uncorrected, adam_own_clock, adam_pooled),
    )
}
