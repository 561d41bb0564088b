"""What generalises: accuracy, drift and mass on held-out responses, by split of the prompts.

Each takes recorded log-probabilities, [record, prompt, response], and gives curves [record, split]
in the order of `Split`; a split without prompts (or pairs) has NaN. The three properties of
evaluation prompts are `toymodel.properties.measure` with the roles of ``world.evaluation``.
"""

import jax
import jax.numpy as jnp

from toymodel._typing import CurveArray, TableArray
from toymodel.worlds.world import Split, World


def by_split(world: World, values: jax.Array) -> jax.Array:
    """The mean over the prompts of each split; prompts with NaN do not count.

    Args:
        world: the world.
        values: one number a prompt, [..., prompt].

    Returns:
        [..., split].

    Example:
        >>> from toymodel import worlds
        >>> world = worlds.generate(jax.random.key(0), prompts=20, responses=10)
        >>> by_split(world, world.split).tolist()
        [0.0, 1.0, 2.0]
    """
    own = world.split[None, :] == jnp.asarray(list(Split))[:, None]  # [split, prompt]
    lead = (None,) * (jnp.ndim(values) - 1)
    return jnp.nanmean(jnp.where(own[lead], values[..., None, :], jnp.nan), axis=-1)


def accuracy(world: World, log_probs: CurveArray, reference: TableArray) -> jax.Array:
    """Share of pairs whose margin (of log-ratios to the reference) is positive, [record, split].

    Training prompts with their training pairs, the others with their evaluation pairs. A margin
    of 0 counts half, so the reference itself has 0.5.

    Args:
        world: the world.
        log_probs: log-probabilities (nats), [record, prompt, response].
        reference: the reference's, [prompt, response].

    Returns:
        [record, split].

    Example:
        >>> from toymodel import worlds
        >>> world = worlds.generate(jax.random.key(0), prompts=20, responses=10)
        >>> table = world.scenario.log_table
        >>> accuracy(world, jnp.stack([table, jax.nn.log_softmax(world.score)]), table)[0].tolist()
        [0.5, 0.5, 0.5]
    """
    log_ratio = log_probs - reference[None]
    parts = []
    for pairs in (world.scenario.pairs, world.evaluation.pairs):
        margin = (
            log_ratio[:, pairs.prompt, pairs.chosen] - log_ratio[:, pairs.prompt, pairs.rejected]
        )
        own = world.split[pairs.prompt][None, :] == jnp.asarray(list(Split))[:, None]
        right = (1 + jnp.sign(margin)) / 2
        parts.append(jnp.where(own[None], right[:, None, :], jnp.nan))
    return jnp.nanmean(jnp.concatenate(parts, axis=-1), axis=-1)


def drift(world: World, log_probs: CurveArray, reference: TableArray) -> jax.Array:
    r"""Divergence from the reference, :math:`KL(\pi\|\pi_0)`, mean of a split (nats).

    Args:
        world: the world.
        log_probs: log-probabilities (nats), [record, prompt, response].
        reference: the reference's, [prompt, response].

    Returns:
        [record, split].

    Example:
        >>> from toymodel import worlds
        >>> world = worlds.generate(jax.random.key(0), prompts=20, responses=10)
        >>> table = world.scenario.log_table
        >>> drift(world, table[None], table).tolist()
        [[0.0, 0.0, 0.0]]
    """
    divergence = jnp.sum(jnp.exp(log_probs) * (log_probs - reference[None]), axis=-1)
    return by_split(world, divergence)


def heldout_mass(world: World, log_probs: CurveArray) -> jax.Array:
    """Probability of all held-out responses together, mean of a split.

    Args:
        world: the world.
        log_probs: log-probabilities (nats), [record, prompt, response].

    Returns:
        [record, split].

    Example:
        >>> from toymodel import worlds
        >>> world = worlds.generate(jax.random.key(0), prompts=20, responses=10, base_scale=0.0)
        >>> mass = heldout_mass(world, world.scenario.log_table[None])  # 8 of 10 responses
        >>> bool(jnp.allclose(mass, 0.8)), mass.shape
        (True, (1, 3))
    """
    return by_split(world, jnp.exp(log_probs) @ world.is_heldout.astype(log_probs.dtype))
