"""True rewards of a world: given, random, or none."""

import dataclasses
import graphlib

import jax
import numpy as np

from toymodel._errors import refuse
from toymodel._typing import ArrayLike, Scalar, TableArray
from toymodel.scenarios.building import checked_rewards
from toymodel.scenarios.world import Scenario


def with_rewards(scenario: Scenario, rewards: ArrayLike) -> Scenario:
    """The same world, with true rewards.

    Args:
        scenario: the world.
        rewards: the true reward of each response to each prompt, [prompt, response].

    Raises:
        InputError: another shape, or numbers that are not finite.

    Example:
        >>> from toymodel.scenarios import build
        >>> world = with_rewards(build([[0.5, 0.3, 0.2]], [(0, 0, 1)]), [[1.0, 0.0, 0.5]])
        >>> world.rewards.shape
        (1, 3)
    """
    return dataclasses.replace(scenario, rewards=checked_rewards(rewards, scenario.shape))


def random_rewards(key: jax.Array, scenario: Scenario, spread: Scalar = 1.0) -> Scenario:
    """The same world with random true rewards that agree with its pairs.

    Independent normal numbers; then each prompt's rewards are dealt again among its paired
    responses, so that along every chain of pairs the chosen has the greater one.

    Args:
        key: for the draw.
        scenario: the world.
        spread: standard deviation of the rewards.

    Raises:
        InputError: pairs that contradict each other (a cycle), which no reward explains.

    Example:
        >>> from toymodel.scenarios import both_on_policy
        >>> world = random_rewards(jax.random.key(0), both_on_policy())
        >>> chosen, rejected = world.pairs.read(world.rewards)
        >>> bool((chosen > rejected).all())
        True
    """
    drawn = np.array(spread * jax.random.normal(key, scenario.shape))
    pairs = scenario.pairs
    columns = (np.asarray(part).tolist() for part in (pairs.prompt, pairs.chosen, pairs.rejected))
    orders: list[graphlib.TopologicalSorter] = [graphlib.TopologicalSorter() for _ in drawn]
    for prompt, chosen, rejected in zip(*columns, strict=True):
        orders[prompt].add(chosen, rejected)
    for prompt, order in enumerate(orders):
        try:
            upwards = list(order.static_order())
        except graphlib.CycleError as error:
            raise refuse(
                "scenario.pairs",
                f"prompt {prompt}: a cycle through responses {error.args[1]}",
                "pairs that some reward explains",
                "use with_rewards",
            ) from None
        drawn[prompt, upwards] = np.sort(drawn[prompt, upwards])
    return with_rewards(scenario, drawn)


def true_rewards(scenario: Scenario) -> TableArray:
    """A world's true rewards, [prompt, response]; a world without any is refused.

    Raises:
        InputError: the world has none.
    """
    if scenario.rewards is None:
        mend = "tm.scenarios.with_rewards(scenario, rewards), or random_rewards(key, scenario)"
        raise refuse("scenario.rewards", None, "a world with true rewards", mend)
    return scenario.rewards
