"""How noisy a sampled gradient is: its mean and variance over many draws."""

import functools

import jax
import jax.numpy as jnp

from toymodel._errors import refuse
from toymodel._typing import TableArray
from toymodel.rl.objective import RewardObjective
from toymodel.scenarios import Scenario


def gradient_moments(
    method: RewardObjective,
    scenario: Scenario,
    log_probs: TableArray,
    reference: TableArray,
    key: jax.Array,
    draws: int = 1000,
) -> tuple[TableArray, TableArray]:
    """Mean and variance of a method's gradient in logits at a policy, over draws of its samples.

    Args:
        method: whose gradient (of the loss: to go down along).
        scenario: the world.
        log_probs: log-probabilities (nats) of the policy, [prompt, response].
        reference: the reference's, [prompt, response].
        key: split into one a draw.
        draws: how many, 2 at least; another number compiles anew.

    Returns:
        Both [prompt, response]; the mean's standard error is the root of variance / draws.

    Raises:
        InputError: fewer than two draws, or what `toymodel.simulate` refuses of method and world.

    Example:
        >>> import toymodel as tm
        >>> world = tm.scenarios.random_rewards(jax.random.key(0), tm.scenarios.both_on_policy())
        >>> at = (world, world.log_table, world.log_table, jax.random.key(1))
        >>> noise = {name: float(gradient_moments(tm.rl.Reinforce(baseline=name), *at)[1].sum())
        ...          for name in ("none", "exact")}
        >>> noise["exact"] < noise["none"]
        True
    """

    if type(draws) is not int or draws < 2:
        raise refuse("draws", draws, "a whole number >= 2")
    method.check(scenario)
    mean, variance = _moments(method, scenario, log_probs, reference, key, draws)
    return mean, variance


@functools.partial(jax.jit, static_argnames="draws")
def _moments(
    method: RewardObjective,
    scenario: Scenario,
    log_probs: TableArray,
    reference: TableArray,
    key: jax.Array,
    draws: int,
) -> tuple[TableArray, TableArray]:
    """`gradient_moments` of checked arguments."""

    def one(key: jax.Array) -> TableArray:
        first = jnp.zeros((), int)
        memory = method.begin(scenario, reference, key)
        memory = method.refresh(memory, scenario, log_probs, key, first)
        table: TableArray = method.logit_gradient(memory, scenario, log_probs, key, first)
        return table

    drawn = jax.vmap(one)(jax.random.split(key, draws))
    mean, variance = jnp.mean(drawn, axis=0), jnp.var(drawn, axis=0, ddof=1)
    return jnp.asarray(mean), jnp.asarray(variance)
