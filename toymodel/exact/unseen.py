r"""Responses outside a prompt's pairs share one clock, under every loss: an invariant of the flow.

With any slopes and any number of pairs, a tabular policy's unseen logits move at
:math:`\dot z_k = A(t)\,\pi_k` with one A = sum of w (a+ + a-) for all of them. So
:math:`\frac{d}{dt} e^{-z_k} = -A/Z`, Z being the partition function, whatever k is:

.. math:: e^{-z_j(t)} - e^{-z_k(t)} \quad\text{is constant for unseen j, k.}

The logits here are those of the flow, whose sum is constant, since the gradient's is zero.
"""

import jax
import jax.numpy as jnp

from toymodel.losses.links import log1mexp


def logit_changes(initial: jax.Array, log_probs: jax.Array) -> jax.Array:
    r"""How far each logit of a tabular policy has moved under gradient flow or descent.

    Log-probabilities fix logits up to a constant, and the flow keeps their sum, so

    .. math:: \Delta z_k = \Delta\log\pi_k - \mathrm{mean}_j\,\Delta\log\pi_j

    Args:
        initial: log-probabilities (nats) at time 0, [response].
        log_probs: log-probabilities (nats) now, [response].

    Returns:
        The changes (nats), [response]; they sum to zero.

    Example:
        >>> before, after = jnp.log(jnp.asarray([[0.5, 0.5], [0.8, 0.2]]))
        >>> [round(float(change), 3) for change in logit_changes(before, after)]
        [0.693, -0.693]
    """
    change = log_probs - initial
    return change - jnp.mean(change, keepdims=True)


def unseen_change(log_ratio: jax.Array, leader_change: jax.Array) -> jax.Array:
    r"""The change of an unseen logit, given that of the likeliest unseen response, the leader.

    The invariant with :math:`\rho = \pi_k/\pi_{leader}` at time 0, divided by
    :math:`e^{-z_k(0)}`, is

    .. math:: e^{-\Delta_k} = 1 - \rho + \rho\,e^{-\Delta_{leader}}

    A leader pushed far down meets the others, and all become equally likely, whatever they were.
    One pushed up leaves the others behind, whose logits rise by no more than
    :math:`-\log(1-\rho)`: where the push has no end, the likeliest takes all of it.

    Args:
        log_ratio: log rho <= 0 (nats), any shape.
        leader_change: the leader's change of logit (nats), of the same shape or a scalar.

    Returns:
        The change of the logit of k (nats).

    Example:
        >>> changes = unseen_change(jnp.log(jnp.asarray([1.0, 0.1, 0.01])), jnp.asarray(-3.0))
        >>> [round(float(change), 2) for change in changes]
        [-3.0, -1.07, -0.17]
    """
    return -jnp.logaddexp(log1mexp(log_ratio), log_ratio - leader_change)
