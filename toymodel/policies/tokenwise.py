"""What policies that write token by token share: sequences from next tokens, and the way back."""

import abc

import jax
import jax.numpy as jnp

from toymodel._errors import refuse
from toymodel._struct import static, struct
from toymodel._typing import Params, TableArray
from toymodel.policies.base import Policy
from toymodel.policies.tokens import Sequences


@struct
class Tokenwise(Policy):
    r"""A policy over all sequences of one length, each token drawn given those before it.

    .. math:: \log\pi(y|x) = \sum_t \log\mathrm{softmax}(z(x, y_{<t}))[y_t]

    Its `logits` over responses are these log-probabilities. They are normalised already, so
    softmax leaves them as they are.
    """

    vocabulary: int = static(default=4, doc="tokens to choose from, V")
    length: int = static(default=4, doc="tokens in a response, L; there are V**L responses")

    def __post_init__(self) -> None:
        Sequences(self.vocabulary, self.length)  # refuses what does not fit

    @property
    def space(self) -> Sequences:
        """The sequences that are the responses."""
        return Sequences(self.vocabulary, self.length)

    @abc.abstractmethod
    def next_logits(self, params: Params) -> jax.Array:
        """Logits of the next token after every prefix, [prompt, prefix, token]."""

    @abc.abstractmethod
    def next_vjp(self, params: Params, cotangent: jax.Array) -> Params:
        """Pull a gradient in `next_logits` back to the parameters, in closed form."""

    def next_log_probs(self, params: Params) -> jax.Array:
        """Log-probabilities of the next token (nats), [prompt, prefix, token]."""
        return jax.nn.log_softmax(self.next_logits(params), axis=-1)

    def token_log_probs(self, params: Params) -> jax.Array:
        """The log-probability of every token of every response, [prompt, response, position]."""
        return self.space.at_tokens(self.next_log_probs(params))

    def logits(self, params: Params) -> TableArray:
        return self.space.along(self.next_log_probs(params))

    def vjp(self, params: Params, cotangent: TableArray) -> Params:
        r"""The sum of the gradients of single tokens.

        With the cotangents' sum G over all responses through an edge (p, v), the logits of the
        next token receive :math:`G(p, v) - \pi(v|p)\sum_u G(p, u)`. On a prefix that chosen and
        rejected share, G is :math:`a_+ + a_-`: zero for losses of the margin.
        """
        arriving = self.space.through(cotangent)
        passing = jnp.sum(arriving, axis=-1, keepdims=True)
        given = arriving - jnp.exp(self.next_log_probs(params)) * passing
        return self.next_vjp(params, given)

    def residuals(self, params: Params) -> jax.Array:
        r"""The gradient of each token's log-probability in the logits it was drawn from.

        .. math:: e_{y_t} - \pi(\cdot|x, y_{<t})

        Returns:
            [prompt, response, position, token].
        """
        drawn = jax.nn.one_hot(self.space.tokens, self.vocabulary)
        return drawn[None] - jnp.exp(self.next_log_probs(params))[:, self.space.prefix]

    def check_shape(self, shape: tuple[int, int]) -> None:
        """Refuse a world whose responses are not all sequences.

        Raises:
            InputError: a number of responses other than V**L.
        """
        if shape[1] != self.space.size:
            raise refuse(
                "scenario",
                f"{shape[1]} responses",
                f"{self.space.size}, one for each of {self.vocabulary}**{self.length} sequences",
                "make the world with toymodel.sequences.overlapping_pairs",
            )
