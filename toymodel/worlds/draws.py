"""Which two responses of a prompt are compared, and which of them is preferred."""

import jax
import jax.numpy as jnp

from toymodel import sampling
from toymodel._typing import Scalar, TableArray


def draw_pairs(
    key: jax.Array,
    log_weights: TableArray,
    score: TableArray,
    count: int,
    temperature: Scalar = 0.0,
) -> jax.Array:
    r"""Pairs of two different responses for every prompt, the preferred one first.

    The two are drawn without replacement (`toymodel.sampling.FromTable`). The first is preferred
    with Bradley and Terry's probability :math:`\sigma((s(x, y) - s(x, y'))/\tau)`, which at
    temperature 0 is the better one for certain.

    Args:
        key: for the draws.
        log_weights: how likely a response is drawn, up to a constant, [prompt, response]; -inf for
            one that must not be. The policy's log-probabilities make the pairs on-policy.
        score: the true score, [prompt, response].
        count: pairs of each prompt.
        temperature: tau, at least 0; above 0 where it is traced.

    Returns:
        Rows (prompt, chosen, rejected), [count * prompt, 3], in rounds over the prompts.

    Example:
        >>> score = jnp.asarray([[0.0, 2.0, 1.0]])
        >>> weights = jnp.asarray([[0.0, 0.0, -jnp.inf]])
        >>> draw_pairs(jax.random.key(0), weights, score, 2).tolist()
        [[0, 1, 0], [0, 1, 0]]
    """
    is_certain = not isinstance(temperature, jax.core.Tracer) and temperature == 0
    annotator = sampling.Ideal() if is_certain else sampling.BradleyTerry(temperature)
    prompts = jnp.tile(jnp.arange(len(score)), count)
    comparison = sampling.FromTable(log_weights)
    pairs = sampling.compare(key, comparison, annotator, prompts, log_weights, score)
    return jnp.stack([pairs.prompt, pairs.chosen, pairs.rejected], axis=-1)
