"""Worlds of sequences whose pairs have as many tokens in common as one asks for."""

import jax
import jax.numpy as jnp
import numpy as np

from toymodel._errors import refuse, whole
from toymodel._typing import ArrayLike, TableArray
from toymodel.policies.tokens import Sequences
from toymodel.scenarios import Scenario, build


def random_table(key: jax.Array, space: Sequences, prompts: int, spread: float = 1.0) -> TableArray:
    """Log-probabilities of sequences under random next-token logits.

    Args:
        key: for the draw.
        space: the sequences.
        prompts: number of prompts.
        spread: standard deviation of the logits.

    Returns:
        [prompt, response].

    Raises:
        InputError: no prompts, or a spread that is negative or not finite.

    Example:
        >>> table = random_table(jax.random.key(0), Sequences(2, 3), prompts=5)
        >>> table.shape, bool(jnp.allclose(jnp.exp(table).sum(axis=1), 1))
        ((5, 8), True)
    """
    whole("prompts", prompts, 1)
    if not isinstance(spread, jax.core.Tracer) and not (np.isfinite(spread) and spread >= 0):
        raise refuse("spread", spread, "a finite number >= 0")
    logits = spread * jax.random.normal(key, (prompts, space.prefixes, space.vocabulary))
    return space.along(jax.nn.log_softmax(logits, axis=-1))


def overlapping_pairs(
    key: jax.Array,
    space: Sequences | None = None,
    *,
    prompts: int = 4,
    prefix: int = 0,
    shared: int = 0,
    log_table: ArrayLike | None = None,
) -> Scenario:
    """One pair a prompt, with a common prefix and common tokens after the split.

    The rejected has the chosen's first `prefix` tokens, another token right after them, and the
    chosen's token again at `shared` later positions, drawn by lot. Elsewhere it differs. Table
    and chosen depend on the key alone, and with more in common a pair keeps what it had in
    common, so worlds of one key can be compared.

    Args:
        key: for all draws.
        space: the sequences; default 4 tokens over a vocabulary of 4.
        prompts: number of prompts.
        prefix: length of the common prefix, from 0 to L - 1.
        shared: common tokens after the split, from 0 to L - 1 - `prefix`.
        log_table: initial log-probabilities, [prompt, response], such as a policy's own; default
            `random_table`.

    Raises:
        InputError: no prompts, more in common than there are places, or a table of another shape.

    Example:
        >>> world = overlapping_pairs(jax.random.key(0), prefix=1, shared=2)
        >>> world.shape, len(world.pairs)
        ((4, 256), 4)
    """
    space = Sequences() if space is None else space
    prompts = whole("prompts", prompts, 1)
    prefix = whole("prefix", prefix, 0, space.length - 1)  # one token at least must differ
    shared = whole("shared", shared, 0, space.length - 1 - prefix)
    if log_table is not None and np.shape(log_table) != (prompts, space.size):
        expected = f"{(prompts, space.size)}, a row a prompt and a column a sequence"
        raise refuse("log_table", f"shape {np.shape(log_table)}", expected)
    draw_table, draw_pairs = jax.random.split(key)
    if log_table is None:
        log_table = random_table(draw_table, space, prompts)
    generator = np.random.default_rng(np.asarray(jax.random.key_data(draw_pairs)))
    chosen = generator.integers(space.vocabulary, size=(prompts, space.length))
    steps = generator.integers(1, space.vocabulary, size=chosen.shape)
    order = generator.permuted(np.tile(np.arange(space.length), (prompts, 1)), axis=1)
    pairs = []
    for x in range(prompts):
        later = [place for place in order[x] if place > prefix][:shared]
        steps[x, :prefix] = steps[x, later] = 0
        rejected = (chosen[x] + steps[x]) % space.vocabulary
        pairs.append((x, space.index(chosen[x]), space.index(rejected)))
    name = f"overlap: {prefix} in the prefix, {shared} later"
    return build(log_table=jnp.asarray(log_table), pairs=pairs, name=name)
