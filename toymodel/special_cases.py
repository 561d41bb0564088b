"""Named effects of the literature as what they are: readings of the kernel K and its signs.

CHES, which reads K by hidden states alone, is here from `toymodel.sequences`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from toymodel import kernels
from toymodel._typing import KernelArray, PairArray, Params, TableArray
from toymodel.losses.base import PreferenceLoss
from toymodel.policies.base import Policy
from toymodel.scenarios import Pairs
from toymodel.sequences import ches

__all__ = ["Displacement", "ches", "displacement", "entanglement", "squeezing"]


def entanglement(kernel: KernelArray, pairs: Pairs) -> tuple[PairArray, PairArray]:
    r"""Gradient entanglement: whether a pair's own push moves its halves the wrong way.

    A margin loss pushes a lone pair along :math:`\nabla\log\pi_+ - \nabla\log\pi_-`, so its chosen
    rises if and only if :math:`K_{++} > K_{+-}` and its rejected falls if and only if
    :math:`K_{--} > K_{+-}`: it is the sign condition on single terms of the
    formula of `toymodel.kernels`.

    Args:
        kernel: of `toymodel.kernels.response_kernel`, [prompt, response, prompt, response].
        pairs: the preference pairs.

    Returns:
        :math:`K_{++} - K_{+-}` and :math:`K_{--} - K_{+-}`, each [pair]; their sum, the margin's
        own push, is never negative, so at most one of them is.

    Example:
        >>> import toymodel as tm
        >>> world = tm.scenarios.both_on_policy()
        >>> kernel = tm.kernels.response_kernel(tm.Tabular(), world.log_table)
        >>> chosen, rejected = entanglement(kernel, world.pairs)
        >>> bool((chosen > 0).all()), bool((rejected > 0).all())  # separate logits: neither
        (True, True)

    References:
        Yuan et al., "A Common Pitfall of Margin-based Language Model Alignment: Gradient
        Entanglement" (ICLR 2025), Condition 1.
    """
    x, chosen, rejected = pairs.prompt, pairs.chosen, pairs.rejected
    across = kernel[x, chosen, x, rejected]
    return kernel[x, chosen, x, chosen] - across, kernel[x, rejected, x, rejected] - across


class Displacement(NamedTuple):
    """What gradient flow does to each pair at this instant."""

    speed: PairArray  # of log pi+ (nats per unit of time), [pair]
    displaced: jax.Array  # whether it is negative, [pair]
    margin_speed: PairArray  # of log pi+ - log pi- (nats per unit of time), [pair]


def displacement(
    loss: PreferenceLoss, policy: Policy, params: Params, reference: TableArray, pairs: Pairs
) -> Displacement:
    r"""Likelihood displacement: the chosen falls although the loss does.

    .. math:: \frac{d\log\pi_+}{dt} = -\sum_i w_i [a_+^i K(y_+, y_+^i) + a_-^i K(y_+, y_-^i)] < 0

    Under gradient flow the training loss always falls, so the sign of this speed decides alone. The
    pair's own margin need not grow: what lowers the mean loss may cost a single pair.

    Args:
        loss: the preference loss.
        policy: the policy's form.
        params: its parameters.
        reference: the reference's log-probabilities, [prompt, response].
        pairs: the preference pairs.

    Returns:
        The `Displacement`: each pair's speed of log pi+, whether it is displaced, and the speed of
        its margin, each [pair].

    Example:
        >>> import toymodel as tm
        >>> world = tm.scenarios.both_on_policy()
        >>> found = displacement(tm.losses.DPO(), tm.Tabular(), world.log_table, world.log_table,
        ...                      world.pairs)
        >>> bool(found.displaced.any()), bool((found.margin_speed > 0).all())
        (False, True)

    References:
        Razin et al., "Unintentional Unalignment: Likelihood Displacement in Direct Preference
        Optimization" (ICLR 2025), Definition 1, for infinitely small steps.
    """
    of_chosen, of_margin = (
        kernels.interference(loss, policy, params, reference, pairs, of).sum(axis=1)
        for of in ("chosen", "margin")
    )
    return Displacement(of_chosen, of_chosen < 0, of_margin)


def squeezing(log_probs: TableArray, pairs: Pairs) -> TableArray:
    r"""The squeezing effect: where mass goes when the rejected responses alone are pushed down.

    Of a tabular softmax, :math:`K(k, y_-) = 1[k = y_-] - \pi_k - \pi_- + \sum_j \pi_j^2`. A unit
    push down on :math:`y_-` moves :math:`\log\pi_k` at :math:`-K(k, y_-)`, which grows with
    :math:`\pi_k`: of the responses other than :math:`y_-` the likeliest gains most, and those
    with :math:`\pi_k < \sum_j \pi_j^2 - \pi_-` lose.

    Args:
        log_probs: log-probabilities (nats), [prompt, response].
        pairs: the pairs; each pushes by its share.

    Returns:
        The speed of every log-probability, [prompt, response].

    Example:
        >>> from toymodel.scenarios import build
        >>> world = build([[0.1, 0.6, 0.1, 0.2]], [(0, 3, 0)])
        >>> [round(float(v), 2) for v in squeezing(world.log_table, world.pairs)[0]]
        [-1.22, 0.28, -0.22, -0.12]

    References:
        Ren and Sutherland, "Learning Dynamics of LLM Finetuning" (ICLR 2025), section 3.3.
    """
    probs = jnp.exp(log_probs)
    rejected = pairs.spread(log_probs, jnp.zeros_like(pairs.share), jnp.ones_like(pairs.share))
    down = rejected - probs * rejected.sum(axis=1)[:, None]  # the push in logits
    return -(down - jnp.sum(probs * down, axis=1)[:, None])
