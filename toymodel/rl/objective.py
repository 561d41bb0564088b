r"""What reinforcement learning from a reward raises, and its exact gradient.

.. math:: J(\pi) = \sum_x \rho(x)\left(E_{y\sim\pi}[r(x, y)] - \beta\,KL(\pi\,\|\,\pi_0)\right)

Prompts count by their share of the preference pairs, so held-out prompts get no training.
"""

import jax
import jax.numpy as jnp
import numpy as np

from toymodel._errors import refuse
from toymodel._struct import number, optional, struct
from toymodel._typing import Scalar, TableArray
from toymodel.objectives import Objective
from toymodel.rewards import centred
from toymodel.scenarios import Scenario, true_rewards


def prompt_share(scenario: Scenario) -> jax.Array:
    """How much each prompt counts, [prompt]: the weight of its pairs, all together 1."""
    pairs = scenario.pairs
    nothing = jnp.zeros(scenario.shape[0], pairs.weight.dtype)
    share: jax.Array = nothing.at[pairs.prompt].add(pairs.share)
    return share


def advantage(
    log_probs: TableArray, rewards: TableArray, reference: TableArray, beta: Scalar
) -> TableArray:
    r"""How much better than the policy's mean a response is, the price of divergence included.

    .. math:: A(x, y) = q(x, y) - E_{y'\sim\pi}\,q(x, y'), \qquad
        q = r - \beta\log\frac{\pi}{\pi_0}

    It is zero everywhere exactly at `toymodel.exact.rlhf_policy`.

    Args:
        log_probs: log-probabilities (nats) of the policy, [prompt, response].
        rewards: r(x, y), [prompt, response].
        reference: log-probabilities (nats) of the reference, [prompt, response].
        beta: the price of a nat of divergence.

    Example:
        >>> fair = jnp.log(jnp.asarray([[0.5, 0.5]]))
        >>> advantage(fair, jnp.asarray([[1.0, 0.0]]), fair, beta=0.1).tolist()
        [[0.5, -0.5]]
    """
    return centred(rewards - beta * (log_probs - reference), log_probs)


def reward_gradient(
    log_probs: TableArray, rewards: TableArray, reference: TableArray, beta: Scalar
) -> TableArray:
    r"""The exact gradient of :math:`E_\pi[r] - \beta KL` in logits, a prompt at a time.

    .. math:: \frac{\partial J}{\partial z_k} = \pi_k A_k

    The derivative of :math:`-\beta\log\pi` inside the mean adds
    :math:`-\beta\sum_k\pi_k\,\partial\log\pi_k = 0`.

    Args:
        log_probs: log-probabilities (nats) of the policy, [prompt, response].
        rewards: r(x, y), [prompt, response].
        reference: log-probabilities (nats) of the reference, [prompt, response].
        beta: the price of a nat of divergence.

    Returns:
        [prompt, response], to go up along; each row sums to zero.

    Example:
        >>> fair = jnp.log(jnp.asarray([[0.5, 0.5]]))
        >>> reward_gradient(fair, jnp.asarray([[1.0, 0.0]]), fair, beta=0.1).tolist()
        [[0.25, -0.25]]

    References:
        Sutton et al., "Policy Gradient Methods for Reinforcement Learning with Function
        Approximation" (2000), theorem 1, for a single step.
    """
    return jnp.exp(log_probs) * advantage(log_probs, rewards, reference, beta)


@struct(eq=False)
class RewardObjective(Objective):
    """What all methods here have in common: the price of divergence, and which rewards to raise."""

    beta: Scalar = number(default=0.1, at_least=0, doc="the price of a nat of divergence")
    rewards: TableArray | None = optional(
        default=None, doc="rewards to raise, [prompt, response]; None for the world's true ones"
    )

    def check(self, scenario: Scenario) -> None:
        if self.rewards is None:
            true_rewards(scenario)
            return
        where, expected = f"{type(self).__name__}.rewards", "finite numbers, [prompt, response]"
        if np.shape(self.rewards) != scenario.shape:
            given = f"shape {np.shape(self.rewards)}"
            raise refuse(where, given, f"[prompt, response], {scenario.shape}")
        if isinstance(self.rewards, jax.core.Tracer):
            return
        values = np.asarray(self.rewards)
        if values.dtype.kind not in "iuf":
            raise refuse(where, f"an array of {values.dtype}", expected)
        if not np.all(np.isfinite(values)):
            raise refuse(where, values[~np.isfinite(values)][0].item(), expected)

    def table(self, scenario: Scenario) -> TableArray:
        """The rewards to raise, [prompt, response]."""
        return true_rewards(scenario) if self.rewards is None else jnp.asarray(self.rewards, float)
