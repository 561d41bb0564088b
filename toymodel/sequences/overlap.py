"""What chosen and rejected have in common, token by token, and where mass is seen from a pair."""

import enum

import jax
import jax.numpy as jnp
import numpy as np

from toymodel._errors import refuse, unknown
from toymodel.policies.tokens import Sequences
from toymodel.scenarios import Pairs
from toymodel.sequences.distances import DISTANCES

_MOST_TRACED = 1024  # sequences: a table of a million distances


class TokenKind(enum.IntEnum):
    """What a token of one half of a pair has in common with the other half."""

    SHARED_PREFIX = 0
    SHARED_LATER = 1
    UNSHARED = 2

    @property
    def title(self) -> str:
        """The kind in words, for legends."""
        return ("common prefix", "common token after the split", "own token")[self]


def kinds(space: Sequences, pairs: Pairs) -> jax.Array:
    """The `TokenKind` of each position of each pair; the same for both halves.

    Args:
        space: the sequences that the responses are.
        pairs: the preference pairs.

    Returns:
        [pair, position].

    Example:
        >>> space = Sequences(vocabulary=2, length=4)
        >>> pairs = Pairs(*(jnp.array([n]) for n in (0, space.index([0, 1, 1, 0]),
        ...                                            space.index([0, 0, 1, 1]), 1)))
        >>> kinds(space, pairs).tolist()
        [[0, 2, 1, 2]]
    """
    tokens = jnp.asarray(space.tokens)
    is_same = tokens[pairs.chosen] == tokens[pairs.rejected]
    is_prefix = jnp.cumprod(is_same, axis=-1) > 0
    later = jnp.where(is_same, TokenKind.SHARED_LATER, TokenKind.UNSHARED)
    return jnp.where(is_prefix, TokenKind.SHARED_PREFIX, later)


def pair_token_log_probs(
    space: Sequences, log_probs: jax.Array, pairs: Pairs
) -> tuple[jax.Array, jax.Array]:
    """Log-probabilities of the chosen's and of the rejected's tokens, from those of sequences.

    Args:
        space: the sequences that the responses are.
        log_probs: of sequences (nats), [..., prompt, response], such as a run's ``log_probs``.
        pairs: the preference pairs.

    Returns:
        Two arrays [..., pair, position], each token given those before it in its own half.

    Example:
        >>> space = Sequences(vocabulary=2, length=2)
        >>> pairs = Pairs(*(jnp.array([n]) for n in (0, 0, 3, 1)))
        >>> uniform = jnp.full((1, 4), -jnp.log(4.0))
        >>> chosen, _ = pair_token_log_probs(space, uniform, pairs)
        >>> jnp.exp(chosen).round(6).tolist()
        [[0.5, 0.5]]
    """
    tokens, prefix = jnp.asarray(space.tokens), jnp.asarray(space.prefix)
    table = space.next_log_probs(log_probs)
    chosen, rejected = (
        table[..., pairs.prompt[:, None], prefix[half], tokens[half]]
        for half in (pairs.chosen, pairs.rejected)
    )
    return chosen, rejected


def by_kind(token_log_probs: jax.Array, kinds: jax.Array) -> jax.Array:
    """A half's log-probability in three parts, one for each `TokenKind`.

    Args:
        token_log_probs: of one half (nats), [..., pair, position].
        kinds: of `kinds`, [pair, position].

    Returns:
        Sums over the tokens of a kind, [..., pair, kind]; they add up to log pi of that half.

    Example:
        >>> tokens = jnp.array([[-1.0, -2.0, -4.0, -8.0]])  # prefix, own, own, common
        >>> by_kind(tokens, jnp.array([[0, 2, 2, 1]])).tolist()
        [[-1.0, -8.0, -6.0]]
    """
    return jnp.einsum("...pt,ptk->...pk", token_log_probs, jax.nn.one_hot(kinds, len(TokenKind)))


def mass_by_distance(
    space: Sequences,
    log_probs: jax.Array,
    prompts: jax.Array,
    to: jax.Array,
    distance: str = "levenshtein",
) -> jax.Array:
    """The probability at each distance from a sequence: 0 is the sequence itself.

    Args:
        space: the sequences that the responses are.
        log_probs: of sequences (nats), [..., prompt, response].
        prompts: whose probabilities, [case]: such as ``pairs.prompt``.
        to: the sequence from which distances count, [case]: such as ``pairs.chosen``.
        distance: "levenshtein" (edits) or "hamming" (replaced tokens). Where `to` is traced, all
            distances between sequences are made, V^L squared.

    Returns:
        [..., case, distance from 0 to L]; it sums to one over distances.

    Raises:
        InputError: an unknown distance, or a traced `to` in a space too large for all distances.

    Example:
        >>> space = Sequences(vocabulary=2, length=2)
        >>> uniform, zero = jnp.full((1, 4), -jnp.log(4.0)), jnp.array([0])
        >>> mass_by_distance(space, uniform, zero, zero).tolist()
        [[0.25, 0.5, 0.25]]
    """
    if distance not in DISTANCES:
        raise unknown("distance", distance, DISTANCES)
    between, tokens = DISTANCES[distance], space.tokens
    if not isinstance(to, jax.core.Tracer):
        far = jnp.asarray(between(tokens[np.asarray(to)][:, None], tokens[None]))
    elif space.size <= _MOST_TRACED:
        far = jnp.asarray(between(tokens[:, None], tokens[None]))[to]
    else:
        expected = f"a space of at most {_MOST_TRACED} sequences where `to` is traced"
        raise refuse("space", space, expected, "call it with concrete indices, outside of jit")
    at = jax.nn.one_hot(far, space.length + 1)
    return jnp.einsum("...cy,cyd->...cd", jnp.exp(log_probs[..., prompts, :]), at)
