"""RLHF's optimum: the policy that best trades reward for divergence, its value, and its inverse."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import log_softmax
from jax.scipy.special import logsumexp

from toymodel._typing import PairArray, Scalar, TableArray
from toymodel.scenarios import Pairs


def rlhf_objective(
    log_probs: TableArray, rewards: TableArray, reference: TableArray, beta: Scalar
) -> jax.Array:
    r"""What RLHF maximises: :math:`E_\pi[r] - \beta\,\mathrm{KL}(\pi\,\|\,\pi_0)`, [prompt].

    Args:
        log_probs: log-probabilities (nats) of the policy, [prompt, response].
        rewards: r(x, y), [prompt, response].
        reference: log-probabilities (nats) of the reference, [prompt, response].
        beta: the price of a nat of divergence.

    Example:
        >>> fair = jnp.log(jnp.asarray([[0.5, 0.5]]))
        >>> float(rlhf_objective(fair, jnp.asarray([[1.0, 0.0]]), fair, beta=0.1)[0])
        0.5
    """
    return jnp.sum(jnp.exp(log_probs) * (rewards - beta * (log_probs - reference)), axis=-1)


def rlhf_policy(rewards: TableArray, reference: TableArray, beta: Scalar) -> TableArray:
    r"""The policy that maximises `rlhf_objective`.

    The objective is :math:`-\beta\,\mathrm{KL}(\pi\,\|\,\pi^*) + \beta\log Z` with

    .. math:: \pi^*(y|x) = \frac{1}{Z(x)}\,\pi_0(y|x)\,e^{r(x, y)/\beta}

    so that :math:`\pi^*` is the only maximiser.

    Args:
        rewards: r(x, y), [prompt, response].
        reference: log-probabilities (nats) of the reference, [prompt, response].
        beta: the price of a nat of divergence.

    Returns:
        log pi*, [prompt, response].

    Example:
        >>> fair = jnp.log(jnp.asarray([[0.5, 0.5]]))
        >>> best = rlhf_policy(jnp.asarray([[1.0, 0.0]]), fair, beta=0.5)
        >>> [round(float(p), 3) for p in jnp.exp(best[0])]
        [0.881, 0.119]

    References:
        Rafailov et al., "Direct Preference Optimization" (2023), equation 4.
    """
    advantage = rewards - jnp.max(rewards, axis=-1, keepdims=True)  # else small betas cost digits
    log_probs: TableArray = log_softmax(reference + advantage / beta, axis=-1)
    return log_probs


def rlhf_value(rewards: TableArray, reference: TableArray, beta: Scalar) -> jax.Array:
    r"""The value of `rlhf_objective` at its maximum: :math:`\beta\log E_{\pi_0}[e^{r/\beta}]`.

    Args:
        rewards: r(x, y), [prompt, response].
        reference: log-probabilities (nats) of the reference, [prompt, response].
        beta: the price of a nat of divergence.

    Returns:
        The value, [prompt]: from the mean reward of the reference (beta to infinity) to the
        largest reward (beta to 0).

    Example:
        >>> fair = jnp.log(jnp.asarray([[0.5, 0.5]]))
        >>> rewards = jnp.asarray([[1.0, 0.0]])
        >>> [round(float(rlhf_value(rewards, fair, b)[0]), 2) for b in (0.001, 0.5, 100.0)]
        [1.0, 0.72, 0.5]
    """
    best = jnp.max(rewards, axis=-1, keepdims=True)
    return best[:, 0] + beta * logsumexp(reference + (rewards - best) / beta, axis=-1)


def implied_reward(log_probs: TableArray, reference: TableArray, beta: Scalar) -> TableArray:
    r"""The reward whose `rlhf_policy` a policy is: :math:`\beta(\log\pi - \log\pi_0)`.

    Any function of the prompt may be added; this one has :math:`E_{\pi_0}[e^{r/\beta}] = 1`, so
    its `rlhf_value` is zero. DPO's loss is Bradley-Terry's on it.

    Args:
        log_probs: of the policy (nats), [prompt, response].
        reference: of the reference (nats), [prompt, response].
        beta: the price of a nat of divergence.

    Returns:
        r(x, y), [prompt, response].

    Example:
        >>> table = jnp.log(jnp.array([[0.5, 0.25, 0.25]]))
        >>> reward = implied_reward(table, jnp.full((1, 3), -jnp.log(3.0)), 2.0)
        >>> bool(jnp.allclose(rlhf_policy(reward, jnp.full((1, 3), -jnp.log(3.0)), 2.0), table))
        True

    References:
        Rafailov et al., "Direct Preference Optimization" (NeurIPS 2023), equation 5.
    """
    return beta * (log_probs - reference)


def population_pairs(rewards: TableArray) -> Pairs:
    r"""Every ordered pair of responses, weighted as Bradley-Terry annotators would choose it.

    .. math:: w(x, y, y') = \sigma(r(x, y) - r(x, y'))

    Full support: every pair of responses is compared, and both orders occur. DPO's minimiser on
    these pairs is `rlhf_policy` (identity 6): at :math:`\beta m = r - r'` the two orders' slopes,
    :math:`\mp\beta\sigma(r - r')\sigma(r' - r)`, cancel pair by pair, and the loss is strictly
    convex in the margins.

    Args:
        rewards: r(x, y), [prompt, response].

    Returns:
        The pairs, prompts times n (n - 1) of them.

    Example:
        >>> pairs = population_pairs(jnp.asarray([[1.0, 0.0]]))
        >>> [(int(c), round(float(w), 3)) for c, w in zip(pairs.chosen, pairs.weight)]
        [(0, 0.731), (1, 0.269)]
    """
    prompts, responses = rewards.shape
    differ = np.broadcast_to(~np.eye(responses, dtype=bool), (prompts, responses, responses))
    prompt, chosen, rejected = map(jnp.asarray, np.nonzero(differ))
    weight: PairArray = jax.nn.sigmoid(rewards[prompt, chosen] - rewards[prompt, rejected])
    return Pairs(prompt, chosen, rejected, weight)
