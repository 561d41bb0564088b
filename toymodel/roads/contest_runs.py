"""Training every contestant in every world, under every condition, with every candidate setting."""

import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from toymodel import properties, rewards, training, values, worlds
from toymodel._typing import CurveArray, Params, Scalar, TableArray
from toymodel.objectives import Objective
from toymodel.optimisers import Optimiser
from toymodel.policies import MLP, Fit, Policy
from toymodel.roads.contest_methods import METHODS, ORACLE, RATES, STEPS, STRENGTHS
from toymodel.roads.contest_worlds import Data
from toymodel.scenarios import Role, Scenario
from toymodel.worlds import Split, World

PRICE = 0.25  # of a nat of divergence in units of reward: what regret is measured at
RECORDED = (0, 10, 20, 40, 80, 120, 160, 200, 240, 280, STEPS)
#: Of reward models: Adam's learning rates tried; where training stops is chosen from RECORDED.
REWARD_RATES = (3e-3, 3e-2)
CANDIDATES = tuple(itertools.product(STRENGTHS, RATES))
NETWORK = MLP(hidden=(16,))

#: What is measured at every record: name -> what it is.
MEASURED = {
    "reward": "gain in expected true reward over the reference, held-out prompts",
    "divergence": "KL to the reference, held-out prompts (nats)",
    "regret": f"regret at {PRICE:g} a nat, held-out prompts",
    "win_rate": "share of true rewards above a sample of the reference's, held-out prompts",
    "accuracy": "share of held-out pairs ordered rightly by the log-ratio",
    "training_reward": "gain in expected true reward, prompts with labels",
    "drop": "fall of log pi(y-) (nats)",
    "degradation": "fall of log pi(y+) from its peak (nats)",
    "dispersion": "rise of the mass outside the pairs from its least",
}


def policy_of(world: World) -> Policy:
    """The network that policies and reward models share: prompt features in, responses out."""
    return worlds.mlp(world, NETWORK)


Start = tuple[Params, TableArray, Fit]  # parameters, reference and fit of the SFT stage


@jax.jit
def fitted(world: World, keys: jax.Array) -> Start:
    """The SFT stage of every world: parameters, reference and fit, [world]."""

    def one(given: tuple[World, jax.Array]) -> Start:
        world, key = given
        return training.start(world.scenario, policy_of(world), key)

    found: Start = jax.lax.map(one, (world, keys))
    return found


