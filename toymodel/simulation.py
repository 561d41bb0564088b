"""Training runs: one entry function, `simulate`, whose parts can all be swapped.

Each run is fitted to the scenario's table (SFT), then trained by closed-form gradients. The
mathematics is written for one seed and mapped over seeds; it is compiled once for all numbers.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

from toymodel import losses, objectives, optimisers, policies, scenarios, training
from toymodel._errors import refuse, whole
from toymodel._typing import Scalar, TableArray
from toymodel.losses import PreferenceLoss
from toymodel.objectives import FixedPairs, Objective
from toymodel.policies import Fit, Policy
from toymodel.scenarios import Scenario
from toymodel.training import State
from toymodel.trajectory import Trajectory

_DEFAULT_RECORDS = 200
_BLOCK = 8  # stops a compiled call makes; fixed, so that every schedule shares one compilation
_STOPS = 50  # at least so many stops a run, for the progress bar and for Ctrl-C


def simulate(
    scenario: Scenario | str,
    policy: Policy | str,
    loss: PreferenceLoss | Objective | str,
    optimiser: optimisers.Optimiser | optax.GradientTransformation | str,
    *,
    steps: int = 2000,
    seed: int | Sequence[int] = 0,
    record: int | Sequence[int] | None = None,
    batch_size: int | None = None,
    learning_rate: Scalar | None = None,
    progress: bool = True,
) -> Trajectory:
    """Fit a policy to a scenario, train it, record its log-probabilities.

    Args:
        scenario: a `Scenario`, or the name of one.
        policy: a `Policy`, or the name of one.
        loss: a `PreferenceLoss`, or the name of one: it trains on the scenario's pairs. Or an
            `Objective`, which finds its data itself: `toymodel.objectives`, `toymodel.rl`.
        optimiser: an optax optimiser, or the name of one with `learning_rate`. By name, other
            numbers never recompile; each optax object compiles anew.
        steps: training steps (epochs, for full batches), at least one.
        seed: one seed, or several: then results get a leading axis ``seed``.
        record: which steps to record: an integer n for every n-th, or the steps themselves, from
            0 (before training) to `steps`. Default: about 200 evenly spaced. Step counts as the
            number of updates made. 0 and the last are always added to an integer.
        batch_size: pairs a step, for a loss. Default: all of them.
        learning_rate: with an optimiser's name only.
        progress: show a progress bar if the run takes more than two seconds.

    Returns:
        The `Trajectory`. The reference is the fitted policy itself.

    Raises:
        InputError: an argument that does not fit, named.

    Example:
        >>> import optax, toymodel as tm
        >>> run = tm.simulate("both_on_policy", "tabular", tm.losses.DPO(beta=0.1),
        ...                   optax.sgd(10.0), steps=100)
        >>> run.log_probs.shape
        (101, 4, 10)
    """
    world = scenarios.get(scenario)
    policy, loss = policies.get(policy), _goal(loss)
    method = optimisers.get(optimiser, learning_rate)
    steps = whole("steps", steps, 1)
    recorded = _record_steps(record, steps)
    seeds = _seeds(seed)
    objective, batch_size = _objective(loss, world, batch_size)
    keys = jax.vmap(jax.random.key)(jnp.asarray(seeds))

    fit, reference, state, memory = _start(world, policy, objective, method, keys)
    blocks = []
    with tqdm(total=steps, unit="step", delay=2, disable=not progress, desc=world.name) as bar:
        for starts, lengths, wanted in _blocks(recorded, steps):
            (state, memory), log_probs = _advance(
                world, policy, objective, method, (state, memory), keys, starts, lengths
            )
            blocks.append(np.asarray(log_probs)[:, wanted])
            bar.update(int(lengths.sum()))
    log_probs = np.concatenate(blocks, axis=1)

    def one_or_all(leaf: jax.Array) -> jax.Array:
        return leaf[0] if np.ndim(seed) == 0 else leaf

    return Trajectory(
        scenario=world,
        policy=policy,
        loss=loss,
        optimiser=optimisers.describe(method),
        batch_size=batch_size,
        seed=int(seeds[0]) if np.ndim(seed) == 0 else tuple(seeds.tolist()),
        steps=recorded,
        log_probs=one_or_all(jnp.asarray(log_probs)),
        reference=one_or_all(reference),
        fit=jax.tree.map(one_or_all, fit),
        params=jax.tree.map(one_or_all, state[0]),
    )


def _goal(loss: Any) -> PreferenceLoss | Objective:
    """A loss or an objective, by name or as it is."""
    if isinstance(loss, Objective):
        return loss
    if isinstance(loss, str) and loss.replace("-", "_") in objectives.REGISTRY:
        made: Objective = objectives.REGISTRY.get(loss)
        return made
    return losses.get(loss)


def _objective(
    loss: PreferenceLoss | Objective, world: Scenario, batch_size: int | None
) -> tuple[Objective, int | None]:
    """What is lowered, and the pairs a step where they are fewer than all."""
    if isinstance(loss, Objective):
        if batch_size is not None:
            expected = f"None, since {type(loss).__name__} chooses its data itself"
            raise refuse("batch_size", batch_size, expected)
        loss.check(world)
        return loss, None
    if batch_size is not None:
        batch_size = whole("batch_size", batch_size, 1, len(world.pairs))
        batch_size = None if batch_size == len(world.pairs) else batch_size
    if not loss.takes_weights and len(np.unique(world.pairs.weight)) > 1:
        raise refuse(
            "scenario.pairs.weight",
            np.asarray(world.pairs.weight).tolist(),
            f"equal weights, since {type(loss).__name__} joins responses of different pairs",
        )
    return FixedPairs(loss, batch_size), batch_size


def _seeds(seed: int | Sequence[int]) -> np.ndarray:
    values = np.atleast_1d(np.asarray(seed))
    if values.size == 0 or values.ndim > 1 or not np.issubdtype(values.dtype, np.integer):
        raise refuse("seed", seed, "a whole number, or a sequence of at least one")
    if np.any(values < 0) or np.any(values >= 2**31):
        raise refuse("seed", seed, "whole numbers from 0 to 2**31 - 1")
    return values


def _record_steps(record: int | Sequence[int] | None, steps: int) -> np.ndarray:
    if record is None:
        record = max(1, steps // _DEFAULT_RECORDS)
    if isinstance(record, int | np.integer) and not isinstance(record, bool):
        every = whole("record", record, 1, steps)
        return np.unique(np.append(np.arange(0, steps + 1, every), steps))
    values = np.asarray(record)
    if values.ndim != 1 or values.size == 0 or not np.issubdtype(values.dtype, np.integer):
        raise refuse("record", record, "n for every n-th step, or a list of whole steps")
    outside = values[(values < 0) | (values > steps)]
    if outside.size:
        raise refuse(
            "record", int(outside[0]), f"steps from 0 to {steps}, within the run", "raise `steps`"
        )
    if np.any(np.diff(values) <= 0):
        raise refuse("record", record, "steps in increasing order, each once")
    return values


def _blocks(recorded: np.ndarray, steps: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The run in equal blocks of stops: where each begins, its length, whether it is recorded.

    Stops that nobody asked for break up long silences and reach the end; empty ones fill the last
    block.
    """
    stops = np.union1d(recorded, np.linspace(0, steps, _STOPS + 1).astype(int))
    lengths = np.diff(stops, prepend=0)
    columns = (stops - lengths, lengths, np.isin(stops, recorded))
    padded = [np.pad(column, (0, -len(stops) % _BLOCK)).reshape(-1, _BLOCK) for column in columns]
    return list(zip(*padded, strict=True))


