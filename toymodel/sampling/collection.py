"""Collecting preference pairs: who compares what, as data or as the whole population."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from toymodel._errors import InputError, refuse
from toymodel._typing import ArrayLike, PairArray, TableArray
from toymodel.sampling.annotators import Annotator
from toymodel.sampling.base import part
from toymodel.sampling.comparisons import Comparison
from toymodel.scenarios import Pairs, Scenario, build, true_rewards


def compare(
    key: jax.Array,
    comparison: Comparison,
    annotator: Annotator,
    prompt: PairArray,
    log_probs: TableArray,
    rewards: TableArray,
    weight: PairArray | None = None,
) -> Pairs:
    """One fresh pair for each prompt given; what `collect` and iterative training are made of.

    Nothing is checked here, so that it runs inside compiled code and maps over anything.

    Args:
        key: for the draws and for the annotator.
        comparison: which responses are compared.
        annotator: who prefers.
        prompt: index of each pair's prompt, [pair].
        log_probs: log-probabilities (nats) of the present policy, [prompt, response].
        rewards: true rewards, [prompt, response].
        weight: weights of the pairs, [pair]; default all 1.
    """
    allowed = jnp.ones(log_probs.shape, bool)
    chosen, rejected = comparison.draw(key, annotator, rewards, prompt, log_probs, allowed)
    return Pairs(
        prompt=prompt,
        chosen=chosen.astype(prompt.dtype),
        rejected=rejected.astype(prompt.dtype),
        weight=jnp.ones(prompt.shape) if weight is None else weight,
    )


def collect(
    key: jax.Array,
    scenario: Scenario,
    comparison: Comparison | str,
    annotator: Annotator | str,
    log_probs: TableArray | None = None,
    *,
    count: int | None = None,
    prompts: ArrayLike | None = None,
) -> Pairs:
    """Fresh preference pairs in a world, in rounds over the prompts.

    Args:
        key: for the draws and for the annotator.
        scenario: the world; it must have true rewards.
        comparison: which responses are compared.
        annotator: who prefers.
        log_probs: log-probabilities (nats) of the present policy, [prompt, response]; default:
            the scenario's own table.
        count: how many pairs; default: as many as the scenario has.
        prompts: which prompts, in which order; default: those that the scenario has pairs on, so
            that held-out prompts stay out. Needed where scenarios are traced.

    Returns:
        The pairs, each of weight 1.

    Raises:
        InputError: a world without rewards, tables of another shape, too few responses that can
            be drawn, or an argument of the wrong kind.

    Example:
        >>> from toymodel import sampling, scenarios
        >>> world = scenarios.random_rewards(jax.random.key(0), scenarios.both_on_policy())
        >>> pairs = collect(jax.random.key(1), world, sampling.BestWorst(10), sampling.Ideal())
        >>> pairs.chosen.tolist() == world.rewards.argmax(-1).tolist()
        True
    """
    comparison, annotator = checked(comparison, annotator, scenario)
    log_probs = scenario.log_table if log_probs is None else log_probs
    if jnp.shape(log_probs) != scenario.shape:
        expected = f"[prompt, response], {scenario.shape}"
        raise refuse("log_probs", f"shape {jnp.shape(log_probs)}", expected)
    count = len(scenario.pairs) if count is None else count
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise refuse("count", count, "a whole number of pairs >= 1")
    order = _prompts(scenario, prompts)
    prompt = order[jnp.arange(count) % len(order)]
    rewards = true_rewards(scenario)
    return compare(key, comparison, annotator, prompt, jnp.asarray(log_probs), rewards)


def checked(
    comparison: Comparison | str, annotator: Annotator | str, scenario: Scenario
) -> tuple[Comparison, Annotator]:
    """The two, by name or as they are, where they can work in the world.

    Raises:
        InputError: as `collect`.
    """
    true_rewards(scenario)
    one = part("comparison", comparison, Comparison)  # type: ignore[type-abstract]
    two = part("annotator", annotator, Annotator)  # type: ignore[type-abstract]
    one.check(scenario.shape)
    two.check(scenario.shape)
    return one, two


def _prompts(scenario: Scenario, given: ArrayLike | None) -> PairArray:
    if given is None:
        if isinstance(scenario.pairs.prompt, jax.core.Tracer):
            mend = "say which, as concrete numbers"
            raise refuse("prompts", None, "the prompts, since this world is traced", mend)
        return jnp.asarray(np.unique(np.asarray(scenario.pairs.prompt)), int)
    order = np.asarray(given)
    whole = order.ndim == 1 and order.size > 0 and np.issubdtype(order.dtype, np.integer)
    if not whole or order.min() < 0 or order.max() >= scenario.shape[0]:
        expected = f"whole numbers from 0 to {scenario.shape[0] - 1}, [prompt]"
        raise refuse("prompts", given, expected)
    return jnp.asarray(order, int)


def all_pairs(
    scenario: Scenario, annotator: Annotator | str, *, prompts: ArrayLike | None = None
) -> Pairs:
    r"""The population: every two responses compared, both orders weighted as often as they occur.

    .. math:: w(x, y, y') = P(y \succ y')

    With `BradleyTerry` of temperature tau, DPO's only minimiser on these pairs is RLHF's optimum
    for the reward r / tau (`toymodel.exact.rlhf_policy`).

    Args:
        scenario: the world; it must have true rewards.
        annotator: who prefers.
        prompts: which prompts; default: those that the scenario has pairs on.

    Returns:
        The pairs, prompts times n (n - 1) of them; the two orders' weights add up to 1.

    Raises:
        InputError: as `collect`.

    Example:
        >>> from toymodel import scenarios
        >>> world = scenarios.build([[0.5, 0.5]], [(0, 0, 1)], rewards=[[1.0, 0.0]])
        >>> pairs = all_pairs(world, "bradley_terry")
        >>> [(int(c), round(float(w), 3)) for c, w in zip(pairs.chosen, pairs.weight)]
        [(0, 0.731), (1, 0.269)]
    """
    who = part("annotator", annotator, Annotator)  # type: ignore[type-abstract]
    rewards = true_rewards(scenario)
    who.check(scenario.shape)
    order, responses = _prompts(scenario, prompts), scenario.shape[1]
    one, two = map(jnp.asarray, np.nonzero(~np.eye(responses, dtype=bool)))
    prompt = jnp.repeat(order, len(one))
    chosen, rejected = jnp.tile(one, len(order)), jnp.tile(two, len(order))
    return Pairs(prompt, chosen, rejected, who.probability(rewards, prompt, chosen, rejected))


def with_pairs(scenario: Scenario, pairs: Pairs) -> Scenario:
    """The same world with other preference pairs; every response's role follows from them.

    Not for compiled code: roles are found, and pairs checked, in plain Python.

    Raises:
        InputError: indices out of range, no positive weight, or pairs that are traced.

    Example:
        >>> from toymodel import scenarios
        >>> world = scenarios.build([[0.5, 0.3, 0.2]], [(0, 0, 1)])
        >>> one = jnp.ones(1, int)
        >>> other = with_pairs(world, Pairs(0 * one, one, 2 * one, jnp.ones(1)))
        >>> [scenarios.Role(int(k)).title for k in other.roles[0]]
        ['never in the data', 'own chosen', 'own rejected']
    """
    columns = jax.tree.leaves(pairs)
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((scenario, pairs))):
        raise InputError(
            "pairs: got traced arrays, expected concrete ones. To mend it: call with_pairs "
            "outside of jit and vmap, or use compare inside."
        )
    rows = np.stack([np.asarray(column, float) for column in columns], axis=1).tolist()
    made = build(log_table=scenario.log_table, pairs=rows, name=scenario.name)
    return dataclasses.replace(scenario, pairs=made.pairs, roles=made.roles)
