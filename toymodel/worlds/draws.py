"""Which two responses of a prompt are compared, and which of them is preferred."""

import jax
import jax.numpy as jnp

from toymodel._typing import Scalar, TableArray


def draw_pairs(
    key: jax.Array,
    log_weights: TableArray,
    score: TableArray,
    count: int,
    temperature: Scalar = 0.0,
) -> jax.Array:
    r"""Pairs of two different responses for every prompt, the preferred one first.

    The two are drawn without replacement (the two largest of log-weight plus Gumbel noise). The
    first is preferred with Bradley and Terry's probability
    :math:`\sigma((s(x, y) - s(x, y'))/\tau)`, which at temperature 0 is the better one for certain.

    Args:
        key: for the draws.
        log_weights: how likely a response is drawn, up to a constant, [prompt, response]; -inf for
            one that must not be. The policy's log-probabilities make the pairs on-policy.
        score: the true score, [prompt, response].
        count: pairs of each prompt.
        temperature: tau, at least 0.

    Returns:
        Rows (prompt, chosen, rejected), [count * prompt, 3], in rounds over the prompts.

    Example:
        >>> score = jnp.asarray([[0.0, 2.0, 1.0]])
        >>> weights = jnp.asarray([[0.0, 0.0, -jnp.inf]])
        >>> draw_pairs(jax.random.key(0), weights, score, 2).tolist()
        [[0, 1, 0], [0, 1, 0]]
    """
    gumbel_key, coin_key = jax.random.split(key)
    prompts = jnp.arange(len(score))
    noisy = log_weights[None] + jax.random.gumbel(gumbel_key, (count, *score.shape))
    _, two = jax.lax.top_k(noisy, 2)
    gap = score[prompts[None], two[..., 0]] - score[prompts[None], two[..., 1]]
    noise = temperature * jax.random.logistic(coin_key, gap.shape)
    is_first = gap + noise > 0
    rows = (
        jnp.broadcast_to(prompts[None], gap.shape),
        jnp.where(is_first, two[..., 0], two[..., 1]),
        jnp.where(is_first, two[..., 1], two[..., 0]),
    )
    return jnp.stack(rows, axis=-1).reshape(-1, 3)
