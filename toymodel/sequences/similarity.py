r"""Likeness of responses by their hidden states: CHES, and the kernel that it abbreviates.

Where only the unembedding U is trained, with residuals :math:`r_t = e_{y_t} - \pi(\cdot|y_{<t})`,

.. math:: K(y, y') = \sum_{t, s} (r_t \cdot r'_s)\,(h_t \cdot h'_s)

exactly. CHES is :math:`K(y_+, y_-) - K(y_+, y_+)` with every residual product put to 1, so for
equal residual products it is the chosen's speed under a margin loss, with its sign turned. For
others it can mislead: with uniform next tokens the products are :math:`1[y_t = y'_s] - 1/V`, and
likeness of hidden states before *different* tokens lifts the chosen instead.
"""

import jax
import jax.numpy as jnp

from toymodel._errors import refuse


def ches(chosen: jax.Array, rejected: jax.Array, *, per_token: bool = False) -> jax.Array:
    r"""The centred hidden embedding similarity of a pair: high, where displacement is expected.

    .. math::
        \Big\langle \sum_t h_t^+, \sum_t h_t^- \Big\rangle - \Big\| \sum_t h_t^+ \Big\|^2

    Args:
        chosen: hidden states from which the chosen's tokens are drawn, [..., position, unit].
        rejected: the same of the rejected, [..., position, unit]; its length may differ.
        per_token: divide the products by lengths: means over tokens instead of sums.

    Returns:
        [...].

    Raises:
        InputError: hidden states with different numbers of units.

    Example:
        >>> states = jnp.array([[1.0, 0.0], [0.0, 1.0]])
        >>> float(ches(states, 2 * states)), float(ches(states, states))
        (2.0, 0.0)

    References:
        Razin et al., "Unintentional Unalignment: Likelihood Displacement in Direct Preference
        Optimization" (ICLR 2025), Definition 2; its length-normalised form in their Appendix.
    """
    if jnp.shape(chosen)[-1:] != jnp.shape(rejected)[-1:]:
        shapes = f"shapes {jnp.shape(chosen)} and {jnp.shape(rejected)}"
        raise refuse("chosen, rejected", shapes, "[..., position, unit] with the same units")
    reduce = jnp.mean if per_token else jnp.sum
    plus, minus = reduce(chosen, axis=-2), reduce(rejected, axis=-2)
    return jnp.sum(plus * minus, axis=-1) - jnp.sum(plus * plus, axis=-1)


def unembedding_kernel(
    hidden: jax.Array, residuals: jax.Array, other_hidden: jax.Array, other_residuals: jax.Array
) -> jax.Array:
    r"""K of two responses where only the unembedding is trained.

    .. math:: \sum_{t, s} (r_t \cdot r'_s)\,(h_t \cdot h'_s)

    Args:
        hidden: hidden states of one response, [..., position, unit].
        residuals: of its tokens, [..., position, token], as `Tokenwise.residuals` gives them.
        other_hidden: of the other response.
        other_residuals: of the other response.

    Returns:
        [...].

    Example:
        >>> states, residual = jnp.array([[1.0, 2.0]]), jnp.array([[0.5, -0.5]])
        >>> float(unembedding_kernel(states, residual, states, -residual))  # -1/2 times 5
        -2.5
    """
    one = jnp.einsum("...tv,...tu->...vu", residuals, hidden)
    other = jnp.einsum("...tv,...tu->...vu", other_residuals, other_hidden)
    return jnp.sum(one * other, axis=(-2, -1))
