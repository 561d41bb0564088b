"""Policies that pursue a learnt reward, and what they get of the true one: all exact."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from toymodel import exact, rewards, values
from toymodel._typing import Scalar, TableArray
from toymodel.optimisers import Optimiser
from toymodel.policies import LogLinear, Policy
from toymodel.worlds import Split, World

#: How a policy pursues a reward -> in words.
PATHS = {
    "optimum": "RLHF's exact optimum on the learnt reward, over beta",
    "best of n": "the best of n samples by the learnt reward, over n",
    "true optimum": "RLHF's exact optimum on the true reward, over beta",
}
_POINTS = 60
#: Strengths of pursuit, from hardly any to almost all there is.
BETAS = (30.0, 0.003)
SAMPLES = (1.0, 1e4)


def along(rewards_seen: TableArray, reference: TableArray, path: str) -> TableArray:
    """The policies of a path, as log-probabilities [strength, prompt, response].

    Args:
        rewards_seen: what is pursued, [prompt, response].
        reference: log-probabilities (nats) of the initial policy, [prompt, response].
        path: of `PATHS`.
    """
    if path == "best of n":
        counts = jnp.geomspace(*SAMPLES, _POINTS)
        return jax.vmap(lambda n: values.best_of_n(reference, rewards_seen, n))(counts)
    betas = jnp.geomspace(*BETAS, _POINTS)
    return jax.vmap(lambda beta: exact.rlhf_policy(rewards_seen, reference, beta))(betas)


@functools.partial(jax.jit, static_argnames=("make", "updates"))
def trace(
    world: World,
    keys: jax.Array,
    counts: jax.Array,
    rate: Scalar,
    *,
    make: Callable[[World], Policy],
    updates: int,
    weight_decay: Scalar,
) -> dict[str, jax.Array]:
    """Fit a reward model on the first pairs and follow every path on held-out prompts.

    Args:
        world: several, stacked along a leading axis.
        keys: for the random starts, [world].
        counts: how many of the pairs are used, [count].
        rate: Adam's learning rate.
        make: the form of a world's reward model.
        updates: full-batch updates.
        weight_decay: as in `rewards.fit`.

    Returns:
        ``kl`` (nats), ``proxy`` (the learnt reward) and ``gold`` (the true one), means over
        held-out prompts, both rewards centred: [world, count, path, strength].
    """

    def one_world(given: tuple[World, jax.Array]) -> dict[str, jax.Array]:
        world, key = given
        model, pairs = make(world), world.scenario.pairs
        params = model.init(key, world.shape)
        if isinstance(model, LogLinear):  # its random weights would be random rewards
            params = jax.tree.map(jnp.zeros_like, params)

        def one(count: jax.Array) -> dict[str, jax.Array]:
            weight = jnp.where(jnp.arange(len(pairs)) < count, pairs.weight, 0.0)
            data = dataclasses.replace(
                world.scenario, pairs=dataclasses.replace(pairs, weight=weight)
            )
            learnt = rewards.trace(
                *(model, data, key, Optimiser("adam", rate, {}), params, jnp.asarray([updates])),
                weight_decay=weight_decay,
            ).rewards[-1]
            return measure(world, learnt)

        return jax.vmap(one)(counts)

    found: dict[str, jax.Array] = jax.lax.map(one_world, (world, keys))
    return found


def measure(world: World, learnt: TableArray) -> dict[str, jax.Array]:
    """Every path on a learnt reward, as `trace` returns them: [path, strength], from no pursuit on.

    Args:
        world: the world.
        learnt: the learnt reward, centred under the initial policy, [prompt, response].
    """
    reference = world.scenario.log_table
    truth = rewards.centred(world.score, reference)
    is_heldout = world.split == Split.HELD_OUT

    def mean(by_prompt: jax.Array) -> jax.Array:
        return jnp.sum(jnp.where(is_heldout, by_prompt, 0.0)) / jnp.sum(is_heldout)

    def got(log_probs: TableArray) -> dict[str, jax.Array]:
        return {
            "kl": mean(values.divergence(log_probs, reference)),
            "proxy": mean(values.expected_reward(log_probs, learnt)),
            "gold": mean(values.expected_reward(log_probs, truth)),
        }

    pursued = {"optimum": learnt, "best of n": learnt, "true optimum": truth}
    policies = [along(pursued[path], reference, path) for path in PATHS]
    by_path = [jax.vmap(got)(jnp.concatenate([reference[None], path])) for path in policies]
    found: dict[str, jax.Array] = jax.tree.map(lambda *leaves: jnp.stack(leaves), *by_path)
    return found
