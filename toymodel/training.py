"""One update of one run, and where a run starts: what simulations and sweeps have in common."""

from typing import Any

import jax
import optax

from toymodel import gradients, sampling
from toymodel._typing import Params, TableArray
from toymodel.losses import PreferenceLoss
from toymodel.optimisers import Custom, Optimiser
from toymodel.policies import Fit, Policy
from toymodel.scenarios import Scenario

State = tuple[Any, Any]  # parameters and the optimiser's memory


def start(scenario: Scenario, policy: Policy, key: jax.Array) -> tuple[Params, TableArray, Fit]:
    """The SFT stage: parameters, the reference they are, and how well they fit."""
    params, fit = policy.fit(scenario.log_table, key)
    return params, policy.log_probs(params), fit


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
    """The state after one more update on the preference pairs.

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
    params, memory = state
    pairs = scenario.pairs
    if batch_size is not None:
        pairs = sampling.minibatch(pairs, batch_size, key, number)
    gradient = gradients.parameters(loss, policy, params, reference, pairs)
    updates, memory = optimiser.build().update(gradient, memory, params)
    return optax.apply_updates(params, updates), memory
