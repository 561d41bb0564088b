"""Where data lie: how near to the policy, and how much of the response space they cover."""

import jax
import jax.numpy as jnp

from toymodel._typing import PairArray, TableArray
from toymodel.scenarios import Scenario


def policy_gap(
    scenario: Scenario, log_probs: TableArray | None = None
) -> tuple[PairArray, PairArray]:
    r"""How far each half of each pair is from what the policy would write itself (nats).

    .. math:: g(y) = \log\pi_0(y|x) - E_{y' \sim \pi_0}[\log\pi_0(y'|x)]

    For the policy's own samples the mean is 0; a response that it would hardly write is very
    negative. The second term is minus the entropy, so prompts of any spread compare.

    Args:
        scenario: the world.
        log_probs: log-probabilities (nats) of another policy, [prompt, response]; default: the
            scenario's own table.

    Returns:
        The gaps of the chosen and of the rejected responses, each [pair].

    Example:
        >>> from toymodel import scenarios
        >>> chosen, rejected = policy_gap(scenarios.chosen_off_policy())
        >>> round(float(chosen[0]), 2), round(float(rejected[0]), 2)
        (-2.09, -0.29)
    """
    table = scenario.log_table if log_probs is None else log_probs
    usual = jnp.sum(jnp.exp(table) * table, axis=-1)[scenario.pairs.prompt]
    chosen, rejected = scenario.pairs.read(table)
    return chosen - usual, rejected - usual


def coverage(scenario: Scenario) -> jax.Array:
    """Share of the responses that are in some pair, over the prompts that have pairs.

    Pairs of weight zero do not count.

    Example:
        >>> from toymodel import scenarios
        >>> round(float(coverage(scenarios.both_on_policy())), 3)  # 2 of 10
        0.2
    """
    pairs = scenario.pairs
    is_in = jnp.zeros(scenario.shape, bool)
    for half in (pairs.chosen, pairs.rejected):
        is_in = is_in.at[pairs.prompt, half].max(pairs.weight > 0)
    prompts = jnp.sum(jnp.any(is_in, axis=-1))
    return jnp.sum(is_in) / (prompts * scenario.shape[1])
