r"""Why each response moved: a step's change split into pushes of pairs and the optimiser's doing.

A step :math:`\Delta\theta = u` moves log-probabilities by :math:`Ju` to first order, J their
derivative. With the gradient g, a sum over halves of pairs, and a diagonal preconditioner D,

.. math:: u = -c\,g \;-\; (D - c)\,g \;+\; (u + D g)

whose terms are the plain step, preconditioning, and memory (what differs because past gradients
count). The scalar c fits the plain step to the preconditioned one: :math:`c = g^T D g / g^T g`.
The plain step is a sum of the kernel's pushes (`toymodel.kernels.pushes`).
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from toymodel import gradients, kernels, sampling, training
from toymodel._struct import number, struct
from toymodel._typing import Params, Scalar, TableArray
from toymodel.losses import PreferenceLoss
from toymodel.optimisers import Custom, Optimiser
from toymodel.policies import Policy
from toymodel.scenarios import Pairs, Scenario


@struct(eq=False)
class Parts:
    """One step's change of every log-probability (nats), in parts that add up to `change`."""

    chosen: jax.Array = number(doc="push of each pair's chosen half, [prompt, response, pair]")
    rejected: jax.Array = number(doc="push of each pair's rejected half, [prompt, response, pair]")
    preconditioning: TableArray = number(doc="because sizes of steps differ between parameters")
    memory: TableArray = number(doc="because past gradients count")
    residual: TableArray = number(doc="what is not first order in the step")
    change: TableArray = number(doc="the change itself, [prompt, response]")
    bound: Scalar = number(doc="no residual of this step can be larger")


def preconditioner(optimiser: Optimiser | Custom, memory: Any, params: Params) -> Params | None:
    r"""The diagonal D of an optimiser's step, from its memory after the step.

    Adam's is :math:`\eta / (\sqrt{\hat v} + \epsilon)`, gradient descent's :math:`\eta`.

    Args:
        optimiser: how gradients become steps.
        memory: its state after the step.
        params: for shapes.

    Returns:
        D, shaped as `params`; None for optimisers whose step is not read as one (the whole
        difference from the plain step then counts as memory).
    """
    if not isinstance(optimiser, Optimiser):
        return None
    rate, options = optimiser.learning_rate, optimiser.options
    if optimiser.name == "sgd":
        return jax.tree.map(lambda leaf: jnp.full_like(leaf, rate), params)
    if optimiser.name == "adam":
        count = optax.tree_utils.tree_get(memory, "count").astype(jnp.result_type(float))
        correction = 1 - options.get("b2", 0.999) ** count
        eps, root = options.get("eps", 1e-8), options.get("eps_root", 0.0)
        return jax.tree.map(
            lambda v: rate / (jnp.sqrt(v / correction + root) + eps),
            optax.tree_utils.tree_get(memory, "nu"),
        )
    return None


def step_parts(
    policy: Policy,
    loss: PreferenceLoss,
    optimiser: Optimiser | Custom,
    reference: TableArray,
    pairs: Pairs,
    state: training.State,
) -> Parts:
    r"""Split one step, from a state, into its `Parts`.

    The bound on the residual holds for any softmax: with the logits' change :math:`\Delta z`, the
    log-normaliser's second derivative along it is a variance, at most
    :math:`(\max\Delta z - \min\Delta z)^2/4`, so its remainder is at most an eighth of that
    range's square; what the logits themselves depart from :math:`J_z u` counts at most twice.

    Args:
        policy: the policy's form.
        loss: the preference loss.
        optimiser: how gradients become steps.
        reference: the reference's log-probabilities, [prompt, response].
        pairs: the pairs of this step; weight zero for those that it does not see.
        state: parameters and the optimiser's memory before the step.
    """
    params, memory = state
    gradient = gradients.parameters(loss, policy, params, reference, pairs)
    update, memory = optimiser.build().update(gradient, memory, params)
    diagonal = preconditioner(optimiser, memory, params)
    flat, back = ravel_pytree(gradient)
    moved = ravel_pytree(update)[0]
    size = jnp.vdot(flat, flat)
    safe = jnp.where(size > 0, size, 1.0)
    if diagonal is None:
        plain = -jnp.vdot(flat, moved) / safe
        conditioned = plain * flat
    else:
        conditioned = ravel_pytree(diagonal)[0] * flat
        plain = jnp.vdot(flat, conditioned) / safe

    def log_probs_along(direction: jax.Array) -> TableArray:
        found: TableArray = jax.jvp(policy.log_probs, (params,), (back(direction),))[1]
        return found

    chosen, rejected = kernels.pushes(loss, policy, params, reference, pairs)
    after = optax.apply_updates(params, update)
    change = policy.log_probs(after) - policy.log_probs(params)
    logits, first_order = jax.jvp(policy.logits, (params,), (update,))
    shift = policy.logits(after) - logits
    spread = jnp.max(shift, axis=1) - jnp.min(shift, axis=1)
    return Parts(
        chosen=plain * chosen,
        rejected=plain * rejected,
        preconditioning=log_probs_along(plain * flat - conditioned),
        memory=log_probs_along(moved + conditioned),
        residual=change - log_probs_along(moved),
        change=change,
        bound=jnp.max(spread) ** 2 / 8 + 2 * jnp.max(jnp.abs(shift - first_order)),
    )


@functools.partial(jax.jit, static_argnames="batch_size")
def replay(
    world: Scenario,
    policy: Policy,
    loss: PreferenceLoss,
    optimiser: Optimiser,
    keys: jax.Array,
    starts: jax.Array,
    lengths: jax.Array,
    batch_size: int | None,
) -> Parts:
    """Train again and split the steps at which segments end; every array [seed, record, ...].

    Args:
        world: the scenario.
        policy: the policy's form.
        loss: the preference loss.
        optimiser: how gradients become steps.
        keys: a key a seed, as `simulate` makes them.
        starts: first step of each segment, [record].
        lengths: steps in each segment, [record]; the step after it is split.
        batch_size: pairs a step; None for all.
    """

    def one(key: jax.Array) -> Parts:
        params, reference, _ = training.start(world, policy, key)

        def step(number: jax.Array, state: training.State) -> training.State:
            return training.update(
                *(world, policy, loss, optimiser, reference, key, number, state),
                batch_size=batch_size,
            )

        def segment(state: Any, span: tuple[jax.Array, jax.Array]) -> tuple[Any, Parts]:
            start, length = span
            state = jax.lax.fori_loop(start, start + length, step, state)
            pairs = _seen(world.pairs, batch_size, key, start + length)
            return state, step_parts(policy, loss, optimiser, reference, pairs, state)

        begin = (params, optimiser.build().init(params))
        parts: Parts = jax.lax.scan(segment, begin, (starts, lengths))[1]
        return parts

    found: Parts = jax.vmap(one)(keys)
    return found


def _seen(pairs: Pairs, batch_size: int | None, key: jax.Array, step: jax.Array) -> Pairs:
    """All pairs, with weight zero for those outside the step's mini-batch."""
    if batch_size is None:
        return pairs
    taken = sampling.minibatch_indices(len(pairs), batch_size, key, step)
    inside = jnp.zeros_like(pairs.weight).at[taken].set(1.0)
    return dataclasses.replace(pairs, weight=pairs.weight * inside)
