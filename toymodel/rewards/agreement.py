"""What rewards agree with: preference pairs; and the constant that no pair can see, taken out."""

import jax.numpy as jnp

from toymodel._typing import Scalar, TableArray
from toymodel.scenarios import Pairs


def accuracy(rewards: TableArray, pairs: Pairs) -> Scalar:
    r"""The weighted share of pairs whose chosen response has the greater reward.

    .. math:: \sum_i w_i\,\tfrac12\left(1 + \mathrm{sign}(r_{i+} - r_{i-})\right) / \sum_i w_i

    A tie counts half, so a constant reward has 0.5. For a policy, pass
    `toymodel.exact.implied_reward`.

    Args:
        rewards: r(x, y), [prompt, response].
        pairs: the preference pairs.

    Returns:
        From 0 to 1.

    Example:
        >>> from toymodel import scenarios
        >>> world = scenarios.build([[0.5, 0.3, 0.2]], [(0, 0, 1), (0, 1, 2)])
        >>> float(accuracy(jnp.asarray([[2.0, 1.0, 1.0]]), world.pairs))
        0.75
    """
    chosen, rejected = pairs.read(rewards)
    return pairs.mean((1 + jnp.sign(chosen - rejected)) / 2)


def centred(rewards: TableArray, log_probs: TableArray) -> TableArray:
    r"""Rewards less their mean under a policy: :math:`r(x, y) - E_{y'\sim\pi(x)}\,r(x, y')`.

    Preferences within a prompt do not see a constant added to its rewards, so a reward model leaves
    it wherever training took it. This convention makes the rewards comparable.

    Args:
        rewards: r(x, y), [prompt, response].
        log_probs: log-probabilities (nats) of the policy, [prompt, response].

    Returns:
        [prompt, response].

    Example:
        >>> fair = jnp.log(jnp.asarray([[0.5, 0.5]]))
        >>> centred(jnp.asarray([[3.0, 1.0]]), fair).tolist()
        [[1.0, -1.0]]
    """
    # A sum fused with the subtraction, mapped, is wrong on large tables (jaxlib 0.10.2 on CPU).
    mean = jnp.einsum("xy,xy->x", jnp.exp(log_probs), rewards)
    return rewards - mean[:, None]
