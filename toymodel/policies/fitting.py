"""The supervised stage of policies without a closed form of it: Adam on the cross-entropy."""

import jax
import jax.numpy as jnp
import optax

from toymodel._typing import Params, Scalar, TableArray
from toymodel.policies.base import Policy


def by_adam(
    policy: Policy, params: Params, log_table: TableArray, learning_rate: Scalar, steps: int
) -> Params:
    r"""Parameters after full-batch Adam on the cross-entropy to a table.

    .. math:: \frac{\partial}{\partial z}\Big(-\sum_y p(y|x)\log\pi(y|x)\Big) = \pi - p

    Args:
        policy: the policy's form.
        params: where to start.
        log_table: the target's log-probabilities, log p (nats), [prompt, response].
        learning_rate: Adam's.
        steps: how many; static.

    Example:
        >>> import toymodel as tm
        >>> target = jnp.log(jnp.array([[0.7, 0.2, 0.1]]))
        >>> found = by_adam(tm.Tabular(), jnp.zeros((1, 3)), target, 0.1, 200)
        >>> [round(float(p), 2) for p in jax.nn.softmax(found)[0]]
        [0.7, 0.2, 0.1]
    """
    target = jnp.exp(log_table)
    optimiser = optax.adam(learning_rate)

    def step(_: int, state: tuple) -> tuple:
        params, memory = state
        gradient = policy.vjp(params, jnp.exp(policy.log_probs(params)) - target)
        updates, memory = optimiser.update(gradient, memory, params)
        return optax.apply_updates(params, updates), memory

    return jax.lax.fori_loop(0, steps, step, (params, optimiser.init(params)))[0]