@jax.jit
def _start(
    world: Scenario,
    policy: Policy,
    objective: Objective,
    method: optimisers.Optimiser,
    keys: jax.Array,
) -> tuple[Fit, TableArray, State, Any]:
    """The SFT stage, the reference it leaves, and all memories when fresh, for every seed."""

    def one(key: jax.Array) -> tuple[Fit, TableArray, State, Any]:
        params, reference, fit = training.start(world, policy, key)
        memory = objective.begin(world, reference, key)
        return fit, reference, (params, method.build().init(params)), memory

    return jax.vmap(one)(keys)


@functools.partial(jax.jit, donate_argnames="states")
def _advance(
    world: Scenario,
    policy: Policy,
    objective: Objective,
    method: optimisers.Optimiser,
    states: tuple[State, Any],
    keys: jax.Array,
    starts: jax.Array,
    lengths: jax.Array,
) -> tuple[tuple[State, Any], TableArray]:
    """Train through one block of segments, recording at the end of each, for every seed."""

    def one(both: tuple[State, Any], key: jax.Array) -> tuple[tuple[State, Any], TableArray]:
        def step(number: jax.Array, both: tuple[State, Any]) -> tuple[State, Any]:
            return training.pursue(world, policy, objective, method, key, number, *both)

        def segment(both: Any, span: tuple[jax.Array, jax.Array]) -> tuple[Any, TableArray]:
            start, length = span
            both = jax.lax.fori_loop(start, start + length, step, both)
            return both, policy.log_probs(both[0][0])

        return jax.lax.scan(segment, both, (starts, lengths))

    return jax.vmap(one)(states, keys)
