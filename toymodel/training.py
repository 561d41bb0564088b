"""One update of one run, and where a run starts: what simulations and sweeps have in common."""

from typing import Any

import jax
import optax

from toymodel._typing import Params, TableArray
from toymodel.losses import PreferenceLoss
from toymodel.objectives import FixedPairs, Objective
from toymodel.optimisers import Custom, Optimiser
from toymodel.policies import Fit, Policy
from toymodel.scenarios import Scenario

State = tuple[Any, Any]  # parameters and the optimiser's memory


def start(scenario: Scenario, policy: Policy, key: jax.Array) -> tuple[Params, TableArray, Fit]:
    """The SFT stage: parameters, the reference they are, and how well they fit."""
    params, fit = policy.fit(scenario.log_table, key)
    return params, policy.log_probs(params), fit


def pursue(
    scenario: Scenario,
    policy: Policy,
    objective: Objective,
    optimiser: Optimiser | Custom,
    key: jax.Array,
    number: jax.Array,
    state: State,
    memory: Any,
) -> tuple[State, Any]:
    """The state, and the objective's memory, after one more update.

    Args:
        scenario: the world.
        policy: the policy's form.
        objective: what is lowered.
        optimiser: how gradients become steps.
        key: the run's key.
        number: how many updates were made before.
        state: parameters and the optimiser's memory.
        memory: the objective's memory.
    """
    params, moments = state
    log_probs = policy.log_probs(params)
    memory = objective.refresh(memory, scenario, log_probs, key, number)
    table = objective.logit_gradient(memory, scenario, log_probs, key, number)
    updates, moments = optimiser.build().update(policy.vjp(params, table), moments, params)
    return (optax.apply_updates(params, updates), moments), memory


def update(
    scenario: Scenario,
    policy: Policy,
    loss: PreferenceLoss,
    optimiser: Optimiser | Custom,
    reference: TableArray,
    key: jax.Array,
    number: jax.Array,
    state: State,
    *,
    batch_size: int | None,
) -> State:
    """The state after one more update on the scenario's preference pairs.

    Args:
        scenario: the world.
        policy: the policy's form.
        loss: the preference loss.
        optimiser: how gradients become steps.
        reference: the reference's log-probabilities, [prompt, response].
        key: the run's key, for mini-batches.
        number: how many updates were made before.
        state: parameters and the optimiser's memory.
        batch_size: pairs a step; None for all.
    """
    objective = FixedPairs(loss, batch_size)
    return pursue(scenario, policy, objective, optimiser, key, number, state, reference)[0]
