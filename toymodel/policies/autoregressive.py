"""The token-by-token policy with embeddings: every prefix and prompt shares weights with others."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from toymodel._errors import refuse
from toymodel._struct import number, static, struct
from toymodel._typing import KernelArray, Scalar, TableArray
from toymodel.policies.base import REGISTRY
from toymodel.policies.fitting import by_adam
from toymodel.policies.tokenwise import Tokenwise

TRAINED = ("all", "unembedding")


class Embeddings(NamedTuple):
    """The parameters of `Autoregressive`; also of that form: gradients."""

    unembedding: jax.Array  # U, [token, unit]
    prompt: jax.Array  # [prompt, unit]
    position: jax.Array  # [position, unit]
    token: jax.Array  # E, [token, unit]


@REGISTRY.register("autoregressive")
@struct
class Autoregressive(Tokenwise):
    r"""Next-token logits bilinear in token embeddings: the smallest model with a hidden state.

    .. math::
        z(x, p) = U h(x, p), \qquad h(x, p) = e_x + e_{|p|} + \frac{1}{|p|}\sum_{v \in p} E_v

    The mean over the prefix is attention that looks everywhere alike; after the empty prefix it
    is zero. Fitted by full-batch Adam on the cross-entropy, as the perceptron is.

    Example:
        >>> policy = Autoregressive(vocabulary=2, length=3, width=5)
        >>> params = policy.init(jax.random.key(0), (4, 8))
        >>> policy.hidden(params).shape
        (4, 8, 3, 5)
    """

    width: int = static(default=16, doc="units of the hidden state")
    trained: str = static(default="all", doc="what is trained: all, or the unembedding only")
    scale: Scalar = number(default=1.0, doc="factor on all initial weights", above=0)
    fit_learning_rate: Scalar = number(default=3e-2, doc="Adam's learning rate in the fit", above=0)
    fit_steps: int = static(default=500, doc="steps of the fit")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("width", "fit_steps"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise refuse(f"Autoregressive.{name}", getattr(self, name), "a whole number >= 1")
        if self.trained not in TRAINED:
            raise refuse("Autoregressive.trained", self.trained, " or ".join(TRAINED))

    def init(self, key: jax.Array, shape: tuple[int, int]) -> Embeddings:
        """Normal weights that give hidden states and logits of about unit variance."""
        self.check_shape(shape)
        rows = (self.vocabulary, shape[0], self.length, self.vocabulary)
        keys = jax.random.split(key, len(rows))
        drawn = (jax.random.normal(k, (n, self.width)) for k, n in zip(keys, rows, strict=True))
        unembedding, *embeddings = (self.scale * weights for weights in drawn)
        return Embeddings(unembedding / self.width**0.5, *(e / 3**0.5 for e in embeddings))

    def _mean(self) -> jax.Array:
        """The share of each token in each prefix, [prefix, token]."""
        counts, depth = self.space.counts, self.space.depth
        return jnp.asarray(counts / depth.clip(1)[:, None], float)

    def _is_position(self) -> jax.Array:
        """One-hot lengths of prefixes, [prefix, position]."""
        return jax.nn.one_hot(self.space.depth, self.length)

    def _hidden(self, params: Embeddings) -> jax.Array:
        """The hidden state after every prefix, [prompt, prefix, unit]."""
        of_prefix = params.position[self.space.depth] + self._mean() @ params.token
        return params.prompt[:, None] + of_prefix[None]

    def hidden(self, params: Embeddings) -> jax.Array:
        """The hidden state from which each token is drawn, [prompt, response, position, unit]."""
        return self._hidden(params)[:, self.space.prefix]

    def next_logits(self, params: Embeddings) -> jax.Array:
        hidden = self._hidden(params)
        if self.trained == "unembedding":
            hidden = jax.lax.stop_gradient(hidden)
        return hidden @ params.unembedding.T

    def next_vjp(self, params: Embeddings, cotangent: jax.Array) -> Embeddings:
        r"""With the cotangent g of the logits: :math:`\bar U = \sum g h^T`, :math:`\bar h = U^T g`.

        The embeddings receive the sum of :math:`\bar h` over where they entered h.
        """
        unembedding = jnp.einsum("xpv,xpu->vu", cotangent, self._hidden(params))
        if self.trained == "unembedding":
            still: Embeddings = jax.tree.map(jnp.zeros_like, params)
            return still._replace(unembedding=unembedding)
        arriving = cotangent @ params.unembedding
        by_prefix = arriving.sum(axis=0)
        return Embeddings(
            unembedding=unembedding,
            prompt=arriving.sum(axis=1),
            position=self._is_position().T @ by_prefix,
            token=self._mean().T @ by_prefix,
        )

    def logit_kernel(self, params: Embeddings) -> KernelArray:
        r"""Inner products of sums over tokens, one for each kind of weights.

        With residuals :math:`r_t = e_{y_t} - \pi` and :math:`q_t = U^T r_t`: of
        :math:`\sum_t r_t h_t^T` for the unembedding; of :math:`\sum_t q_t` for the prompts (only
        within one); of :math:`q_t` for the positions; and of :math:`\sum_t m_t q_t^T` for the
        tokens, where m is their share in the prefix.
        """
        residuals, prefix = self.residuals(params), self.space.prefix
        outer = jnp.einsum("xytv,xytu->xyvu", residuals, self.hidden(params))
        kernel = jnp.einsum("xyvu,abvu->xyab", outer, outer)
        if self.trained == "unembedding":
            return kernel
        arriving = residuals @ params.unembedding
        tokens = jnp.einsum("ytv,xytu->xyvu", self._mean()[prefix], arriving)
        total, is_same = arriving.sum(axis=2), jnp.eye(len(params.prompt), dtype=kernel.dtype)
        kernel += jnp.einsum("xytu,abtu->xyab", arriving, arriving)
        kernel += jnp.einsum("xyvu,abvu->xyab", tokens, tokens)
        return kernel + jnp.einsum("xyu,abu,xa->xyab", total, total, is_same)

    def fit_params(self, key: jax.Array, log_table: TableArray) -> Embeddings:
        """Full-batch Adam on the cross-entropy, of what is trained."""
        start = self.init(key, (log_table.shape[0], log_table.shape[1]))
        rate, steps = self.fit_learning_rate, self.fit_steps
        fitted: Embeddings = by_adam(self, start, log_table, rate, steps)
        return fitted
