"""Reward models and DPO on the same pairs, batches and features: their accuracy over training."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from toymodel import exact, rewards, training
from toymodel._typing import Params, Scalar, TableArray
from toymodel.losses import DPO
from toymodel.optimisers import Optimiser
from toymodel.policies import LogLinear, Policy
from toymodel.scenarios import Pairs, Scenario
from toymodel.worlds import World

BETA = 0.1
_COIN = 0x636F696E

#: Who ranks responses: name -> what it is.
ARMS: Mapping[str, str] = {
    "reward model": "fresh parameters (zero for the log-linear form)",
    "reward model, SFT start": "the SFT policy's parameters; rewards are changes of its logits",
    "DPO": f"the SFT policy's parameters; the implicit reward at beta {BETA:g}",
}

#: How much the reward of each moves when a logit moves by one.
SCALE: Mapping[str, float] = {"reward model": 1.0, "reward model, SFT start": 1.0, "DPO": BETA}


class Run(NamedTuple):
    """One run: its world's data, its start, its learning rate. Of several, axes lead."""

    world: World
    heldout: Pairs
    start: Params
    key: jax.Array
    rate: Scalar


@functools.partial(jax.jit, static_argnames="make")
def sft(world: World, keys: jax.Array, *, make: Callable[[World], Policy]) -> tuple[Params, Params]:
    """Fresh parameters and those of the SFT policy, [world]."""

    def one(given: tuple[World, jax.Array]) -> tuple[Params, Params]:
        world, key = given
        policy = make(world)
        fitted, _, _ = training.start(world.scenario, policy, key)
        fresh = policy.init(jax.random.fold_in(key, 1), world.shape)
        if isinstance(policy, LogLinear):  # its random weights would be random rewards
            fresh = jax.tree.map(jnp.zeros_like, fresh)
        return fresh, fitted

    found: tuple[Params, Params] = jax.lax.map(one, (world, keys))
    return found


@functools.partial(jax.jit, static_argnames=("make", "arm", "batch_size"))
def trace(
    runs: Run,
    recorded: jax.Array,
    *,
    make: Callable[[World], Policy],
    arm: str,
    batch_size: int,
) -> dict[str, jax.Array]:
    """Train every run; curves [run, record].

    Args:
        runs: several, stacked along a leading axis.
        recorded: updates at which to record, increasing, [record].
        make: the policy form of a world.
        arm: of `ARMS`.
        batch_size: pairs an update.

    Returns:
        ``heldout``: accuracy on held-out pairs; ``training`` and ``loss``: accuracy and
        Bradley-Terry loss on the training pairs as they are labelled.
    """

    def one(run: Run) -> dict[str, jax.Array]:
        policy, scenario = make(run.world), run.world.scenario
        method = Optimiser("adam", run.rate, {})
        if arm == "DPO":
            parts = (policy, scenario, run.key, method, run.start, recorded)
            tables = implicit_rewards(*parts, batch_size=batch_size)
        else:
            base = None if arm == "reward model" else policy.logits(run.start)
            tables = rewards.trace(
                *(policy, scenario, run.key, method, run.start, recorded),
                batch_size=batch_size,
                baseline=base,
            ).rewards

        def measured(table: TableArray) -> dict[str, jax.Array]:
            return {
                "heldout": jnp.asarray(rewards.accuracy(table, run.heldout)),
                "training": jnp.asarray(rewards.accuracy(table, scenario.pairs)),
                "loss": jnp.asarray(rewards.objective(table, scenario.pairs)),
            }

        return jax.vmap(measured)(tables)

    return jax.vmap(one)(runs)


def implicit_rewards(
    policy: Policy,
    scenario: Scenario,
    key: jax.Array,
    method: Optimiser,
    params: Params,
    recorded: jax.Array,
    *,
    batch_size: int,
) -> jax.Array:
    """DPO's implicit rewards over training, as `toymodel.simulate` trains.

    Args:
        policy: the policy's form.
        scenario: the world.
        key: for mini-batches.
        method: how gradients become steps.
        params: the reference's, where training starts.
        recorded: updates at which to record, increasing, [record].
        batch_size: pairs an update.

    Returns:
        [record, prompt, response].
    """
    reference, loss = policy.log_probs(params), DPO(beta=BETA)

    def update(number: jax.Array, state: training.State) -> training.State:
        parts = (scenario, policy, loss, method, reference, key, number, state)
        return training.update(*parts, batch_size=batch_size)

    def segment(state: training.State, span: tuple[jax.Array, jax.Array]) -> Any:
        state = jax.lax.fori_loop(*span, update, state)
        return state, exact.implied_reward(policy.log_probs(state[0]), reference, BETA)

    spans = jnp.concatenate([jnp.zeros_like(recorded[:1]), recorded[:-1]]), recorded
    tables: jax.Array = jax.lax.scan(segment, (params, method.build().init(params)), spans)[1]
    return tables


def blockwise(
    runs: Run, rows: np.ndarray, rates: np.ndarray, *, block: int, recorded: jax.Array, **how: Any
) -> dict[str, np.ndarray]:
    """`trace` of many runs in blocks of one size, the last one filled up: one compilation.

    Args:
        runs: the worlds and where they start, stacked.
        rows: which of them each run is, [run].
        rates: its learning rate, [run].
        block: runs a call.
        recorded: as for `trace`.
        **how: as for `trace`.

    Returns:
        Curves [run, record].
    """
    parts: list[dict[str, np.ndarray]] = []
    for first in range(0, len(rows), block):
        count = min(block, len(rows) - first)
        at = first + np.arange(block) % count
        part = jax.tree.map(lambda leaf, at=at: leaf[rows[at]], runs)
        got = trace(part._replace(rate=jnp.asarray(rates[at])), recorded, **how)
        parts.append({name: np.asarray(value)[:count] for name, value in got.items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def relabel(key: jax.Array, scenario: Scenario, score: TableArray, temperature: Scalar) -> Scenario:
    r"""The scenario with each pair turned round with probability :math:`\sigma(-gap/\tau)`.

    That is how a Bradley-Terry annotator labels pairs that are in their true order.

    Args:
        key: for the draws.
        scenario: its pairs are in their true order.
        score: the true score, [prompt, response].
        temperature: tau; 0 turns none.
    """
    pairs = scenario.pairs
    chosen, rejected = pairs.read(score)
    coin = jax.random.logistic(jax.random.fold_in(key, _COIN), chosen.shape)
    keeps = chosen - rejected + temperature * coin > 0
    first = jnp.where(keeps, pairs.chosen, pairs.rejected)
    second = jnp.where(keeps, pairs.rejected, pairs.chosen)
    turned = dataclasses.replace(pairs, chosen=first, rejected=second)
    return dataclasses.replace(scenario, pairs=turned)
