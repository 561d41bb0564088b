"""Which pairs a step sees: the whole data set, or a mini-batch drawn with an explicit key."""

import jax
import jax.numpy as jnp

from toymodel.scenarios import Pairs

_STREAM = 0x62617463


def minibatch(pairs: Pairs, batch_size: int, key: jax.Array, step: jax.Array) -> Pairs:
    """The mini-batch of pairs that training step number `step` sees.

    Every epoch walks once through a fresh permutation of the pairs; what does not fill a whole
    batch at its end is left out of that epoch. The batch depends on `key` and `step` alone, so a
    run can be resumed anywhere. The objective of a step is the weighted mean over its own batch:
    with unequal weights the steps of an epoch do not average to the full objective exactly.

    Args:
        pairs: the data set.
        batch_size: pairs a step, from 1 to ``len(pairs)``; static.
        key: the run's key.
        step: the step's number, from 0.

    Returns:
        The `batch_size` pairs of this step.

    Example:
        >>> from toymodel import scenarios
        >>> data = scenarios.both_on_policy().pairs
        >>> halves = [minibatch(data, 2, jax.random.key(0), jnp.asarray(t)) for t in (0, 1)]
        >>> sorted(int(x) for half in halves for x in half.prompt)
        [0, 1, 2, 3]
    """
    chosen = minibatch_indices(len(pairs), batch_size, key, step)
    result: Pairs = jax.tree.map(lambda leaf: jnp.take(leaf, chosen, axis=0), pairs)
    return result


def minibatch_indices(count: int, batch_size: int, key: jax.Array, step: jax.Array) -> jax.Array:
    """Which of `count` pairs `minibatch` takes, [batch]."""
    batches_per_epoch = count // batch_size
    epoch, batch = step // batches_per_epoch, step % batches_per_epoch
    own_key = jax.random.fold_in(key, _STREAM)  # apart from the draws of the fit
    order = jax.random.permutation(jax.random.fold_in(own_key, epoch), count)
    chosen: jax.Array = jax.lax.dynamic_slice(order, (batch * batch_size,), (batch_size,))
    return chosen
