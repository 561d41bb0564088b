"""SFT-DPO under Adam with the SFT term let into quiet weights only, or into all others only.

A weight is quiet while DPO's gradient in it has never exceeded the SFT term's weight gamma. What
the thresholds of `sft_thresholds` need of a network is measured here, too.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax

from toymodel import gradients, training
from toymodel._typing import Scalar
from toymodel.losses import DPO, SFT
from toymodel.optimisers import Optimiser
from toymodel.policies import MLP
from toymodel.policies.layers import ACTIVATIONS
from toymodel.scenarios import Scenario


@functools.partial(jax.jit, static_argnames=("records", "every"))
def train_split(
    world: Scenario,
    policy: MLP,
    beta: Scalar,
    gamma: Scalar,
    quiet: Scalar,
    loud: Scalar,
    method: Optimiser,
    seeds: jax.Array,
    *,
    records: int,
    every: int,
) -> jax.Array:
    """Log-probabilities of the chosen, [seed, record, pair]; with both shares 1, SFT-DPO's.

    Args:
        world: the scenario.
        policy: the network.
        beta: DPO's beta.
        gamma: the SFT term's weight.
        quiet: share of the SFT term's gradient that enters quiet weights, 0 or 1.
        loud: the same for all other weights.
        method: the optimiser, by name.
        seeds: whole numbers, [seed].
        records: how many records.
        every: steps from one to the next.
    """

    def one(seed: jax.Array) -> jax.Array:
        params, reference, _ = training.start(world, policy, jax.random.key(seed))
        optimiser = method.build()

        def step(_: jax.Array, state: Any) -> Any:
            params, memory, largest = state
            parts = (policy, params, reference, world.pairs)
            of_dpo = gradients.parameters(DPO(beta), *parts)
            of_sft = gradients.parameters(SFT(), *parts)
            largest = jax.tree.map(lambda old, g: jnp.maximum(old, jnp.abs(g)), largest, of_dpo)
            gradient = jax.tree.map(
                lambda g, s, most: g + gamma * s * jnp.where(most > gamma, loud, quiet),
                *(of_dpo, of_sft, largest),
            )
            updates, memory = optimiser.update(gradient, memory, params)
            return optax.apply_updates(params, updates), memory, largest

        def segment(state: Any, _: None) -> Any:
            state = jax.lax.fori_loop(0, every, step, state)
            return state, world.pairs.read(policy.log_probs(state[0]))[0]

        nothing = jax.tree.map(jnp.zeros_like, params)
        start = (params, optimiser.init(params), nothing)
        found: jax.Array = jax.lax.scan(segment, start, None, length=records)[1]
        return found

    return jax.vmap(one)(seeds)


@jax.jit
def quiet_activity(world: Scenario, policy: MLP, seeds: jax.Array) -> jax.Array:
    """Sum of squared activations of quiet units at the start, mean over pairs of prompts, [seed].

    Args:
        world: one pair a prompt.
        policy: a network with one hidden layer.
        seeds: whole numbers, [seed].
    """

    def one(seed: jax.Array) -> jax.Array:
        first = training.start(world, policy, jax.random.key(seed))[0][0]
        units = first.weight + first.bias[None]
        hidden = ACTIVATIONS[policy.activation].function(units)
        quiet = jnp.einsum("xu,zu->xz", hidden**2, (units <= 0).astype(hidden.dtype))
        count = len(hidden)
        return (jnp.sum(quiet) - jnp.trace(quiet)) / (count * (count - 1))

    return jax.vmap(one)(seeds)


@jax.jit
def own_kernel(world: Scenario, policy: MLP, seeds: jax.Array) -> jax.Array:
    """The kernel of a prompt's logits with themselves less that with each other, [seed].

    At the start, mean over prompts and responses.
    """

    def one(seed: jax.Array) -> jax.Array:
        params = training.start(world, policy, jax.random.key(seed))[0]
        own = jnp.einsum("xyxz->xyz", policy.logit_kernel(params))
        count = own.shape[1]
        diagonal = jnp.einsum("xyy->x", own) / count
        others = (jnp.sum(own, axis=(1, 2)) / count - diagonal) / (count - 1)
        return jnp.mean(diagonal - others)

    return jax.vmap(one)(seeds)
