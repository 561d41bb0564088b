r"""How one response's push moves another: the kernel K, and what it says of pairs.

.. math:: K((x, y), (x', y')) = \nabla\log\pi(y|x) \cdot \nabla\log\pi(y'|x')

Under gradient flow on `gradients.objective`, with shares w and slopes a,

.. math::
    \frac{d\log\pi(y|x)}{dt} = -\sum_i w_i \left[ a_+^i K((x, y), (x_i, y_+^i))
    + a_-^i K((x, y), (x_i, y_-^i)) \right]

exactly, and to first order in the step for gradient descent. Each term is one half of one pair
moving one response: its own pair's, or interference from another's.
"""

import jax
import jax.numpy as jnp

from toymodel import gradients
from toymodel._errors import unknown
from toymodel._typing import KernelArray, Params, TableArray
from toymodel.losses.base import PreferenceLoss
from toymodel.policies.base import Policy
from toymodel.scenarios import Pairs

_READINGS = ("margin", "chosen", "rejected")


def response_kernel(policy: Policy, params: Params) -> KernelArray:
    r"""K between all responses, in closed form from the policy's `logit_kernel` :math:`\Theta`.

    Since :math:`\nabla\log\pi_y = \nabla z_y - \sum_k \pi_k \nabla z_k`, K is :math:`\Theta`
    centred by the policy's probabilities in either half:
    :math:`K = (1 - \Pi)\,\Theta\,(1 - \Pi)^T`.

    Args:
        policy: the policy's form.
        params: its parameters.

    Returns:
        K, [prompt, response, prompt, response]. Each row and column of a prompt averages to zero
        under the policy: what raises some responses lowers others.

    Example:
        >>> import toymodel as tm
        >>> kernel = response_kernel(tm.Tabular(), jnp.zeros((1, 4)))
        >>> [round(float(k), 2) for k in kernel[0, 0, 0]]
        [0.75, -0.25, -0.25, -0.25]
    """
    probs = jnp.exp(policy.log_probs(params))
    kernel = policy.logit_kernel(params)
    kernel = kernel - jnp.einsum("xk,xkab->xab", probs, kernel)[:, None]
    return kernel - jnp.einsum("ak,xyak->xya", probs, kernel)[..., None]


def pushes(
    loss: PreferenceLoss, policy: Policy, params: Params, reference: TableArray, pairs: Pairs
) -> tuple[jnp.ndarray, jnp.ndarray]:
    r"""What each half of each pair does to every response under gradient flow.

    .. math:: -w_i a_\pm^i K((x, y), (x_i, y_\pm^i))

    Columns of K one by one: a half's :math:`\nabla\log\pi` is the policy's `vjp` of its unit table,
    centred by the policy; the derivative of all log-probabilities along it is the column. The whole
    kernel, of size (prompts x responses) squared, is never made.

    Args:
        loss: the preference loss.
        policy: the policy's form.
        params: its parameters.
        reference: the reference's log-probabilities, [prompt, response].
        pairs: the preference pairs.

    Returns:
        The terms of the chosen halves and of the rejected halves (nats per unit of time), each
        [prompt, response, pair]; summed over both and over pairs they are
        :math:`d\log\pi(y|x)/dt`.

    Example:
        >>> import toymodel as tm
        >>> world = tm.scenarios.both_on_policy()
        >>> chosen, rejected = pushes(tm.losses.DPO(), tm.Tabular(), world.log_table,
        ...                           world.log_table, world.pairs)
        >>> own, others = chosen[0, :, 0], chosen[0, :, 1:]  # what moves prompt 0
        >>> bool(own[0] > 0), bool(rejected[0, 4, 0] < 0), bool((others == 0).all())
        (True, True, True)
    """
    log_probs, along = jax.linearize(policy.log_probs, params)
    slopes = loss.slopes(gradients.pair_batch(log_probs, reference, pairs))

    def column(prompt: jax.Array, response: jax.Array) -> TableArray:
        unit = jnp.zeros_like(log_probs).at[prompt].set(-jnp.exp(log_probs[prompt]))
        moved: TableArray = along(policy.vjp(params, unit.at[prompt, response].add(1.0)))
        return moved

    chosen, rejected = (
        -jax.vmap(column, out_axes=-1)(pairs.prompt, half) * (pairs.share * slope)[None, None]
        for half, slope in zip((pairs.chosen, pairs.rejected), slopes, strict=True)
    )
    return chosen, rejected


def interference(
    loss: PreferenceLoss,
    policy: Policy,
    params: Params,
    reference: TableArray,
    pairs: Pairs,
    of: str = "margin",
) -> jnp.ndarray:
    """How fast each pair moves every pair under gradient flow: positive helps.

    Args:
        loss: the preference loss.
        policy: the policy's form.
        params: its parameters.
        reference: the reference's log-probabilities, [prompt, response].
        pairs: the preference pairs.
        of: what is moved: "margin", "chosen" (help is to raise it) or "rejected" (help is to
            lower it).

    Returns:
        [pair moved, pair moving], in nats per unit of time; the diagonal is each pair's own push.

    Raises:
        InputError: an unknown `of`.

    Example:
        >>> import toymodel as tm
        >>> world = tm.scenarios.both_on_policy()
        >>> apart = interference(tm.losses.DPO(), tm.Tabular(), world.log_table, world.log_table,
        ...                      world.pairs)
        >>> bool(jnp.all((apart > 0) == jnp.eye(4, dtype=bool)))
        True
    """
    if of not in _READINGS:
        raise unknown("of", of, _READINGS)
    by_chosen, by_rejected = pushes(loss, policy, params, reference, pairs)
    total = by_chosen + by_rejected
    chosen = total[pairs.prompt, pairs.chosen]
    rejected = total[pairs.prompt, pairs.rejected]
    return {"margin": chosen - rejected, "chosen": chosen, "rejected": -rejected}[of]