@jax.jit
def learned_rewards(
    world: World, data: Data, starts: Start, keys: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Reward models and their held-out accuracy, from fresh weights and from the SFT policy's.

    Returns:
        Rewards, [world, condition, start and rate, record, prompt, response], and accuracy,
        [..., record].
    """

    def one_world(given: tuple[World, Data, Start, jax.Array]) -> tuple[jax.Array, jax.Array]:
        world, data, (params, _, _), key = given
        model, recorded = policy_of(world), jnp.asarray(RECORDED[1:])
        fresh, logits = model.init(jax.random.fold_in(key, 1), world.shape), model.logits(params)
        from_here = (fresh, jnp.zeros_like(logits)), (params, logits)

        def one(data: Data, rate: Scalar) -> tuple[jax.Array, jax.Array]:
            method = Optimiser("adam", rate, {})

            def fit(start: Params, baseline: TableArray) -> tuple[jax.Array, jax.Array]:
                parts = (model, data.scenario, key, method, start, recorded)
                tables = rewards.trace(*parts, baseline=baseline).rewards
                right = jax.vmap(rewards.accuracy, in_axes=(0, None))(tables, data.heldout)
                return tables, jnp.asarray(right)

            both = zip(*(fit(*start) for start in from_here), strict=True)
            tables, right = (jnp.stack(part) for part in both)
            return tables, right

        over_rates = jax.vmap(one, in_axes=(None, 0), out_axes=1)
        found = jax.vmap(over_rates, in_axes=(0, None))(data, jnp.asarray(REWARD_RATES))
        tables, right = found
        return tables.reshape(len(tables), -1, *tables.shape[3:]), right.reshape(
            len(right), -1, right.shape[-1]
        )

    found: tuple[jax.Array, jax.Array] = jax.lax.map(one_world, (world, data, starts, keys))
    return found


@functools.partial(jax.jit, static_argnames="name")
def contest(
    world: World,
    data: Data,
    learned: jax.Array,
    starts: Start,
    keys: jax.Array,
    *,
    name: str,
) -> dict[str, jax.Array]:
    """Train one method everywhere; `MEASURED`, [world, condition, candidate, record].

    Args:
        world: [world].
        data: [world, condition].
        learned: rewards of the reward models, [world, condition, prompt, response].
        starts: of `fitted`.
        keys: [world].
        name: of `METHODS`, or `ORACLE`.
    """
    method = METHODS["reward model, exact RL" if name == ORACLE else name]
    strengths, rates = map(jnp.asarray, zip(*CANDIDATES, strict=True))

    def one_world(given: tuple) -> dict[str, jax.Array]:
        world, data, learned, (params, reference, _), key = given
        policy = policy_of(world)

        def one(data: Data, learned: TableArray, strength: Scalar, rate: Scalar) -> dict:
            rewards = world.score if name == ORACLE else learned
            objective = method.build(strength, data, rewards)
            part = data.first_round if method.by_rounds else data.scenario
            run = (part, policy, objective, Optimiser("adam", rate, {}), params, reference, key)
            return measure(world, data, reference, train(*run))

        over = jax.vmap(one, in_axes=(None, None, 0, 0))
        return jax.vmap(over, in_axes=(0, 0, None, None))(data, learned, strengths, rates)

    found: dict[str, jax.Array] = jax.lax.map(one_world, (world, data, learned, starts, keys))
    return found


def train(
    scenario: Scenario,
    policy: Policy,
    objective: Objective,
    method: Optimiser,
    params: Params,
    reference: TableArray,
    key: jax.Array,
) -> CurveArray:
    """Log-probabilities at `RECORDED`, as `toymodel.simulate` would give them."""

    def step(number: jax.Array, both: tuple) -> tuple:
        return training.pursue(scenario, policy, objective, method, key, number, *both)

    def segment(both: tuple, span: jax.Array) -> tuple:
        both = jax.lax.fori_loop(span[0], span[1], step, both)
        return both, policy.log_probs(both[0][0])

    start = (params, method.build().init(params)), objective.begin(scenario, reference, key)
    spans = jnp.asarray(list(itertools.pairwise(RECORDED)))
    tables: CurveArray = jax.lax.scan(segment, start, spans)[1]
    return jnp.concatenate([reference[None], tables])


def measure(
    world: World, data: Data, reference: TableArray, log_probs: CurveArray
) -> dict[str, jax.Array]:
    """One run's `MEASURED`, [record]."""
    truth, is_heldout = world.score, world.split == Split.HELD_OUT

    def heldout(function: Callable[..., jax.Array], *others: Any) -> jax.Array:
        by_prompt = jax.vmap(lambda table: function(table, *others))(log_probs)
        return jnp.mean(by_prompt, axis=-1, where=is_heldout[None])

    def right(table: TableArray) -> jax.Array:
        return jnp.asarray(rewards.accuracy(table - reference, data.heldout))

    expected = jax.vmap(values.expected_reward, in_axes=(0, None))(log_probs, truth)
    gain = expected - expected[:1]
    roles = data.scenario.roles
    has_pair = jnp.any(roles == Role.OWN_CHOSEN, -1) & jnp.any(roles == Role.OWN_REJECTED, -1)

    def labelled(by_prompt: jax.Array) -> jax.Array:
        return jnp.mean(jnp.where(has_pair, by_prompt, 0), axis=-1) / jnp.mean(has_pair)

    chosen, rejected, outside = jax.vmap(properties.masses, in_axes=(0, None))(log_probs, roles)
    return {
        "reward": jnp.mean(gain, axis=-1, where=is_heldout[None]),
        "divergence": heldout(values.divergence, reference),
        "regret": heldout(values.regret, truth, reference, PRICE),
        "win_rate": heldout(values.win_rate, reference, truth),
        "accuracy": jax.vmap(right)(log_probs),
        "training_reward": labelled(gain),
        "drop": labelled(rejected[:1] - rejected),
        "degradation": labelled(jax.lax.cummax(chosen) - chosen),
        "dispersion": labelled(outside - jax.lax.cummin(outside)),
    }


def chosen_rewards(
    tables: np.ndarray, accuracy: np.ndarray, selection: int
) -> tuple[np.ndarray, np.ndarray]:
    """Each condition's reward models at the start, rate and record that order most pairs rightly.

    Args:
        tables: of `learned_rewards`.
        accuracy: of `learned_rewards`.
        selection: the first so many worlds decide.

    Returns:
        Rewards, [world, condition, prompt, response], and their accuracy, [world, condition].
    """
    mean = accuracy[:selection].mean(axis=0)  # [condition, start and rate, record]
    best = mean.reshape(len(mean), -1).argmax(axis=-1)
    rate, record = np.unravel_index(best, mean.shape[1:])
    conditions = np.arange(len(mean))
    return tables[:, conditions, rate, record], accuracy[:, conditions, rate, record]
