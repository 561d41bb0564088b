"""All token sequences of one length, as a tree of prefixes: their numbers, and sums on the tree."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp

from toymodel._errors import refuse
from toymodel._struct import static, struct

_MOST = 2**16  # sequences: tables are held whole


@struct
class Sequences:
    r"""Every sequence of `length` tokens over a vocabulary: :math:`V^L` responses, none left out.

    Sequences are numbered as the numbers they spell in base V, first token first. A prefix is a
    node of a tree and is numbered level by level, the empty one first; an edge of the tree is a
    next token after a prefix. Lengths are equal, so losses per token change by a factor only.

    Example:
        >>> space = Sequences(vocabulary=2, length=3)
        >>> space.size, space.prefixes, space.tokens[6].tolist(), space.prefix[6].tolist()
        (8, 7, [1, 1, 0], [0, 2, 6])
    """

    vocabulary: int = static(default=4, doc="tokens to choose from, V")
    length: int = static(default=4, doc="tokens in a sequence, L")

    def __post_init__(self) -> None:
        for name, least in (("vocabulary", 2), ("length", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise refuse(f"Sequences.{name}", value, f"a whole number >= {least}")
        if self.size > _MOST:
            given = f"{self.vocabulary}**{self.length} sequences"
            raise refuse("Sequences", given, f"{_MOST} at most, since each is written out")

    @property
    def size(self) -> int:
        """Number of sequences."""
        return int(self.vocabulary**self.length)

    @property
    def prefixes(self) -> int:
        """Number of proper prefixes: nodes at which a next token is drawn."""
        return (self.size - 1) // (self.vocabulary - 1)

    @property
    def tokens(self) -> np.ndarray:
        """The token at each place, [response, position]."""
        return self._ancestors[:, 1:] % self.vocabulary

    @property
    def prefix(self) -> np.ndarray:
        """The number of the prefix before each place, [response, position]."""
        first = (self.vocabulary ** np.arange(self.length) - 1) // (self.vocabulary - 1)
        return np.asarray(self._ancestors[:, :-1] + first)

    @property
    def _ancestors(self) -> np.ndarray:
        """What the first t tokens spell, t from 0 to L: [response, t]."""
        return np.arange(self.size)[:, None] // self.vocabulary ** np.arange(self.length, -1, -1)

    @property
    def depth(self) -> np.ndarray:
        """The number of tokens of each prefix, [prefix]."""
        return np.repeat(np.arange(self.length), self.vocabulary ** np.arange(self.length))

    @property
    def counts(self) -> np.ndarray:
        """How often each token occurs in each prefix, [prefix, token]."""
        counts = np.zeros((self.prefixes, self.vocabulary))
        is_token = np.eye(self.vocabulary)[self.tokens]
        before = np.cumsum(is_token, axis=1) - is_token
        counts[self.prefix] = before
        return counts

    def index(self, tokens: Sequence[int] | np.ndarray) -> int:
        """The number of a sequence.

        Raises:
            InputError: another length, or a token outside the vocabulary.

        Example:
            >>> Sequences(2, 3).index([1, 1, 0])
            6
        """
        given = np.asarray(tokens)
        fits = given.shape == (self.length,) and np.issubdtype(given.dtype, np.integer)
        if not fits or given.min() < 0 or given.max() >= self.vocabulary:
            expected = f"{self.length} tokens from 0 to {self.vocabulary - 1}"
            raise refuse("tokens", np.asarray(tokens).tolist(), expected)
        return int(given @ self.vocabulary ** np.arange(self.length - 1, -1, -1))

    def at_tokens(self, edges: jax.Array) -> jax.Array:
        """Values of edges at every token of every sequence.

        Args:
            edges: one value for each next token, [..., prefix, token].

        Returns:
            [..., response, position].
        """
        return edges[..., self.prefix, self.tokens]

    def along(self, edges: jax.Array) -> jax.Array:
        """The sum of edges' values along each sequence, without a gather.

        Args:
            edges: [..., prefix, token], such as next-token log-probabilities.

        Returns:
            [..., response], such as sequences' log-probabilities.
        """
        lead, start = edges.shape[:-2], 0
        total = jnp.zeros((*lead, 1), edges.dtype)
        for depth in range(self.length):
            level = edges[..., start : start + self.vocabulary**depth, :]
            total = (total[..., None] + level).reshape(*lead, -1)
            start += self.vocabulary**depth
        return total

    def through(self, values: jax.Array, add: Callable[..., jax.Array] = jnp.sum) -> jax.Array:
        """The sum over all sequences that pass each edge: the transpose of `along`.

        Args:
            values: one value for each sequence, [..., response].
            add: how values are added: `jnp.sum`, or `logsumexp` for log-probabilities.

        Returns:
            [..., prefix, token].
        """
        levels = []
        for depth in reversed(range(self.length)):
            level = values.reshape(*values.shape[:-1], self.vocabulary**depth, self.vocabulary)
            levels.append(level)
            values = add(level, axis=-1)
        return jnp.concatenate(levels[::-1], axis=-2)

    def next_log_probs(self, log_probs: jax.Array) -> jax.Array:
        r"""Next-token log-probabilities of any policy over sequences, from its marginals.

        .. math:: \log\pi(v|p) = \log\sum_{y \ni pv}\pi(y) - \log\sum_{y \ni p}\pi(y)

        Args:
            log_probs: of sequences (nats), [..., response].

        Returns:
            [..., prefix, token]; `along` of it is `log_probs` again.
        """
        return jax.nn.log_softmax(self.through(log_probs, logsumexp), axis=-1)

    def token_log_probs(self, log_probs: jax.Array) -> jax.Array:
        """The log-probability of every token given those before it, [..., response, position].

        Args:
            log_probs: of sequences (nats), [..., response]: of a policy of any kind, or a
                recorded run's.

        Example:
            >>> space = Sequences(vocabulary=2, length=2)
            >>> table = jnp.log(jnp.array([0.4, 0.1, 0.25, 0.25]))
            >>> [round(float(p), 2) for p in jnp.exp(space.token_log_probs(table))[1]]
            [0.5, 0.2]
        """
        return self.at_tokens(self.next_log_probs(log_probs))
