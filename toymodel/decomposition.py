r"""Why each response moved: a step's change split into pushes of pairs and the optimiser's doing.

A step :math:`\Delta\theta = u` moves log-probabilities by :math:`Ju` to first order, J their
derivative. With the gradient g, a sum over halves of pairs, and a diagonal preconditioner D,

.. math:: u = -c\,g \;-\; (D - c)\,g \;+\; (u + D g)

whose terms are the plain step, preconditioning (D itself may remember: Adam's v does), and momentum
(what differs because past gradients are in the step). The scalar c fits the plain step to the
preconditioned one: :math:`c = g^T D g / g^T g`. The plain step is a sum of the kernel's pushes
(`toymodel.kernels.pushes`). Of an optimiser whose D `toymodel.preconditioners.diagonal` does not
read, c fits the plain step to u, and all that it leaves is one part without a cause.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr
from jax.flatten_util import ravel_pytree

from toymodel import gradients, kernels, preconditioners, sampling, training
from toymodel._errors import refuse, whole
from toymodel._struct import number, struct
from toymodel._typing import Scalar, TableArray
from toymodel.losses import PreferenceLoss
from toymodel.optimisers import Custom, Optimiser
from toymodel.policies import Policy
from toymodel.scenarios import Pairs, Scenario

#: The parts of a step that are not pushes of pairs.
OF_THE_OPTIMISER = ("preconditioning", "momentum", "unsplit")


@struct(eq=False)
class Parts:
    """One step's change of every log-probability (nats), in parts that add up to `change`."""

    chosen: jax.Array = number(doc="push of each pair's chosen half, [prompt, response, pair]")
    rejected: jax.Array = number(doc="push of each pair's rejected half, [prompt, response, pair]")
    preconditioning: TableArray = number(doc="because sizes of steps differ between parameters")
    momentum: TableArray = number(doc="because past gradients are in the step")
    unsplit: TableArray = number(doc="all but the plain step, of an optimiser that is not read")
    residual: TableArray = number(doc="what is not first order in the step")
    change: TableArray = number(doc="the change itself, [prompt, response]")
    bound: Scalar = number(doc="no residual of this step can be larger")


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
        pairs: the pairs that this step sees.
        state: parameters and the optimiser's memory before the step.
    """
    params, memory = state
    gradient = gradients.parameters(loss, policy, params, reference, pairs)
    update, memory = optimiser.build().update(gradient, memory, params)
    diagonal = None
    if isinstance(optimiser, Optimiser):
        options = {**optimiser.options, **dict(optimiser.flags)}
        diagonal = preconditioners.diagonal(
            optimiser.name, optimiser.learning_rate, options, memory, params
        )
    flat, back = ravel_pytree(gradient)
    moved = ravel_pytree(update)[0]
    size = jnp.vdot(flat, flat)
    safe = jnp.where(size > 0, size, 1.0)

    def log_probs_along(direction: jax.Array) -> TableArray:
        found: TableArray = jax.jvp(policy.log_probs, (params,), (back(direction),))[1]
        return found

    is_read = diagonal is not None
    conditioned = ravel_pytree(diagonal)[0] * flat if is_read else -moved
    plain = jnp.vdot(flat, conditioned) / safe
    rest = log_probs_along(plain * flat - conditioned)

    chosen, rejected = kernels.pushes(loss, policy, params, reference, pairs)
    after = optax.apply_updates(params, update)
    change = policy.log_probs(after) - policy.log_probs(params)
    logits, first_order = jax.jvp(policy.logits, (params,), (update,))
    shift = policy.logits(after) - logits
    spread = jnp.max(shift, axis=1) - jnp.min(shift, axis=1)
    return Parts(
        chosen=plain * chosen,
        rejected=plain * rejected,
        preconditioning=rest if is_read else jnp.zeros_like(rest),
        momentum=log_probs_along(moved + conditioned),
        unsplit=jnp.zeros_like(rest) if is_read else rest,
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
            pairs, taken = world.pairs, jnp.arange(len(world.pairs))
            if batch_size is not None:
                taken = sampling.minibatch_indices(len(pairs), batch_size, key, start + length)
                pairs = sampling.minibatch(pairs, batch_size, key, start + length)
            parts = step_parts(policy, loss, optimiser, reference, pairs, state)
            shape = (*world.shape, len(world.pairs))  # pairs that the step does not see push by 0
            halves = {
                half: jnp.zeros(shape, parts.change.dtype).at[:, :, taken].set(getattr(parts, half))
                for half in ("chosen", "rejected")
            }
            return state, dataclasses.replace(parts, **halves)

        begin = (params, optimiser.build().init(params))
        parts: Parts = jax.lax.scan(segment, begin, (starts, lengths))[1]
        return parts

    found: Parts = jax.vmap(one)(keys)
    return found


def steps_to_split(at: int | Sequence[int], steps: int) -> np.ndarray:
    """Which steps of a run are split.

    Args:
        at: how many, evenly spaced, or which, from 0.
        steps: of the run.

    Raises:
        InputError: what is no step of the run, or steps out of order.

    Example:
        >>> steps_to_split(3, 101)
        array([  0,  50, 100])
    """
    if np.ndim(at) == 0:
        return np.unique(np.linspace(0, steps - 1, whole("at", at, 1)).astype(int))
    chosen = np.asarray(at)
    is_whole = chosen.ndim == 1 and np.issubdtype(chosen.dtype, np.integer)
    if not is_whole or chosen.size == 0 or chosen.min() < 0 or chosen.max() >= steps:
        raise refuse("at", at, f"a number of steps >= 1, or whole steps from 0 to {steps - 1}")
    if np.any(np.diff(chosen) <= 0):
        raise refuse("at", at, "steps in increasing order, each once")
    return chosen


def grouped(parts: xr.Dataset, prompt: int) -> xr.Dataset:
    """The parts of `Trajectory.decompose` at one prompt, pairs gathered into own and other.

    Args:
        parts: what `decompose` gave.
        prompt: which prompt.

    Returns:
        A Dataset over step and response (and seed): ``own chosen``, ``own rejected``, ``other
        pairs``, the optimiser's parts, ``residual``, and their sum ``change``.

    Example:
        >>> import toymodel as tm
        >>> run = tm.simulate("both_on_policy", "tabular", "dpo", "sgd", learning_rate=1.0, steps=9)
        >>> found = grouped(run.decompose(at=[5]), prompt=0)
        >>> bool(abs(found["other pairs"]).max() == 0)  # nothing is shared
        True
    """
    at = parts.sel(prompt=prompt) if "prompt" in parts.coords else parts.isel(prompt=prompt)
    own = at["pair_prompt"] == prompt
    halves = {f"own {half}": at[half].where(own, 0).sum("pair") for half in ("chosen", "rejected")}
    others = (at["chosen"] + at["rejected"]).where(~own, 0).sum("pair")
    rest = {name: at[name] for name in (*OF_THE_OPTIMISER, "residual", "change")}
    return xr.Dataset({**halves, "other pairs": others, **rest})
