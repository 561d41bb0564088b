r"""Single training steps of a one-hidden-layer network, split by whose weights move the chosen.

A step :math:`\Delta\theta` moves, to first order,

.. math::
    \Delta\log\pi(y_+|x) = \sum_y (1[y = y_+] - \pi_y)\,
    \big(h(x)\cdot\Delta W_{\cdot y} + \Delta b_y + W_{\cdot y}\cdot\Delta h(x)\big).

Where every response is in one pair only, output weights W of a response's column get their gradient
from that pair alone. So the sum splits exactly, for any optimiser: the own pair's columns, other
pairs' columns, and the hidden layer, which all share.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from toymodel import training
from toymodel._typing import Scalar
from toymodel.losses import PreferenceLoss
from toymodel.optimisers import Optimiser
from toymodel.policies import MLP
from toymodel.policies.layers import ACTIVATIONS, Layer
from toymodel.scenarios import Pairs, Scenario

#: What is measured of a step: name -> what it is.
MEASURED = {
    "chosen": "pi(y+), mean over prompts",
    "own": "rise of log pi(y+) by the own pair's output weights (nats a step)",
    "others": "rise of log pi(y+) by other pairs' output weights (nats a step)",
    "hidden": "rise of log pi(y+) by the hidden layer (nats a step)",
    "ratio": "rise of other pairs' chosen logits over that of the own, by their output weights",
    "early_length": "step of the chosen's output weights from units on since the start (in rates)",
    "late_length": "step of the chosen's output weights from units that came on later (in rates)",
}


@functools.partial(jax.jit, static_argnames=("records", "every"))
def trace(
    world: Scenario,
    policy: MLP,
    loss: PreferenceLoss,
    method: Optimiser,
    seeds: jax.Array,
    bias: Scalar = 1.0,
    *,
    records: int,
    every: int,
) -> dict[str, jax.Array]:
    """Train, and measure one step in `every`; each of `MEASURED`, [seed, record].

    Also ``log_chosen``, log pi(y+) of each pair before the step, [seed, record, pair].

    Args:
        world: one pair a prompt, each response in one pair at most.
        policy: a network with one hidden layer.
        loss: the preference loss.
        method: the optimiser, by name.
        seeds: whole numbers, [seed].
        bias: factor on the steps of the hidden layer's bias, all that prompts share of that layer.
        records: how many steps to measure; the first is the first.
        every: steps from one to the next.
    """

    def one(seed: jax.Array) -> dict[str, jax.Array]:
        key = jax.random.key(seed)
        params, reference, _ = training.start(world, policy, key)
        was_on = _hidden(policy, params) > 0

        def step(number: jax.Array, state: Any) -> Any:
            parts = (world, policy, loss, method, reference, key, number, state)
            (first, second), memory = training.update(*parts, batch_size=None)
            before = state[0][0].bias
            first = first._replace(bias=before + bias * (first.bias - before))
            return (first, second), memory

        def segment(state: Any, start: jax.Array) -> Any:
            after = step(start, state)
            found = _split(world.pairs, policy, state[0], after[0])
            lengths = _lengths(world.pairs, policy, state[0], after[0], was_on)
            found |= {name: value / method.learning_rate for name, value in lengths.items()}
            return jax.lax.fori_loop(start + 1, start + every, step, after), found

        start = (params, method.build().init(params))
        found: dict[str, jax.Array] = jax.lax.scan(segment, start, every * jnp.arange(records))[1]
        return found

    return jax.vmap(one)(seeds)


def _hidden(policy: MLP, params: Any) -> jax.Array:
    """Activations of the hidden units, [prompt, unit]."""
    activation = ACTIVATIONS[policy.activation].function
    return activation(params[0].weight + params[0].bias[None])


def _split(pairs: Pairs, policy: MLP, before: Any, after: Any) -> dict[str, jax.Array]:
    """`MEASURED` but for the lengths: means over prompts."""
    change: tuple[Layer, Layer] = jax.tree.map(jnp.subtract, after, before)
    prompts, count = pairs.prompt, len(pairs)
    first, second = before
    units = first.weight + first.bias[None]
    slope = ACTIVATIONS[policy.activation].derivative(units)
    probs = jnp.exp(policy.log_probs(before))
    output = _hidden(policy, before) @ change[1].weight + change[1].bias[None]
    inner = (slope * (change[0].weight + change[0].bias[None])) @ second.weight
    chosen = jax.nn.one_hot(pairs.chosen, probs.shape[1], dtype=probs.dtype)
    rejected = jax.nn.one_hot(pairs.rejected, probs.shape[1], dtype=probs.dtype)
    pulls = chosen - probs[prompts]  # of each logit on log pi(y+), [pair, response]
    moved = pulls * output[prompts]
    raised = output[prompts][:, pairs.chosen]  # by [pair, pair whose chosen]
    own_raise = jnp.trace(raised)
    other_raise = (jnp.sum(raised) - own_raise) / max(count - 1, 1)
    return {
        "chosen": jnp.mean(probs[prompts, pairs.chosen]),
        "log_chosen": policy.log_probs(before)[prompts, pairs.chosen],
        "own": jnp.mean(jnp.sum(moved * (chosen + rejected), axis=1)),
        "others": jnp.mean(jnp.sum(moved * (1 - chosen - rejected), axis=1)),
        "hidden": jnp.mean(jnp.sum(pulls * inner[prompts], axis=1)),
        "ratio": other_raise / own_raise,
    }


def _lengths(
    pairs: Pairs, policy: MLP, before: Any, after: Any, was_on: jax.Array
) -> dict[str, jax.Array]:
    """Mean size of the steps of the chosen responses' output weights, by the age of their units."""
    moved = jnp.abs(after[1].weight - before[1].weight)[:, pairs.chosen].T  # [pair, unit]
    is_on, was = (_hidden(policy, before) > 0)[pairs.prompt], was_on[pairs.prompt]

    def mean(mask: jax.Array) -> jax.Array:
        count = jnp.sum(mask)
        return jnp.where(count > 0, jnp.sum(moved * mask) / jnp.maximum(count, 1), jnp.nan)

    return {"early_length": mean(is_on & was), "late_length": mean(is_on & ~was)}
