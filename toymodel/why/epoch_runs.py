"""Training with a schedule of pairs: how often each is seen is data, so one program serves all.

Every run makes the same number of updates on equal batches. What differs is how many different
pairs there are: few are seen in many epochs, all of them in one.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from toymodel import optimisers, properties, training, worlds
from toymodel.losses import PreferenceLoss
from toymodel.policies import Policy
from toymodel.scenarios import Role
from toymodel.worlds import Split, World

#: What is measured: name -> what it is. Each has a value for each split of the prompts.
MEASURED = {
    "drop": "fall of log pi(y-) from start to end (nats)",
    "drawdown": "degradation: fall of log pi(y+) from its peak, of each prompt (nats)",
    "mean_drawdown": "fall of the mean log pi(y+) from its peak (nats)",
    "chosen_change": "change of log pi(y+) from start to end (nats)",
    "dispersion": "rise of the mass outside the pair from its least",
    "accuracy": "share of pairs of the split, seen or not, with a positive margin",
    "drift": "KL to the reference (nats)",
    "heldout_gain": "rise of the mass on responses that are in no pair",
    "better_gain": "rise of the mass on responses truly better than the chosen",
    "score_gain": "rise of the expected true score",
}


def schedule(pairs: int, batch: int, updates: int, seed: int) -> np.ndarray:
    """Which pairs each update sees, [update, batch]: each epoch a fresh order of the first `pairs`.

    Args:
        pairs: how many different ones; a multiple of `batch`.
        batch: pairs an update.
        updates: how many; `updates` x `batch` is a multiple of `pairs`.
        seed: of the orders.
    """
    generator = np.random.default_rng(seed)
    epochs = updates * batch // pairs
    orders = [generator.permutation(pairs) for _ in range(epochs)]
    return np.concatenate(orders).reshape(updates, batch)


@functools.partial(jax.jit, static_argnames=("make", "optimiser", "every"))
def trace(
    world: World,
    roles: jax.Array,
    schedules: jax.Array,
    rates: jax.Array,
    keys: jax.Array,
    *,
    make: Callable[[World], Policy],
    loss: PreferenceLoss,
    optimiser: str,
    every: int,
) -> dict[str, jax.Array]:
    """Train with every schedule at every rate; `MEASURED`, [world, schedule, rate, split].

    Args:
        world: several, stacked along a leading axis.
        roles: those of the pairs that a schedule uses, [world, schedule, prompt, response].
        schedules: as from `schedule`, [world, schedule, update, batch].
        rates: learning rates, [rate].
        keys: for the fits, [world].
        make: the policy of a world.
        loss: the preference loss.
        optimiser: its name.
        every: updates from one record to the next.

    Returns:
        Also ``chosen`` and ``rejected``: mean log-probabilities over training,
        [world, schedule, rate, record, split].
    """

    def one_world(given: tuple[World, jax.Array, jax.Array, jax.Array]) -> dict[str, jax.Array]:
        world, roles, schedules, key = given
        policy = make(world)
        params, reference, _ = training.start(world.scenario, policy, key)

        def one(roles: jax.Array, indices: jax.Array, rate: jax.Array) -> dict[str, jax.Array]:
            method = optimisers.Optimiser(optimiser, rate, {})

            def update(state: training.State, seen: jax.Array) -> tuple[training.State, None]:
                pairs = jax.tree.map(lambda leaf: leaf[seen], world.scenario.pairs)
                batch = dataclasses.replace(world.scenario, pairs=pairs)
                parts = (batch, policy, loss, method, reference, key, jnp.zeros((), int), state)
                return training.update(*parts, batch_size=None), None

            def segment(state: training.State, part: jax.Array) -> tuple:
                state, _ = jax.lax.scan(update, state, part)
                return state, policy.log_probs(state[0])

            start = (params, method.build().init(params))
            parts = indices.reshape(-1, every, indices.shape[-1])
            records: jax.Array = jax.lax.scan(segment, start, parts)[1]
            return _measure(world, roles, jnp.concatenate([reference[None], records]), every)

        over_rates = jax.vmap(one, in_axes=(None, None, 0))
        return jax.vmap(over_rates, in_axes=(0, 0, None))(roles, schedules, rates)

    found: dict[str, jax.Array] = jax.lax.map(one_world, (world, roles, schedules, keys))
    return found


def _measure(
    world: World, roles: jax.Array, log_probs: jax.Array, every: int
) -> dict[str, jax.Array]:
    """One run's `MEASURED`, training prompts by their own pairs, the others by evaluation pairs."""
    steps = every * jnp.arange(len(log_probs))
    is_training = (world.split == Split.TRAINING)[:, None]
    roles = jnp.where(is_training, roles, world.evaluation.roles)
    sizes = properties.measure(steps, log_probs, roles)
    masses = jax.vmap(properties.masses, in_axes=(0, None))(log_probs, roles)
    chosen, rejected = (
        worlds.by_split(world, jnp.where(jnp.isneginf(mass), jnp.nan, mass)) for mass in masses[:2]
    )
    heldout = worlds.heldout_mass(world, log_probs)
    reference, last = log_probs[0], log_probs[-1:]
    gain = jnp.exp(last[0]) - jnp.exp(reference)
    own = jnp.where(roles == Role.OWN_CHOSEN, world.score, jnp.inf)
    better = jnp.sum(gain * (world.score > jnp.min(own, axis=-1)[:, None]), axis=-1)
    has_pair = jnp.isfinite(sizes.drop)
    return {
        **{name: worlds.by_split(world, getattr(sizes, name)) for name in ("drop", "drawdown")},
        "mean_drawdown": jnp.max(chosen, axis=0) - chosen[-1],
        "chosen_change": chosen[-1] - chosen[0],
        "dispersion": worlds.by_split(world, sizes.dispersion),
        "accuracy": worlds.accuracy(world, last, reference)[0],
        "drift": worlds.drift(world, last, reference)[0],
        "heldout_gain": heldout[-1] - heldout[0],
        "better_gain": worlds.by_split(world, jnp.where(has_pair, better, jnp.nan)),
        "score_gain": worlds.by_split(world, jnp.sum(gain * world.score, axis=-1)),
        "chosen": chosen,
        "rejected": rejected,
    }
