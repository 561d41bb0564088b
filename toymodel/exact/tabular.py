"""Probabilities of every response along a margin loss's gradient flow, for a tabular policy."""

import jax
import jax.numpy as jnp

from toymodel._errors import refuse
from toymodel._typing import Scalar
from toymodel.exact.dpo import margin
from toymodel.exact.targets import hinge_margin, ipo_margin, slic_gap
from toymodel.losses import DPO, IPO, Hinge, PreferenceLoss, SLiC


def with_margin_gained(
    log_probs: jax.Array, chosen: Scalar, rejected: Scalar, gained: jax.Array
) -> jax.Array:
    r"""Log-probabilities of a prompt once its pair has gained margin d, by any margin loss.

    For :math:`a_+ = -a_-` the logits' velocity :math:`-w[a_+(e_+ - \pi) + a_-(e_- - \pi)]` is
    :math:`-w a_+(e_+ - e_-)`: the policy's own term cancels, the unseen logits stand still, and
    the pair's part by the margin gained. Whatever the loss,

    .. math:: \log\pi = \mathrm{log\,softmax}\left(\log\pi_0 + \tfrac{d}{2}(e_+ - e_-)\right)

    Args:
        log_probs: log-probabilities (nats) at time 0, [response]; normalised or not.
        chosen: index of the chosen response.
        rejected: index of the rejected response. The prompt must have no other pair.
        gained: the margin gained since (nats), any shape.

    Returns:
        Log-probabilities (nats), [..., response], with the shape of `gained` in front.

    Example:
        >>> curve = with_margin_gained(jnp.log(jnp.asarray([0.2, 0.6, 0.2])), 0, 1, jnp.log(9.0))
        >>> [round(float(p), 3) for p in jnp.exp(curve)]
        [0.6, 0.2, 0.2]
    """
    log_probs, gained = jnp.asarray(log_probs), jnp.asarray(gained)
    direction = jnp.zeros_like(log_probs).at[chosen].add(0.5).at[rejected].add(-0.5)
    moved = jnp.multiply.outer(gained, direction)
    return jax.nn.log_softmax(jnp.broadcast_to(log_probs, moved.shape) + moved, axis=-1)


def margin_gained(
    loss: PreferenceLoss, time: jax.Array, margin_now: Scalar, gap: Scalar, weight: Scalar = 1.0
) -> jax.Array:
    """The margin that a pair gains in a time, for the losses whose flow has a closed form.

    Args:
        loss: `DPO`, `IPO`, `Hinge`, or `SLiC` with eta = 0.
        time: time t, any shape.
        margin_now: the pair's margin at time 0 (nats), which a loss with a reference sees.
        gap: log pi+ - log pi- at time 0, which SLiC sees.
        weight: the pair's share of the mean over pairs; the prompt must have no other pair.

    Returns:
        m(t) - m(0) (nats), shaped as `time`.

    Raises:
        InputError: a loss of another kind.

    Example:
        >>> round(float(margin_gained(IPO(eta=0.1), jnp.asarray(100.0), 1.0, 0.0)), 2)
        4.0
    """
    match loss:
        case DPO():
            return margin(time, loss.beta, margin_now, weight) - margin_now
        case IPO():
            return ipo_margin(time, loss.eta, margin_now, weight) - margin_now
        case Hinge():
            return hinge_margin(time, loss.beta, margin_now, weight) - margin_now
        case SLiC() if _is_zero(loss.eta):
            return slic_gap(time, loss.delta, gap, weight) - gap
    known = "one whose margin has a closed form: DPO, IPO, Hinge, or SLiC with eta = 0"
    raise refuse("loss", loss, known, "integrate the others with toymodel.gradient_flow")


def _is_zero(number: Scalar) -> bool:
    return not isinstance(number, jax.core.Tracer) and not bool(jnp.any(jnp.asarray(number) != 0))


def log_probs(
    loss: PreferenceLoss,
    initial: jax.Array,
    reference: jax.Array,
    chosen: Scalar,
    rejected: Scalar,
    time: jax.Array,
    weight: Scalar = 1.0,
) -> jax.Array:
    """The log-probability of every response of a prompt at any time, with no integration.

    The margin gained by `margin_gained` (Lambert's W for DPO), spread by `with_margin_gained`.

    Args:
        loss: `DPO`, `IPO`, `Hinge`, or `SLiC` with eta = 0.
        initial: log-probabilities (nats) of the policy at time 0, [response].
        reference: log-probabilities (nats) of the reference, [response].
        chosen: index of the chosen response.
        rejected: index of the rejected response. The prompt must have no other pair.
        time: time t, any shape.
        weight: the pair's share of the mean over pairs.

    Returns:
        Log-probabilities (nats), [..., response], with the shape of `time` in front.

    Raises:
        InputError: a loss without a closed form.

    Example:
        >>> start = jnp.log(jnp.asarray([0.3, 0.3, 0.4]))
        >>> curve = log_probs(DPO(0.1), start, start, 0, 1, jnp.asarray([0.0, 1e4]))
        >>> [[round(float(p), 3) for p in row] for row in jnp.exp(curve)]
        [[0.3, 0.3, 0.4], [1.0, 0.0, 0.0]]
    """
    initial, reference = jnp.asarray(initial), jnp.asarray(reference)
    gap = initial[chosen] - initial[rejected]
    now = gap - (reference[chosen] - reference[rejected])
    gained = margin_gained(loss, jnp.asarray(time), now, gap, weight)
    return with_margin_gained(initial, chosen, rejected, gained)
