r"""How much SFT is enough: thresholds in closed form, for each kind of optimiser.

SFT-DPO's slopes are :math:`a_+ = -(s + \gamma)` and :math:`a_- = s` with
:math:`s = \beta\sigma(-\beta m)`, so :math:`a_+ + a_- = -\gamma`: every response outside the
pair is pushed down at :math:`w\gamma\pi_k`. DPO's own gradient there is zero exactly. Where the
term comes to rule the pull on the chosen is `exact.crossover_margin`.
"""

import jax
import jax.numpy as jnp

from toymodel._typing import Scalar


def quiet_sft_weight(
    epsilon: Scalar,
    needed: Scalar,
    rate: Scalar,
    steps: Scalar,
    share: Scalar,
    probability: Scalar,
    activity: Scalar,
) -> jax.Array:
    r"""The SFT weight with which Adam's quiet weights push a response down by `needed` nats.

    An output weight from unit u to response k gets DPO's gradient only from the prompts whose pair
    k is in. If u is off for those it is *quiet*: its gradient is the SFT term's alone,
    :math:`g = w\gamma\pi_k h_u`, and so is its second moment. A steady gradient moves a weight by
    :math:`\eta g/(g + \epsilon)` a step, so while :math:`g \ll \epsilon` the logit falls by
    :math:`\eta T w\gamma\pi_k\sum_u h_u^2/\epsilon` in T steps. That is the fall d for

    .. math:: \gamma = \frac{\epsilon\,d}{\eta\,T\,w\,\pi_k\sum_u h_u^2}

    The size of DPO's gradient is not in it.

    Args:
        epsilon: Adam's epsilon.
        needed: the fall d of the logit (nats).
        rate: Adam's learning rate.
        steps: how many there are.
        share: the pair's share w of the mean over pairs.
        probability: of the response, pi_k.
        activity: sum of squared activations of the prompt's quiet units.

    Returns:
        gamma.

    Example:
        >>> rest = dict(rate=3e-4, steps=2000, share=0.25, probability=0.12, activity=2.0)
        >>> [f"{float(quiet_sft_weight(e, 0.5, **rest)):.1e}" for e in (1e-8, 1e-7)]
        ['1.4e-07', '1.4e-06']
    """
    fall_of_one = jnp.asarray(rate) * steps * share * probability * activity / epsilon
    return needed / fall_of_one


def even_sft_weight(area: Scalar, rate: Scalar, share: Scalar, kernel: Scalar) -> jax.Array:
    r"""The SFT weight that halves :math:`1 - \pi_+` under gradient descent, to first order.

    The term parts the chosen logit from those outside the pair at :math:`w\gamma K q`, where
    :math:`q = 1 - \pi_+` and K is the kernel that a prompt's logits have with themselves, less
    that with each other. By the end the gap has gained :math:`w\gamma\eta K\sum_t q_t`, which
    halves q once it is log 2:

    .. math:: \gamma = \frac{\log 2}{w\,\eta\,K\sum_t q_t}

    Args:
        area: sum over steps of q, without the term.
        rate: the learning rate.
        share: the pair's share w of the mean over pairs.
        kernel: K; 1 for a tabular policy.

    Returns:
        gamma.

    Example:
        >>> round(float(even_sft_weight(area=300.0, rate=0.3, share=0.25, kernel=6.5)), 4)
        0.0047
    """
    return jnp.log(2.0) / (jnp.asarray(share) * rate * kernel * area)
